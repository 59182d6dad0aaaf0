"""Captions, templates and metadata as they stand in files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.caption_files import (
    LONGEST_CAPTION,
    clean,
    file_name_words,
    folder_repeats,
    metadata_captions,
    templates_from,
)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=500))
def test_a_clean_text_has_no_control_or_half_characters(text: str):
    cleaned = clean(text)
    assert all(character >= " " or character == "\n" for character in cleaned)
    cleaned.encode()
    assert clean(cleaned) == cleaned


def test_half_characters_and_nulls_go():
    assert clean("a\ud800b\0c\u009fd\te") == "a b c d e"


def test_long_texts_are_cut():
    assert len(clean("word " * 100_000)) <= LONGEST_CAPTION


def test_templates_skip_comments_and_blank_lines():
    text = "# mine\n\na photo of {}\n  [filewords], by [name]  \n"
    found = templates_from(text, typed=True)
    assert found == ("a photo of {}", "[filewords], by [name]")
    with pytest.raises(ValueError, match="There are no templates"):
        templates_from("# nothing\n\n", typed=True)
    with pytest.raises(ValueError, match="There are 1001 templates"):
        templates_from("a {}\n" * 1001, typed=True)


def test_templates_of_a_file_are_tamed():
    assert templates_from("a {} embedding\ue002:evil", typed=False) == ("a {} evil",)
    text = "a {} embedding:evil (((("
    assert templates_from(text, typed=False) == (r"a {} evil \(\(\(\(",)
    assert templates_from("a {} embedding:other", typed=True) == ("a {} embedding:other",)


@pytest.mark.parametrize(
    ("stem", "pattern", "joiner", "words"),
    [
        ("00012-0-a cat on a sofa", "", " ", "a cat on a sofa"),
        ("7 red, small", "", " ", "red, small"),
        ("3-red_cat", r"[^\W_]+", ", ", "red, cat"),
        ("cat", r"dog", " ", ""),
        ("1-a=b", r"(\w)=(\w)", " ", "a b"),
        ("0001", "", " ", ""),
    ],
)
def test_words_of_file_names_follow_automatic1111(stem: str, pattern: str, joiner: str, words: str):
    assert file_name_words(stem, pattern, joiner) == words


def test_a_wrong_file_name_pattern_is_explained():
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        file_name_words("cat", "(")


@pytest.mark.parametrize(
    ("folder", "read"),
    [
        ("20_cat woman", (20, "cat woman")),
        ("cat", (1, "")),
        ("0_x", (1, "x")),
        ("2_", (2, "")),
        ("x_20", (1, "")),
    ],
)
def test_kohya_folder_names_are_repeats_and_words(folder: str, read: tuple[int, str]):
    assert folder_repeats(folder) == read


def test_kohya_metadata_gives_captions_and_tags():
    text = json.dumps(
        {
            "C:\\pictures\\a.png": {"caption": "a cat", "tags": "red, big"},
            "/pictures/b": {"tags": "blue", "train_resolution": [512, 512]},
            "c": {"caption": "only"},
            "d": {},
        }
    )
    found = metadata_captions(text, "meta.json")
    assert found == {"a.png": "a cat, red, big", "b": "blue", "c": "only", "d": ""}


@pytest.mark.parametrize("key", ["file_name", "image", "file"])
def test_json_lines_give_captions(key: str):
    text = f'{{"{key}": "a.png", "text": "a cat"}}\n\n{{"{key}": "x/b.png", "caption": "b"}}\n'
    assert metadata_captions(text, "metadata.jsonl") == {"a.png": "a cat", "b.png": "b"}


@pytest.mark.parametrize("line", ['{"id": 3, "label": "cat"}', '{"image": {"bytes": 1}}', "[1]"])
def test_json_lines_of_another_kind_name_no_picture(line: str):
    assert metadata_captions(f"{line}\n{line}", "metadata.jsonl") == {}
    with pytest.raises(ValueError, match="'metadata.jsonl' cannot be read .line 3 has none of"):
        metadata_captions(f'{{"file": "a.png"}}\n\n{line}\n', "metadata.jsonl")


def test_a_broken_line_is_named():
    with pytest.raises(ValueError, match="'x.jsonl' cannot be read .line 2 is not JSON"):
        metadata_captions('{"file": "a.png"}\n{"file": "b.png"\n', "x.jsonl")


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"a": 1', "3"])
def test_metadata_that_is_none_is_explained(text: str):
    with pytest.raises(ValueError, match="'meta.json' cannot be read"):
        metadata_captions(text, "meta.json")
