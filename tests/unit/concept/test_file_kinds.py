"""What a file is, by its name alone."""

import unicodedata

import pytest

from ti_core.concept.file_kinds import (
    is_image,
    is_other_image,
    masked_stem,
    path_parts,
    seldom_meant,
)
from ti_core.left_behind import passed_over


@pytest.mark.parametrize(
    "name", ["a.png", "A.PNG", "a.Jpg", "a.jfif", "a.JPE", "a.apng", "a.pjpeg", "a.TIF", "..a.gif"]
)
def test_images_are_known_by_their_ending_in_any_case(name: str):
    assert is_image(name)


@pytest.mark.parametrize("name", ["a.heic", "a.JXL", "a.jp2", "IMG.CR2", "a.psd", "a.svg", "a.tga"])
def test_images_that_are_not_read_are_known_as_such(name: str):
    assert is_other_image(name)
    assert not is_image(name)


@pytest.mark.parametrize(
    "name", ["png", "a.txt", "a.png.txt", "a.pngx", "a", "", "a.", "a.safetensors"]
)
def test_other_files_are_no_images(name: str):
    assert not is_image(name)
    assert not is_other_image(name)


@pytest.mark.parametrize(
    ("stem", "image"),
    [
        ("2_MASK", "2"),
        ("3_mask", "3"),
        ("4-MaskLabel", "4"),
        ("5_maskLabel", "5"),
        ("6-Mask", "6"),
        ("7.mask", "7"),
        ("a_mask_mask", "a_mask"),
        (unicodedata.normalize("NFD", "É_MASK"), "é"),
        ("_mask", ""),
        ("mask", ""),
        ("unmasked", ""),
        ("a_masks", ""),
    ],
)
def test_a_mask_is_called_like_its_image_in_any_case(stem: str, image: str):
    assert masked_stem(stem) == image


@pytest.mark.parametrize(
    "name",
    [
        *("._1.png", ".DS_Store", ".ipynb_checkpoints", ".Trash-1000", ".git", ".thumbnails"),
        *("__MACOSX", "@eaDir", "@EADIR", "$RECYCLE.BIN", "System Volume Information"),
        *("Thumbs.db", "THUMBS.DB", "desktop.ini", "lost+found", "#recycle", "#snapshot"),
        *("Icon\r", "~$cat.png", "node_modules", "__pycache__", "a.jpg@SynoEAStream"),
    ],
)
def test_what_systems_and_programs_leave_is_passed_over(name: str):
    assert passed_over(name)


@pytest.mark.parametrize("name", ["1.png", "_1.png", "$100.png", "#1.png", "@me.jpg", "lost"])
def test_what_a_person_may_mean_is_not(name: str):
    assert not passed_over(name)


@pytest.mark.parametrize(
    "name", ["reg", "REG", "1_reg", "Regularization Images", "samples", "model", "classes", "logs",
             "validation", "test", "masks", "reg_imgs", "reg_pictures", "outputs", "my reg",
             "class_data",
             "cat-regularization", "val2017", "samples_1000", "Regularizierung",
             "1_正则化", "サンプル"]
)  # fmt: skip
def test_folders_of_trainers_are_known_by_name(name: str):
    assert seldom_meant(name)


@pytest.mark.parametrize(
    "name",
    ["img", "20_cat", "train", "regina", "models of ships", "garden", "model 3", "oval", "naval 2"],
)
def test_folders_of_images_are_not(name: str):
    assert not seldom_meant(name)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("C:\\Images\\A.png", ("c:", "images", "a.png")),
        ("./x//b.png", ("x", "b.png")),
        ("../é/1", ("é", "1")),
        ("", ()),
    ],
)
def test_the_parts_of_a_path_of_any_system(path: str, parts: tuple[str, ...]):
    assert path_parts(unicodedata.normalize("NFD", path)) == parts
