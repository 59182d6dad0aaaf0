"""Which entry of a metadata file belongs to which image."""

from pathlib import Path

import pytest

from ti_core.concept.caption_files import metadata_captions
from ti_core.concept.image_metadata import matched

FOLDER = Path("/host/input/train")


def found(keys: list[str], *images: str) -> dict[str, str]:
    """The written path that each image got; '?' where it cannot be told."""
    paths = [FOLDER / image for image in images]
    matches = matched({key: f"caption of {key}" for key in keys}, paths, FOLDER)
    named = {path: entry.written for path, entry in matches.entries.items()}
    named |= dict.fromkeys(matches.doubtful, "?")
    return {path.relative_to(FOLDER).as_posix(): key for path, key in named.items()}


def test_paths_from_the_metadata_file_belong_to_the_images_there():
    keys = ["indoors/1.png", "outdoors/1.png", "1.png"]
    assert found(keys, *keys) == {key: key for key in keys}


@pytest.mark.parametrize(
    ("keys", "images", "expected"),
    [
        # Moved from elsewhere: the longest common end decides.
        (["C:\\x\\in\\1.png", "C:\\x\\out\\1.png"], ["in/1.png", "out/1.png"],
         ["C:\\x\\in\\1.png", "C:\\x\\out\\1.png"]),
        (["/data/train/1.png", "/data/test/1.png"], ["1.png"], ["/data/train/1.png"]),
        # The name alone, where only one has it.
        (["D:\\old\\1.png"], ["sub/1.png", "2.png"], ["D:\\old\\1.png", None]),
        (["D:\\a\\1.png", "D:\\b\\1.png"], ["1.png"], ["?"]),
        (["1.png"], ["a/1.png", "b/1.png"], ["?", "?"]),
        (["a/1.png"], ["a/1.png", "b/1.png"], ["a/1.png", None]),
        # Without an ending, and in other letters.
        (["in/1", "out/1"], ["out/1.jpg", "in/1.png"], ["out/1", "in/1"]),
        (["1"], ["1.png", "1.jpg"], ["?", "?"]),
        (["1.png", "1"], ["1.jpg", "1.png"], ["1", "1.png"]),
        (["IN\\PHOTO.PNG"], ["in/photo.png"], ["IN\\PHOTO.PNG"]),
        (["e\u0301.png"], ["\u00e9.png"], ["e\u0301.png"]),
        (["1.png"], ["11.png", "1.jpg"], [None, None]),
    ],
)  # fmt: skip
def test_an_entry_goes_to_the_image_that_it_can_only_mean(
    keys: list[str], images: list[str], expected: list[str | None]
):
    wanted = {one: key for one, key in zip(images, expected, strict=True) if key}
    assert found(keys, *images) == wanted


def test_a_doubt_names_both():
    keys = {"C:\\a\\1.png": "red", "C:\\b\\1.png": "blue"}
    (said,) = matched(keys, [FOLDER / "1.png"], FOLDER).doubtful.values()
    assert "'C:\\\\a\\\\1.png' and 'C:\\\\b\\\\1.png', which matches 'train/1.png'" in said


def test_entries_that_say_the_same_are_no_doubt():
    keys = {"C:\\a\\1.png": "red", "C:\\b\\1.png": "red"}
    assert not matched(keys, [FOLDER / "1.png"], FOLDER).doubtful


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,text\na/1.png,\"red, big\"\n2.png,blue\n"),
        ("METADATA.CSV", "label;file_name;caption\n1;a/1.png;red, big\n2;2.png;blue\n"),
        ("x.csv", "image\ttags\r\na/1.png\tred, big\r\n2.png\tblue\r\n"),
        ("metadata.csv", "File_Name, Text\na/1.png, \"red, big\"\n2.png, blue\n"),
        ("metadata.csv", "sep=;\r\nfile_name;text\r\na/1.png;red, big\r\n2.png;blue\r\n"),
        ("metadata.csv", "file|caption\na/1.png|red, big\n2.png|blue\n|\n\n"),
        ("metadata.json", '[{"file_name": "a/1.png", "text": "red, big"}, '
                          '{"file_name": "2.png", "tags": ["blue"]}]'),
        ("Metadata.JSONL", '{"file": "a/1.png", "text": "red, big"}\n'
                           '{"file": "2.png", "text": "blue"}\n'),
    ],
)  # fmt: skip
def test_tables_and_lists_give_captions_by_path(name: str, text: str):
    assert metadata_captions(text, name) == {"a/1.png": "red, big", "2.png": "blue"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,text\n1.png,red\n1.png,blue\n"),
        ("metadata.jsonl", '{"file": "1.png", "text": "a"}\n{"file": "1.png", "text": "b"}\n'),
        ("metadata.json", '{"1.png": "red", "1.png": "blue"}'),
    ],
)
def test_two_captions_for_one_image_are_refused_and_named(name: str, text: str):
    with pytest.raises(ValueError, match=r"cannot be read \(.*'1.png'"):
        metadata_captions(text, name)


def test_a_table_with_a_field_beyond_all_bounds_is_refused_in_our_words():
    with pytest.raises(ValueError, match="'metadata.csv' cannot be read"):
        metadata_captions(f"file_name,text\n1.png,{'x' * 200_000}\n", "metadata.csv")


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/Cat.png", "a/cat.png"), ("A/1.png", "a/1.png"), ("caf\u00e9/1.png", "cafe\u0301/1.png")],
)
def test_images_that_differ_in_case_alone_have_the_entry_that_is_written_so(one: str, other: str):
    folder = Path("/sets/cats")
    found = matched({one: "red", f"./{other}": "blue"}, [folder / one, folder / other], folder)
    captions = {path: entry.caption for path, entry in found.entries.items()}
    assert captions == {folder / one: "red", folder / other: "blue"}
    assert not found.doubtful
