"""Captions, templates and metadata as they stand in files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.caption_files import (
    LONGEST_CAPTION,
    CaptionFiles,
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
    assert templates_from("a {} embedembedding:ding:evil", typed=False) == ("a {} evil",)
    text = "a {} embedding:evil (((("
    assert templates_from(text, typed=False) == (r"a {} evil \(\(\(\(",)
    assert templates_from("a {} embedding:other", typed=True) == ("a {} embedding:other",)


@pytest.mark.parametrize(
    ("stem", "pattern", "joiner", "words"),
    [
        ("00012-0-a cat on a sofa", "", " ", "a cat on a sofa"),
        ("7 red, small", "", " ", "red, small"),
        ("0001", "", " ", ""),
        ("photo_003_red cat", "photo_*_{}", " ", "red cat"),
        ("red_cat_3", "{}_*", " ", "red"),
        ("3-red_cat", "*-{}_{}", ", ", "red, cat"),
        ("a red cat (7)", "{} (*)", " ", "a red cat"),
        ("cat", "dog_{}", " ", ""),
        ("cat", "{}cat", " ", ""),
        ("a", "a{}a", " ", ""),
    ],
)
def test_words_of_file_names(stem: str, pattern: str, joiner: str, words: str):
    """Without a pattern as AUTOMATIC1111 reads them."""
    assert file_name_words(stem, pattern, joiner) == words


@pytest.mark.parametrize("pattern", [r"[\w-]+", "(a+)+$", "(", "*", "{}{}", "*_" * 9 + "{}"])
def test_a_regular_expression_as_file_name_pattern_is_explained(pattern: str):
    with pytest.raises(ValueError, match=r"write 'photo_\*_{}'. Regular expressions are not read"):
        CaptionFiles(pattern=pattern)


def test_a_long_name_is_looked_through_once():
    assert file_name_words("a" * 200_000 + "!", "*a*a*a*a*a*a*a{}b") == ""


@pytest.mark.parametrize("extension", [".", "..", "a/b", "txt.", "x" * 300, "a\0"])
def test_an_extension_that_no_file_has_is_explained(extension: str):
    with pytest.raises(ValueError, match="of caption files cannot be one. Write letters"):
        CaptionFiles(extension=extension)


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


@pytest.mark.parametrize("folder", ["1001_x", "999999_x", "9" * 5000 + "_x"])
def test_more_repeats_than_are_sensible_name_the_folder(folder: str):
    with pytest.raises(ValueError, match=f"The folder '{folder[:4]}.*at most 1000 are allowed"):
        folder_repeats(folder)


def test_lists_of_tags_are_joined_and_null_says_nothing():
    entries = {
        "a": {"tags": ["red", "big", None, ["round"]]},
        "b": {"caption": None, "tags": None},
        "c": ["x", 3],
        "d": None,
        "e": {"caption": True, "text": {"no": "text"}, "tags": "t"},
    }
    found = metadata_captions(json.dumps(entries), "meta.json")
    assert found == {"a": "red, big, round", "b": "", "c": "x, 3", "d": "", "e": "t"}


def test_kohya_metadata_gives_captions_and_tags():
    text = json.dumps(
        {
            "C:\\images\\a.png": {"caption": "a cat", "tags": "red, big"},
            "/images/b": {"tags": "blue", "train_resolution": [512, 512]},
            "c": {"caption": "only"},
            "d": {},
        }
    )
    found = metadata_captions(text, "meta.json")
    assert found == {
        "C:\\images\\a.png": "a cat, red, big",
        "/images/b": "blue",
        "c": "only",
        "d": "",
    }


@pytest.mark.parametrize("key", ["file_name", "image", "file"])
def test_json_lines_give_captions(key: str):
    text = f'{{"{key}": "a.png", "text": "a cat"}}\n\n{{"{key}": "x/b.png", "caption": "b"}}\n'
    assert metadata_captions(text, "metadata.jsonl") == {"a.png": "a cat", "x/b.png": "b"}


@pytest.mark.parametrize("line", ['{"id": 3, "label": "cat"}', '{"image": {"bytes": 1}}', "[1]"])
def test_json_lines_of_another_kind_name_no_image(line: str):
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
