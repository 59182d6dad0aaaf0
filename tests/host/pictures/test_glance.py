"""What is said of a folder of pictures before any run."""

import shutil
from pathlib import Path

import folder_paths
import pytest
from PIL import Image

from ti_core.host.pictures.concept_requests import check_choices
from ti_core.host.pictures.glance import COMPARED, Glance, glance
from ti_core.host.pictures.picture_folders import picture_counts, picture_folders


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input folder of its own."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    return folder


def put(folder: Path, *names: str, side: int = 64) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.effect_noise((side, side), 50).convert("RGB").save(path)
    return folder


def seen(resolution: int = 64, captions: bool = False) -> Glance:
    return glance("input/cats", resolution, captions)


def test_only_folders_with_pictures_are_offered_with_their_number(inputs: Path):
    put(inputs / "cats", "1.png", "1_mask.png", "20_cat/2.png")
    put(inputs / "clipspace", "painted.png")
    put(inputs, "loose.png")
    (inputs / "empty").mkdir()
    assert picture_folders() == ["none", "input/cats", "input/cats/20_cat"]
    assert picture_counts() == {"input/cats": 2, "input/cats/20_cat": 1}


def test_a_sound_folder_has_nothing_to_look_at(inputs: Path):
    put(inputs / "cats", "1.png", "2.png", "sub/10.png")
    found = seen()
    assert (found.count, found.findings) == (3, [])
    assert [(one.filename, one.subfolder) for one in found.thumbnails] == [
        ("1.png", "cats"),
        ("2.png", "cats"),
        ("10.png", "cats/sub"),
    ]


def test_small_same_and_broken_pictures_are_told(inputs: Path):
    folder = put(inputs / "cats", "1.png", "2.png")
    shutil.copy(folder / "1.png", folder / "3.png")
    (folder / "4.png").write_bytes(b"no picture")
    assert seen(65).findings == [
        "1 file cannot be read: 4.png.",
        "3 pictures will be enlarged to 65: 1.png (64 x 64), 2.png (64 x 64), 3.png (64 x 64).",
        "The same picture twice: 1.png and 3.png. Keep one of each.",
    ]


def test_pictures_without_a_caption_are_told_where_they_need_one(inputs: Path):
    folder = put(inputs / "cats", "IMG_1.png", "IMG_2.png", "a red cat.png")
    (folder / "IMG_1.txt").write_text("a cat")
    assert seen().findings == []
    (text,) = seen(captions=True).findings
    assert text.startswith("1 picture without a caption: IMG_2.png.")


def test_very_few_pictures_are_told(inputs: Path):
    put(inputs / "cats", "1.png")
    (text,) = seen().findings
    assert text.startswith("Fewer than 3 pictures")


@pytest.mark.parametrize("choice", ["", "input/", "input/..", "input/../..", "input/none", "x/y"])
def test_nothing_outside_the_folders_is_looked_at(inputs: Path, choice: str):
    put(inputs.parent / "none", "secret.png")
    with pytest.raises(ValueError, match="There is no picture folder"):
        glance(choice, 64, False)


def test_a_link_that_leads_outside_is_not_looked_at(inputs: Path):
    put(inputs / "cats", "1.png", "2.png", "3.png")
    outside = put(inputs.parent / "outside", "secret.png", side=8)
    (inputs / "cats" / "4.png").symlink_to(outside / "secret.png")
    found = seen()
    assert found.findings == []
    assert "4.png" not in [one.filename for one in found.thumbnails]


def test_huge_files_are_not_compared(inputs: Path):
    folder = put(inputs / "cats", "1.png", "2.png", "3.png")
    for name in ("1.png", "2.png"):
        with (folder / name).open("r+b") as file:
            file.truncate(COMPARED + 1)  # A hole, which takes no room.
    assert seen().findings == []


@pytest.mark.parametrize(
    ("folder", "images", "captions", "deep", "says"),
    [
        ("none", False, "", True, "There are no pictures"),
        ("input/dogs", False, "", True, "There is no picture folder 'input/dogs'"),
        ("input/outer", False, "", False, "The folder 'outer' holds no pictures"),
        ("input/cats", False, "a\nb", True, "There are 2 captions for 3 pictures"),
    ],
)
def test_choices_that_cannot_work_are_refused(
    inputs: Path, folder: str, images: bool, captions: str, deep: bool, says: str
):
    put(inputs / "cats", "1.png", "2.png", "3.png")
    put(inputs / "outer", "inner/1.png")
    with pytest.raises(ValueError, match=says):
        check_choices(folder, images, captions, deep)


@pytest.mark.parametrize(
    ("folder", "images", "captions"),
    [("input/cats", False, "a"), ("input/cats", False, "a\n\nb\nc\n"), ("none", True, "a\nb")],
)
def test_choices_that_may_work_are_not(inputs: Path, folder: str, images: bool, captions: str):
    put(inputs / "cats", "1.png", "2.png", "3.png")
    check_choices(folder, images, captions, True)
