"""A word is found once, in any script; slots become it whatever touches them, and nothing that is
typed passes for a mark.
"""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.caption_settings import CaptionSettings, lacks, sample_text
from ti_core.concept.placeholder import (
    Said,
    contains_word,
    filled_in,
    lacks_placeholder,
    near_miss,
    other_spelling,
    places,
    weighted,
    with_placeholder,
)
from ti_core.host.page.preview_images import PreviewSettings


def said(text: str, *words: str) -> list[str]:
    """What stands in the places of words."""
    return [text[start:stop] for start, stop, _ in places(text, words)]


@pytest.mark.parametrize(
    "template",
    ["一只{}在桌子上", "photo_of_{}", "{}s", "{}-2", "a{}b", "x.{}", "{}.v2", "embedding:pets/{}"]
    + ["<{}>", "写真{}のネコ", "รูป{}บน", "({}s:1.2)", "<|im_start|>{}", "{}{}", "[trigger]'s"],
)
@pytest.mark.parametrize("word", ["my-cat", "大猫", "кошка"])
def test_a_slot_is_the_word_whatever_touches_it(template: str, word: str):
    text = sample_text("", CaptionSettings((template,)), word)
    assert [text[start:stop] for start, stop, _ in text.places] == [word] * len(text.places)
    assert len(text.places) == template.count("{}") + template.count("[trigger]")
    assert not text.startswith(f"{word}, ")
    assert PreviewSettings(prompt=template).text(word).places
    assert not lacks_placeholder(template, word)


@pytest.mark.parametrize(
    "text",
    [
        "一只my-cat在桌子上",
        "写真my-catのネコ",
        "사진 my-cat이 있다",
        "รูปmy-catบน",
        "ຮູບmy-catຢູ່",
        "រូបmy-catនៅ",
    ]
    + [
        "ပုံmy-catပေါ်",
        "红，my-cat。",
        "（my-cat：1）",
        "「my-cat」",
        "my-cat、赤",
        "embedding:my-cat，红",
    ]
    + [
        "embedding:my-cat在",
        "embedding: my-cat",
        "embedding:\nmy-cat on",
        "(embedding:  my-cat:1.2)",
    ]
    + ["embedding:my-cat.safetensors", "embedding:my-cat.pt,", r"\(embedding:my-cat\)", "<my-cat>"]
    + ["MY-CAT\u200b", "\ufeffmy-cat", "embedding:other，my-cat"],
)
def test_letters_without_blanks_and_east_asian_signs_end_a_word(text: str):
    (one,) = said(text, "my-cat")
    assert one.casefold().strip("<>").removesuffix(".safetensors").removesuffix(".pt") == "my-cat"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("一只大猫在桌子上", "大猫"),
        ("大猫s", "大猫"),
        ("고양이가 있다", "고양이"),
        ("เห็นแมวที่นี่", "แมว"),
        ("a café on", "cafe\u0301"),
        ("a cafe\u0301 on", "café"),
        ("КОШКА спит", "кошка"),
        ("in İstanbul", "İstanbul"),
        ("die STRASSE", "Straße"),
        (unicodedata.normalize("NFD", "고양이가"), "고양이"),
        ("embedding:大猫在", "大猫"),
    ],
)
def test_a_word_of_any_script_is_found_however_it_is_encoded(text: str, word: str):
    assert len(said(text, word)) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("大猫-2", "大猫"),
        ("大猫_2", "大猫"),
        ("кошками", "кошка"),
        ("cafe\u0301", "cafe"),
        ("बिल्ली", "ल्ली"),
        ("my-cat\u0301", "my-cat"),
        ("Straßen", "Straße"),
        ("embedding:pets/大猫", "大猫"),
        ("embedding:my-cat/2", "my-cat"),
        ("embedding:my-cat+2", "my-cat"),
        ("embedding: pets/my-cat", "my-cat"),
    ],
)
def test_a_part_of_another_word_is_none_in_any_script(text: str, word: str):
    assert not contains_word(text, word)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["my-cat", "大猫", "ß_İ"]))
def test_every_slot_is_a_place_between_any_texts(before: str, behind: str, word: str):
    text = filled_in(f"{before}{{}}{behind}", word)
    assert word in [text[start:stop] for start, stop, _ in text.places]
    assert all(
        one.stop <= two.start for one, two in zip(text.places, text.places[1:], strict=False)
    )


def test_a_weight_of_a_filled_slot_is_seen():
    assert weighted(with_placeholder("({}s:1.2)", "my-cat"), "my-cat")
    assert not weighted(with_placeholder("{}s (a:1.2)", "my-cat"), "my-cat")


def test_other_words_are_found_beside_the_places_of_a_text():
    text = with_placeholder("{}s in my-style", "my-cat")
    assert said(text, "my-cat", "my-style") == ["my-cat", "my-style"]
    assert places(Said("my-cat", "my-cat"), ["my-cat"]) == []


@pytest.mark.parametrize(
    "text",
    ["embedding:pets/my-cat", "embedding:my-cat+2 on", "<|im_start|>my-cat", "my\u200b-cat"],
)
def test_what_looks_like_the_word_is_no_advice_against_itself(text: str):
    assert near_miss(text, "my-cat") != "my-cat"


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("a photo of <embedding>", "<embedding>"),
        ("a photo of *", "*"),
        ("a photo of S*, red", "S*"),
        ("<my-dog> in the snow", "<my-dog>"),
        ("a <lora:my-dog:0.8>", "<lora:my-dog:0.8>"),
        ("a [V] dog", "[V]"),
        ("a { } here", "{ }"),
        ("a {} here", "{}"),
        ("a [name] here", "[name]"),
        (filled_in("a {} and [name]", "my-cat"), ""),
        ("一只｛｝在", "｛｝"),
        ("a <my-cat> on 2 * 3x", "*"),
        ("a <my-cat>, [red]", ""),
        ("**bold** (a:1.2) [on|off] <|im_start|>", ""),
    ],
)
def test_how_other_tools_write_a_word_is_seen(text: str, spelling: str):
    assert other_spelling(text, "my-cat") == spelling


PRIVATE = ["\ue000x", "\ue001", "\ue002", "\uf8ffx", "\U000f0000x", "\U0010fffdx"]


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("sign", PRIVATE)
def test_private_characters_are_letters_without_meaning(sign: str, typed: bool):
    caption_settings = CaptionSettings(("a {}, [filewords]",), typed=typed, wildcards=True)
    assert sample_text(f"red {sign}", caption_settings, "my-cat") == f"a my-cat, red {sign}"


@pytest.mark.parametrize("sign", ["\ufdd0", "\ufdd1", "\ufdd2", "\ufdef", "\ufdd0" + "0x"])
def test_marks_cannot_be_typed(sign: str):
    for caption_settings in (
        CaptionSettings(wildcards=True),
        CaptionSettings(typed=False),
        CaptionSettings(("{} [filewords]",)),
    ):
        assert not {*sample_text(f"{{}} {sign} {{{{", caption_settings, "my-cat")} & {
            *map(chr, range(0xFDD0, 0xFDF0))
        }


def test_braces_that_were_escaped_are_no_slot():
    caption_settings = CaptionSettings(wildcards=True)
    assert sample_text("a {{}} {red|green}", caption_settings, "my-cat") == "my-cat, a {} red"
    assert lacks("a {{}}", caption_settings, "my-cat")
    assert not lacks("a {{}} {}", caption_settings, "my-cat")


@pytest.mark.parametrize(
    ("template", "caption"),
    [
        ("a {} embed[filewords]ding:secret", ""),
        ("a {} embed[filewords]ding:secret", "embedding:"),
        ("a {} [filewords]ding:secret", "embed"),
        ("a {} emb[filewords]g:secret", "eddin"),
        ("a {} embedding[filewords]", ":secret"),
        ("{} EMBED[filewords]DING: secret", "[filewords]"),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_a_template_file_names_no_embedding_together_with_a_caption(
    template: str, caption: str, typed: bool
):
    caption_settings = CaptionSettings((template,), typed_templates=False, typed=typed)
    assert "embedding:" not in sample_text(caption, caption_settings, "my-cat").lower()


@pytest.mark.parametrize("caption", ["ding:secret", "secret", " secret", "-2"])
def test_a_caption_file_does_not_finish_what_was_typed(caption: str):
    for template in (
        "{} embed[filewords]",
        "{} embedding:[filewords]",
        "{} embedding:a[filewords]",
    ):
        text = sample_text(caption, CaptionSettings((template,), typed=False), "my-cat")
        assert "embedding:" not in text


def test_what_was_typed_stays_beside_files():
    caption_settings = CaptionSettings(
        ("{} in embedding:film, (soft:1.2), [filewords]",), typed=False
    )
    assert sample_text("embedding:x (fate)", caption_settings, "a-b") == (
        r"a-b in embedding:film, (soft:1.2), x \(fate\)"
    )
    file = CaptionSettings(("a {} embedding:x [filewords]",), typed_templates=False)
    assert (
        sample_text("embedding:film (soft:1.2)", file, "a-b") == "a a-b x embedding:film (soft:1.2)"
    )


def test_a_backslash_at_the_end_of_a_file_takes_no_typed_weight():
    text = sample_text("red\\", CaptionSettings(("{} [filewords](soft:1.2)",), typed=False), "a-b")
    assert text == "a-b red(soft:1.2)"


@pytest.mark.parametrize(
    "before", ["\u2764\ufe0f", "1\ufe0f\u20e3", "\u263a\ufe0f\u2600\ufe0e", "\u845b\U000e0100"]
)
@pytest.mark.parametrize("word", ["my-cat", "\u5927\u732b", "caf\u00e9"])
def test_what_makes_a_sign_an_image_joins_no_word(before: str, word: str):
    text = f"{before}{word} and {word}\ufe0f"
    assert [text[one.start : one.stop] for one in places(text, [word])] == [word, word]


@pytest.mark.parametrize("text", ["<lora:my-cat:1>", "<my-cat:1.2>", "<hypernet:my-cat:0.5>"])
def test_signs_of_other_tools_around_a_word_are_told(text: str):
    assert other_spelling(f"a photo, {text}", "my-cat") == text


@pytest.mark.parametrize("text", ["<my-cat>", "<embedding:my-cat>", "embedding:my-cat", "[my-cat]"])
def test_signs_that_belong_to_a_word_are_not(text: str):
    assert other_spelling(f"a photo, {text}", "my-cat") == ""
