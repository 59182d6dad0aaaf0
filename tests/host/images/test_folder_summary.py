"""What is said of a folder of images before any run."""

from pathlib import Path

import folder_paths
import pytest
from PIL import Image

from ti_core.host.images.concept_requests import check_choices
from ti_core.host.images.folder_summary import FolderSummary, Wanted, glance
from ti_core.host.images.folders import image_file
from ti_core.host.images.image_folders import image_counts, image_folders


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


def seen(resolution: int = 64, **wanted: bool) -> FolderSummary:
    return glance("input/cats", Wanted(resolution, **wanted))


def test_only_folders_with_images_are_offered_with_their_number(inputs: Path):
    put(inputs / "cats", "1.png", "1_mask.png", "20_cat/2.png")
    put(inputs / "clipspace", "painted.png")
    put(inputs, "loose.png")
    (inputs / "empty").mkdir()
    assert image_folders() == ["none", "input/cats", "input/cats/20_cat"]
    assert image_counts() == {"input/cats": 2, "input/cats/20_cat": 1}


def test_a_sound_folder_has_nothing_to_look_at(inputs: Path):
    put(inputs / "cats", "1.png", "2.png", "sub/10.png")
    found = seen()
    assert found == FolderSummary(3, ["1.png", "2.png", "sub/10.png"], [], True, ["sub (1)"])


def test_small_same_and_broken_images_are_told(inputs: Path):
    folder = put(inputs / "cats", "1.png", "2.png")
    with Image.open(folder / "1.png") as first:
        first.resize((64, 80)).save(folder / "3.jpg", quality=60)
    (folder / "4.png").write_bytes(b"no image")
    assert seen(65).findings == [
        "1 file cannot be read: 4.png.",
        "3 images will be enlarged to 65: 1.png (64 x 64), 2.png (64 x 64), 3.jpg (64 x 80).",
        "They look the same, or nearly so: 1.png and 3.jpg. Keep one of each.",
    ]


def test_images_without_a_caption_are_told_where_they_need_one(inputs: Path):
    folder = put(inputs / "cats", "IMG_1.png", "IMG_2.png", "a red cat.png")
    (folder / "IMG_1.txt").write_text("a cat")
    assert seen().findings == []
    (text,) = seen(captions=True).findings
    assert text.startswith("1 image without a caption: IMG_2.png.")


def test_very_few_images_are_told(inputs: Path):
    put(inputs / "cats", "1.png")
    (text,) = seen().findings
    assert text.startswith("Fewer than 3 images")


@pytest.mark.parametrize("choice", ["", "input/", "input/..", "input/../..", "input/none", "x/y"])
def test_nothing_outside_the_folders_is_looked_at(inputs: Path, choice: str):
    put(inputs.parent / "none", "secret.png")
    with pytest.raises(ValueError, match="There is no image folder"):
        glance(choice, Wanted(64))
    with pytest.raises(ValueError, match="There is no image "):
        image_file(f"{choice}/secret.png")


@pytest.mark.parametrize("name", ["loose.png", "cats/a.txt", "cats/2.png", "cats/../../none/x.png"])
def test_only_images_in_folders_are_given(inputs: Path, name: str):
    put(inputs, "loose.png", "cats/1.png")
    put(inputs.parent / "none", "x.png")
    (inputs / "cats" / "a.txt").write_text("a cat")
    assert image_file("input/cats/1.png") == inputs / "cats" / "1.png"
    with pytest.raises(ValueError, match="There is no image "):
        image_file(f"input/{name}")


def test_a_link_that_leads_outside_is_not_looked_at(inputs: Path):
    put(inputs / "cats", "1.png", "2.png", "3.png")
    outside = put(inputs.parent / "outside", "secret.png", side=8)
    (inputs / "cats" / "4.png").symlink_to(outside / "secret.png")
    found = seen()
    assert found.findings == []
    assert "4.png" not in found.names
    with pytest.raises(ValueError, match="There is no image "):
        image_file("input/cats/4.png")


def test_what_the_time_is_too_short_for_is_compared_the_next_time(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = put(inputs / "cats", "1.png", "2.png", "3.png")
    (folder / "3.png").write_bytes((folder / "1.png").read_bytes())
    monkeypatch.setattr("ti_core.host.images.folder_summary.SECONDS", 0.0)
    first = seen()
    assert (first.count, first.findings, first.compared) == (3, [], False)
    monkeypatch.undo()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(inputs))
    assert "1.png and 3.png" in seen().findings[0]
    put(folder, "3.png")
    assert seen().findings == []


def test_images_without_a_mask_are_told_where_others_have_one(inputs: Path):
    put(inputs / "cats", "1.png", "2.png", "3.png", "2_mask.png")
    (text,) = seen().findings
    assert text.startswith("2 images without a mask, where others have one: 1.png, 3.png.")
    assert seen(masks=False).findings == []


@pytest.mark.parametrize(
    ("folder", "images", "captions", "deep", "says"),
    [
        ("none", False, "", True, "There are no images"),
        ("input/dogs", False, "", True, "There is no image folder 'input/dogs'"),
        ("input/outer", False, "", False, "The folder 'outer' holds no images"),
        ("input/cats", False, "a\nb", True, "There are 2 captions for 3 images"),
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
