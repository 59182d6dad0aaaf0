"""Folders as other people and their systems leave them: which files are images, masks, captions
and metadata, what is passed over, and what is told of the rest.
"""

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from PIL import Image, features

from ti_core.concept.audit import concept_report, findings
from ti_core.concept.caption_files import CaptionFiles
from ti_core.concept.concept import Concept
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import CaptionOptions
from ti_core.host.images.concept_requests import (
    Request,
    check_choices,
    folder_state,
    load_concept,
    read_templates,
)
from ti_core.host.images.dataset_files import load_dataset_file
from ti_core.host.images.folder_summary import FolderSummary, Wanted, glance
from ti_core.host.images.folders import folder_path, image_file
from ti_core.host.images.image_folders import image_counts
from ti_core.host.images.thumbnails import thumbnail

toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads no TOML")
posix = pytest.mark.skipif(os.name == "nt", reason="links and pipes are of POSIX")
NFC, NFD = unicodedata.normalize("NFC", "été"), unicodedata.normalize("NFD", "été")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input folder of its own."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    return folder


def image(number: int, width: int = 96, height: int = 80) -> Image.Image:
    return Image.effect_noise((width, height), 60 + number).convert("RGB")


def images(folder: Path, *names: str) -> Path:
    """Images of these names, which differ."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg = path.suffix.lower() in (".jpg", ".jpe", ".jfif")
        image(number).save(path, "JPEG" if jpeg else "PNG")
    return folder


def texts(folder: Path, **captions: str) -> Path:
    for stem, caption in captions.items():
        (folder / f"{stem}.txt").write_text(caption, "utf-8")
    return folder


def loaded(kind: Any = "captions", **more: Any) -> tuple[Concept, list[str]]:
    return load_concept(Request("input/cats", [], kind, ("",), FitSettings(64, 64), **more))


def captions(**more: Any) -> dict[str, str]:
    return {one.name: one.caption for one in loaded(**more)[0].images}


def names(**more: Any) -> list[str]:
    return [one.name for one in loaded("object", **more)[0].images]


def looked(**wanted: Any) -> FolderSummary:
    return glance("input/cats", Wanted(64, **wanted))


def told(**more: Any) -> str:
    """All that a run says of the folder."""
    concept, notes = loaded("object", **more)
    return "\n".join([concept_report(concept), *notes])


# Metadata


def test_metadata_of_sub_folders_is_matched_by_path(inputs: Path):
    folder = images(inputs / "cats", "indoors/1.png", "outdoors/1.png")
    lines = {"indoors/1.png": "on a red sofa", "outdoors/1.png": "on green grass"}
    written = [json.dumps({"file_name": name, "text": text}) for name, text in lines.items()]
    (folder / "metadata.jsonl").write_text("\n".join(written))
    assert captions() == lines


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train/metadata.jsonl", '{"file_name": "a/1.png", "text": "red"}'),
        ("train/metadata.csv", "file_name,text\na/1.png,red\n"),
        ("train/a/METADATA.CSV", "file_name,text\n1.png,red\n"),
        ("meta/metadata.jsonl", '{"file_name": "train/a/1.png", "text": "red"}'),
        ("meta_cap.json", '{"D:\\\\sets\\\\train\\\\a\\\\1": {"caption": "red"}}'),
    ],
)
def test_metadata_below_the_folder_is_seen(inputs: Path, name: str, text: str):
    folder = images(inputs / "cats", "train/a/1.png")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    assert captions() == {"train/a/1.png": "red"}


def test_the_metadata_nearest_to_an_image_counts(inputs: Path):
    folder = images(inputs / "cats", "a/1.png", "b/1.png")
    (folder / "metadata.csv").write_text("file_name,text\na/1.png,red\nb/1.png,blue\n")
    (folder / "a" / "metadata.csv").write_text("file_name,text\n1.png,green\n")
    assert captions() == {"a/1.png": "green", "b/1.png": "blue"}


def test_a_doubtful_entry_is_an_error_that_names_both(inputs: Path):
    folder = images(inputs / "cats", "a/1.png", "b/1.png")
    (folder / "metadata.json").write_text('{"1": {"caption": "red"}}')
    with pytest.raises(ValueError, match="says '1', which matches 'a/1.png' or 'b/1.png'"):
        loaded()
    assert "which matches 'a/1.png' or 'b/1.png'" in looked(captions=True).findings[1]


def test_metadata_that_is_not_read_is_named(inputs: Path):
    folder = images(inputs / "cats", "1.png", "2.png", "3.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "red"}')
    for name in ("metadata.csv", "captions.json", "metadata.parquet"):
        (folder / name).write_text("{}")
    for number in (2, 3):
        (folder / f"{number}.txt").write_text("two")
    notes = "\n".join(loaded()[1])
    assert "metadata.csv was not read: metadata.jsonl was read instead." in notes
    assert "2 files were not read (captions.json, metadata.parquet)." in notes


def test_the_metadata_file_that_is_named_goes_before_one_of_its_name_in_the_folder(inputs: Path):
    folder = images(inputs / "cats", "1.png")
    (inputs / "texts").mkdir()
    (folder / "metadata.json").write_text('{"1": "of the folder"}')
    (inputs / "texts" / "metadata.json").write_text('{"1": "as named"}')
    files = CaptionFiles("metadata", metadata="input/texts/metadata.json")
    assert captions(captions=CaptionOptions(files)) == {"1.png": "as named"}


@toml
def test_folders_of_a_dataset_file_are_found_by_the_end_of_their_paths(inputs: Path):
    images(inputs / "cats" / "img", "1.png")
    images(inputs / "dogs" / "img", "2.png")
    text = "[[datasets]]\nresolution = 64\n"
    for name in ("cats", "Dogs"):
        text += f"[[datasets.subsets]]\nimage_dir = 'D:\\sets\\{name}\\img'\nclass_tokens = 'x'\n"
    (inputs / "set.toml").write_text(text)
    concept, _ = load_dataset_file("input/set.toml", "captions", 0)
    assert [one.name for one in concept.images] == ["1.png", "2.png"]


@toml
@pytest.mark.parametrize("own", ["", "image_dir = 'img'\nconditioning_data_dir"])
def test_two_folders_of_a_dataset_file_are_not_read_as_one(inputs: Path, own: str):
    images(inputs / "img", "1.png")
    text = "[[datasets]]\nresolution = 64\n"
    for name in ("cats", "dogs"):
        text += f"[[datasets.subsets]]\n{own or 'image_dir'} = 'D:\\sets\\{name}\\img'\n"
        text += f"class_tokens = '{name}'\n"
    (inputs / "set.toml").write_text(text)
    with pytest.raises(ValueError, match="would both be read from input/img"):
        load_dataset_file("input/set.toml", "captions", 0)


# Masks


@pytest.mark.parametrize(
    "mask", ["1_MASK.png", "1_mask.PNG", "1-MaskLabel.png", "1_Mask.jpg", "1-masklabel.JFIF"]
)
def test_masks_are_masks_in_any_case_for_lists_and_for_loading(inputs: Path, mask: str):
    folder = images(inputs / "cats", "1.png", "2.png")
    half = Image.new("L", (96, 80))
    half.paste(255, (0, 0, 48, 80))
    half.save(folder / mask, "PNG" if mask.lower().endswith("png") else "JPEG")
    assert image_counts() == {"input/cats": 2}
    assert looked(masks=False).names == ["1.png", "2.png"]
    concept, _ = loaded("object")
    assert [one is not None for one in concept.weights] == [True, False]
    assert f"mask {mask}" in concept_report(concept)


def test_each_of_two_images_of_one_name_takes_the_mask_most_like_it(inputs: Path):
    images(inputs / "cats", "1.png", "1.jpg", "1_mask.jpg", "1_mask.png")
    lines = told().splitlines()
    assert any(line.startswith("1.png (") and "mask 1_mask.png" in line for line in lines)
    assert any(line.startswith("1.jpg (") and "mask 1_mask.jpg" in line for line in lines)


def test_images_that_share_a_caption_or_a_mask_are_told(inputs: Path):
    folder = images(inputs / "cats", "1.png", "1.jpg", "1_mask.png", "2.png")
    texts(folder, **{"1": "one", "2": "two"})
    notes = "\n".join(loaded()[1])
    assert "1.jpg and 1.png share 1_mask.png" in notes
    assert "1.jpg and 1.png share 1.txt" in notes
    texts(folder, **{"1.png": "of the PNG", "1.jpg": "of the JPEG"})
    assert captions() == {"1.png": "of the PNG", "1.jpg": "of the JPEG", "2.png": "two"}
    assert "share 1.txt" not in "\n".join(loaded()[1])


def test_a_mask_without_its_image_is_told(inputs: Path):
    images(inputs / "cats", "1.png", "2.png", "3_mask.png")
    assert "read as an image: 3_mask.png" in told()
    assert "read as an image: 3_mask.png" in "\n".join(looked().findings)


# What systems leave


LEFT = (
    "._1.png",
    ".ipynb_checkpoints/1-checkpoint.png",
    ".Trash-1000/files/old.png",
    "__MACOSX/._2.png",
    "__MACOSX/2.png",
    "@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg",
    "$RECYCLE.BIN/S-1/x.jpg",
    "#recycle/y.png",
    "lost+found/z.png",
    ".git/a.png",
)


def test_what_systems_leave_is_neither_listed_counted_shown_nor_learned(inputs: Path):
    folder = texts(images(inputs / "cats", "1.png", "2.png", "sub/3.png"), **{"1": "one"})
    before = folder_state("input/cats")
    images(folder, *LEFT)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.txt", ".metadata.jsonl"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    assert image_counts() == {"input/cats": 3, "input/cats/sub": 1}
    assert looked(captions=False) == FolderSummary(
        3, ["1.png", "2.png", "sub/3.png"], [], True, ["sub (1)"]
    )
    assert names() == ["1.png", "2.png", "sub/3.png"]
    assert "not read" not in told()
    assert folder_state("input/cats") == before
    check_choices("input/cats", False, "a\nb\nc", True)
    for name in LEFT:
        with pytest.raises(ValueError, match="There is no image "):
            image_file(f"input/cats/{name}")


def test_a_hidden_folder_is_none_to_choose(inputs: Path):
    images(inputs / ".ipynb_checkpoints", "1.png")
    images(inputs / "__MACOSX" / "cats", "1.png")
    assert image_counts() == {}
    for choice in ("input/.ipynb_checkpoints", "input/__MACOSX/cats"):
        with pytest.raises(ValueError, match="There is no image folder"):
            folder_path(choice)


def test_images_below_a_hidden_folder_of_the_system_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """ComfyUI itself may lie in one."""
    folder = tmp_path / ".local" / "input"
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    images(folder / "cats", "1.png")
    assert image_counts() == {"input/cats": 1}
    assert names() == ["1.png"]


# Formats


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.apng", "PNG"), ("a.JFIF", "JPEG"),
     ("a.pjpeg", "JPEG"), ("a.avif", "AVIF")],
)  # fmt: skip
def test_what_pillow_reads_is_read_whatever_its_ending(inputs: Path, name: str, written: str):
    if written == "AVIF" and not features.check("avif"):
        pytest.skip("This Pillow reads no AVIF.")
    folder = images(inputs / "cats", "1.png")
    image(5).save(folder / name, written)
    assert image_counts() == {"input/cats": 2}
    assert looked().names == ["1.png", name]
    assert thumbnail(image_file(f"input/cats/{name}")) is not None
    assert names() == ["1.png", name]


def test_files_that_are_not_read_are_told_with_their_number(inputs: Path):
    folder = images(inputs / "cats", "1.png", "2.png", "3.png")
    for name in ("a.heic", "b.JXL", "notes.pdf", "1.txt", "1.npz", "dataset.toml"):
        (folder / name).write_text("x")
    said = "3 files were not read (a.heic, b.JXL, notes.pdf). Convert the images among them"
    assert said in told()
    assert looked().findings == [f"{said} to PNG or JPEG."]


@pytest.mark.parametrize("name", ["a.heic", "IMG_1.CR2", "b.jp2"])
def test_a_folder_of_such_images_alone_is_offered_and_told(inputs: Path, name: str):
    (inputs / "cats").mkdir()
    (inputs / "cats" / name).write_text("x")
    assert image_counts() == {"input/cats": 0}
    assert looked().findings[0].startswith(f"1 file was not read ({name})")
    with pytest.raises(ValueError, match=rf"holds no images .* 1 file was not read \({name}\)"):
        check_choices("input/cats", False, "", True)


def test_a_folder_of_texts_is_not_offered(inputs: Path):
    (inputs / "cats").mkdir()
    (inputs / "cats" / "a.txt").write_text("x")
    assert image_counts() == {}


# Captions


@pytest.mark.parametrize(
    ("shown", "caption"),
    [
        ("Photo1.png", "Photo1.TXT"),
        ("Photo1.png", "photo1.txt"),
        ("photo1.JPG", "PHOTO1.Caption"),
        (f"{NFC}.png", f"{NFD}.txt"),
        (f"{NFD}.png", f"{NFC}.TXT"),
        ("a.png", "A.PNG.txt"),
    ],
)
def test_captions_are_found_in_any_case_and_form_of_accents(inputs: Path, shown: str, caption: str):
    folder = images(inputs / "cats", shown)
    (folder / caption).write_text("as written")
    assert list(captions().values()) == ["as written"]


def test_of_captions_that_differ_in_case_the_image_takes_its_own(inputs: Path):
    folder = images(inputs / "cats", "a.png", "A.png")
    if len(list(folder.iterdir())) < 2:
        pytest.skip("This file system knows no case.")
    texts(folder, a="small", A="large")
    assert captions() == {"a.png": "small", "A.png": "large"}
    (folder / "b.TXT").write_text("x")
    (folder / "B.txt").write_text("y")
    images(folder, "b.png")
    with pytest.raises(ValueError, match="'B.txt' and 'b.TXT' differ only in how"):
        loaded()


@pytest.mark.parametrize(
    ("extension", "lying"), [(".caption", "a.txt"), (".tags", "a.caption"), (".txt", "a.tags")]
)
def test_texts_of_another_ending_are_named_with_the_one_that_was_looked_for(
    inputs: Path, extension: str, lying: str
):
    folder = images(inputs / "cats", "a.png", "b.png")
    (folder / lying).write_text("one")
    options = CaptionOptions(CaptionFiles("text files", extension))
    with pytest.raises(ValueError) as error:
        loaded(captions=options)
    assert f"({lying}): the captions looked for end in {extension}." in str(error.value)
    assert f"Set extension = '{Path(lying).suffix}' in Caption Options." in str(error.value)
    told = loaded(captions=CaptionOptions(CaptionFiles("auto", extension)))[1]
    assert f"({lying}): the captions looked for end in {extension}." in "\n".join(told)


@toml
@pytest.mark.parametrize("more", ["", "class_tokens = 'cat'\n"])
def test_a_dataset_file_without_caption_extension_names_the_texts_that_lie_there(
    inputs: Path, more: str
):
    texts(images(inputs / "cats", "a.png"), a="one")
    text = f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'cats'\n{more}"
    (inputs / "set.toml").write_text(text)
    try:
        said = "\n".join(load_dataset_file("input/set.toml", "captions", 0)[1])
    except ValueError as error:
        said = str(error)
    assert "(a.txt): the captions looked for end in .caption." in said
    assert "Set caption_extension = '.txt' in the dataset file." in said


# Images that EXIF turns


def turned_photo(path: Path, orientation: int, size: tuple[int, int] = (120, 80)) -> None:
    """A photo whose raw pixels are dark on the left, and a mask from them, white on the right."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Image.new("RGB", size, "white")
    photo.paste("black", (0, 0, size[0] // 2, size[1]))
    photo.save(path, exif=exif, quality=95)
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    mask.save(path.with_name(f"{path.stem}_mask.png"))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
def test_a_mask_of_the_raw_pixels_is_turned_with_its_photo(
    inputs: Path, orientation: int, ending: str
):
    (inputs / "cats").mkdir()
    turned_photo(inputs / "cats" / f"1.{ending}", orientation)
    concept, _ = loaded("object")
    crop, weights = concept.crops[0].float().mean(-1), concept.weights[0]
    assert weights is not None
    assert crop[weights > 0.5].min() > 200 and crop[weights < 0.01].max() < 60
    assert "mask rotated with the image" in concept_report(concept)


@pytest.mark.parametrize(
    ("orientation", "size"), [(6, (96, 96)), (8, (97, 96)), (3, (120, 80)), (2, (120, 80))]
)
def test_where_it_is_not_certain_the_mask_stays_and_a_look_is_asked_for(
    inputs: Path, orientation: int, size: tuple[int, int]
):
    (inputs / "cats").mkdir()
    turned_photo(inputs / "cats" / "1.jpg", orientation, size)
    assert "with a mask that may have been made before the rotation: 1.jpg" in "\n".join(
        findings(loaded("object")[0])
    )


def test_a_mask_that_is_the_same_either_way_or_was_turned_itself_needs_no_look(inputs: Path):
    (inputs / "cats").mkdir()
    turned_photo(inputs / "cats" / "1.jpg", 6, (96, 96))
    Image.new("L", (96, 96), 255).save(inputs / "cats" / "1_mask.png")
    turned_photo(inputs / "cats" / "2.jpg", 3)
    (inputs / "cats" / "2_mask.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.effect_noise((120, 80), 9).save(inputs / "cats" / "2_mask.jpg", exif=exif)
    assert "may have been made before" not in told()


def test_connected_masks_of_raw_pixels_are_turned_too(inputs: Path):
    (inputs / "cats").mkdir()
    turned_photo(inputs / "cats" / "1.jpg", 6)
    mask = torch.zeros(80, 120)
    mask[:, 60:] = 1
    (inputs / "cats" / "1_mask.png").unlink()
    concept, _ = loaded("object", masks=[mask])
    assert concept.weights[0] is not None
    assert concept.weights[0][0].max() == 0 and concept.weights[0][-1].min() > 0
    assert "connected mask, mask rotated with the image" in concept_report(concept)


def test_a_mask_of_a_turned_shape_without_an_entry_says_so(inputs: Path):
    folder = images(inputs / "cats", "1.png")
    Image.new("L", (80, 96), 255).save(folder / "1_mask.png")
    with pytest.raises(ValueError, match="80 x 96, but .* if turned by 90 degrees"):
        loaded("object")


# Project folders


@pytest.mark.parametrize(
    "layout",
    [
        ("img/20_cat/1.png", "reg/1_cat/2.png", "model/sample/3.png"),
        ("train/1.png", "validation/2.png", "test/3.png"),
        ("1.png", "Masks/1.png", "Regularization Images/3.png"),
    ],
)
def test_sub_folders_are_named_and_those_of_trainers_are_told(
    inputs: Path, layout: tuple[str, ...]
):
    images(inputs / "cats", *layout)
    found = looked()
    inside = [name for name in layout if "/" in name]
    assert sorted(found.folders) == sorted(f"{name.rpartition('/')[0]} (1)" for name in inside)
    (finding,) = found.findings
    assert finding.startswith("Folders with these names usually hold images that should not be")
    for name in layout[1:]:
        assert f"{name.rpartition('/')[0]} (1)" in finding
    assert finding in loaded("object")[1]
    assert looked(deep=False).folders == []


# What cannot be read


def server_paths(text: str, inputs: Path) -> bool:
    return str(inputs.parent) in text


@posix
@pytest.mark.parametrize("what", ["folder", "dangling", "loop", "pipe"])
def test_what_is_no_file_in_the_place_of_an_image_is_told(inputs: Path, what: str):
    folder = images(inputs / "cats", "1.png", "2.png", "3.png")
    path = folder / "4.png"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if what == "loop" else folder / "none.png")
    assert names() == ["1.png", "2.png", "3.png"]
    assert ("1 file was not read (4.png)" in told()) == (what != "folder")
    assert image_counts() == {"input/cats": 3}
    assert looked().count == 3
    with pytest.raises(ValueError, match="There is no image 'input/cats/4.png'"):
        image_file("input/cats/4.png")


@posix
@pytest.mark.parametrize("choice", ["input/loop/1.png", "input/loop", "input/cats/loop/1.png"])
def test_a_link_loop_is_no_image_and_no_folder(inputs: Path, choice: str):
    images(inputs / "cats", "1.png")
    (inputs / "loop").symlink_to(inputs / "loop")
    (inputs / "cats" / "loop").symlink_to(inputs / "cats" / "loop")
    with pytest.raises(ValueError, match="There is no image"):
        image_file(choice)
    with pytest.raises(ValueError, match="There is no image folder"):
        folder_path(choice)


@posix
def test_a_folder_that_is_a_link_is_told(inputs: Path):
    folder = images(inputs / "cats", "1.png", "2.png")
    images(inputs / "more", "3.png")
    (folder / "more").symlink_to(inputs / "more")
    assert names() == ["1.png", "2.png"]
    assert "The folder 'more' is a link, and was not read." in told()


def denied(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Another user's file, as the system refuses it (root may read all)."""
    opened = Path.open

    def refuse(path: Path, *rest: Any, **more: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize("name", ["1.txt", "metadata.jsonl"])
def test_a_text_that_is_not_for_us_is_named_without_the_servers_path(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    folder = images(inputs / "cats", "1.png", "2.png", "3.png")
    (folder / name).write_text('{"file_name": "1.png", "text": "red"}')
    denied(monkeypatch, name)
    with pytest.raises(ValueError) as error:
        loaded()
    assert f"The file '{name}' cannot be read (permission denied)" in str(error.value)
    assert not server_paths(str(error.value), inputs)
    if name == "1.txt":
        assert str(error.value)[:40] in "\n".join(looked(captions=True).findings)


def test_templates_that_are_not_for_us_are_named_without_the_servers_path(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
):
    (inputs / "mine.txt").write_text("a {}")
    denied(monkeypatch, "mine.txt")
    with pytest.raises(ValueError, match=r"'mine.txt' cannot be read \(permission denied\)"):
        read_templates("", "input/mine.txt")


def test_an_image_that_goes_during_a_look_is_none(inputs: Path):
    folder = images(inputs / "cats", "1.png", "2.png")
    path = image_file("input/cats/2.png")
    path.unlink()
    assert thumbnail(path) is None
    request = Request("input/cats", [], "object", ("",), FitSettings(64, 64))
    assert [one.name for one in load_concept(request)[0].images] == ["1.png"]
    assert str(folder / "1.png") in folder_state("input/cats")


# Choices


@pytest.mark.parametrize(
    "choice",
    ["input/.", "input/./", "input//", "input/./.", "input/cats/..", "input/x/../cats/..",
     "input\\.", "input/cats/../."],
)  # fmt: skip
def test_input_itself_is_no_folder_to_choose(inputs: Path, choice: str):
    images(inputs / "cats", "1.png")
    images(inputs, "loose.png")
    with pytest.raises(ValueError, match="There is no image folder"):
        folder_path(choice)
    with pytest.raises(ValueError, match="There is no image folder"):
        glance(choice, Wanted(64))
    with pytest.raises(ValueError, match="There is no image "):
        image_file(f"{choice}/loose.png")


@posix
def test_a_link_to_input_itself_is_no_folder_to_choose(inputs: Path):
    images(inputs, "loose.png")
    (inputs / "all").symlink_to(inputs)
    with pytest.raises(ValueError, match="There is no image folder"):
        folder_path("input/all")


@toml
@pytest.mark.parametrize("image_dir", [".", "input/.", "cats/.."])
def test_a_dataset_file_does_not_mean_input_itself(inputs: Path, image_dir: str):
    images(inputs / "cats", "1.png")
    images(inputs, "loose.png")
    text = f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{image_dir}'\n"
    (inputs / "set.toml").write_text(text)
    with pytest.raises(ValueError, match="is not in ComfyUI's input/ or datasets/"):
        load_dataset_file("input/set.toml", "object", 0)


@pytest.mark.parametrize("choice", ["input/./cats", "input/cats/", "input/cats/.", "input\\cats"])
def test_a_folder_may_be_written_in_several_ways(inputs: Path, choice: str):
    images(inputs / "cats", "1.png")
    assert folder_path(choice) == inputs / "cats"
