"""The texts of the nodes in other languages: complete, and such that the page can show them."""

import re
from typing import Any

import pytest
from build_locales import (
    HEADINGS,
    all_texts,
    complaints,
    flat,
    help_page,
    read,
    spelled_out,
    translations,
)
from headless import PACK, Server


@pytest.fixture(scope="module")
def texts(server: Server) -> dict[str, Any]:
    """The texts of all nodes, as their schemas say them."""
    return all_texts(server.object_info())


def test_the_english_file_is_what_the_nodes_say(texts: dict[str, Any]):
    assert read("en") == spelled_out(texts), "Run python scripts/build_locales.py."


@pytest.mark.parametrize("language", translations())
def test_a_translation_has_every_text_and_no_other(texts: dict[str, Any], language: str):
    found = complaints(texts, read(language))
    assert not found, f"locales/{language}/nodeDefs.json:\n" + "\n".join(found)


@pytest.mark.parametrize("language", HEADINGS)
def test_a_help_page_in_a_language_is_made_of_its_texts(server: Server, language: str):
    for node, translated in read(language).items():
        page = server.get(f"/extensions/{PACK}/docs/{node}/{language}.md").decode()
        assert page == help_page(language, node, translated), "Run python scripts/build_locales.py."


def test_chinese_texts_are_chinese():
    """But for the names of things that have no other."""
    latin = [text for text in flat(read("zh")).values() if not re.search("[\u4e00-\u9fff]", text)]
    assert set(latin) <= {"CLIP", "VAE", "CFG", "beta1", "beta2"}


def test_a_text_that_is_missing_is_named_with_its_english():
    texts = {"Node": {"display_name": "Node", "inputs": {"a": {"name": "a"}, "b": {"name": "b"}}}}
    translated = {"Node": {"display_name": "{", "inputs": {"a": {"name": "x"}}, "more": "y"}}
    assert complaints(texts, translated) == [
        "Node.inputs.b.name is missing: 'b'",
        "Node.more is of no node",
        "Node.display_name has one of {}|@: '{'",
    ]


def test_comfyui_hands_the_translations_to_the_page(server: Server):
    handed = server.get_json("/i18n")
    for language in ("en", *translations()):
        assert read(language).items() <= handed[language]["nodeDefs"].items()
    for language in translations():
        categories = read(language, "main")["nodeCategories"]
        assert categories.items() <= handed[language]["nodeCategories"].items()
