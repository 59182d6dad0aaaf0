"""Picture files, read as a person sees them, and with suspicion."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# What the suffixes stand for; other readers of Pillow (PostScript, PDF, ...) are not asked.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MASK_STEM = re.compile(r"(.+?)(?:_mask|-masklabel)", re.IGNORECASE)
MOST_PIXELS = 64 << 20  # 8192 x 8192
ENOUGH_PIXELS = 24 << 20  # more is shrunk: the largest crop has 4 million
LARGEST_FILE = 512 << 20  # bytes


class Reading(NamedTuple):
    """A picture `[h, w, 3]` in 0..1, how opaque it is `[h, w]` (None: everywhere), and what a
    person may want to know about its file.
    """

    picture: Tensor
    opacity: Tensor | None
    notes: tuple[str, ...]


def picture_files(folder: Path, deep: bool = False) -> list[Path]:
    """The picture files of a folder, with `deep` of its sub-folders too, in natural order (2 before
    10); masks (`name_mask.png`) are not pictures.
    """
    found = folder.rglob("*") if deep else folder.iterdir()
    pictures = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    stems = {(path.parent, path.stem) for path in pictures}
    return sorted(
        (path for path in pictures if not is_mask(path, stems)),
        key=lambda path: [natural(part) for part in path.relative_to(folder).parts],
    )


def is_mask(path: Path, stems: set[tuple[Path, str]]) -> bool:
    """Whether a file is the mask of a picture that lies beside it."""
    match = MASK_STEM.fullmatch(path.stem)
    return bool(match) and (path.parent, match[1]) in stems


def mask_file(picture: Path) -> Path | None:
    """The mask beside a picture: `name_mask.png`, or OneTrainer's `name-masklabel.png`."""
    for mark in ("_mask", "-masklabel"):
        for suffix in SUFFIXES:
            path = picture.with_name(f"{picture.stem}{mark}{suffix}")
            if path.is_file():
                return path
    return None


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(part.isdecimal(), int(part[:18]) if part.isdecimal() else 0, part) for part in parts]


def read_pixels(path: Path, background: tuple[int, int, int] = (255, 255, 255)) -> Reading:
    """Read a picture file as a person sees it: turned by its EXIF entry, transparency over a
    colour, the first frame of an animation; ValueError that names the file if it cannot be trusted
    or read.
    """
    try:
        with whole_files_only():
            picture, notes = upright(path)
            return over_background(picture, background, notes)
    except Exception as error:  # Pillow's readers fail in every way on broken files.
        raise ValueError(
            f"The picture {path.name!r} cannot be read ({why_unreadable(error)}). Replace it, or "
            f"move it out of the folder."
        ) from error


def read_mask(path: Path) -> Tensor:
    """A mask file `[h, w]`, white = 1; where it has transparency, what is transparent counts 0."""
    return read_pixels(path, (0, 0, 0)).picture.mean(-1)


def why_unreadable(error: BaseException) -> str:
    """What went wrong, without the path that Pillow writes into it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture in a supported format"
    return str(error) or type(error).__name__


@contextmanager
def whole_files_only() -> Iterator[None]:
    """Make a truncated file an error; other packs switch that check off for the whole process."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def upright(path: Path) -> tuple[Image.Image, list[str]]:
    """A picture's first frame, upright, of bounded size, with notes."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    with Image.open(path, formats=FORMATS) as opened:
        check_size(opened)
        opened.verify()
    with Image.open(path, formats=FORMATS) as opened:
        notes = notes_on(opened)
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    factor = math.ceil(math.sqrt(picture.width * picture.height / ENOUGH_PIXELS))
    if factor > 1:
        notes.append(f"{picture.width} x {picture.height}, shrunk to 1/{factor}")
        picture = in_bytes(picture).reduce(factor)
    return in_bytes(picture), notes


def check_size(opened: Image.Image) -> None:
    """Refuse to decode a picture that is a decompression bomb, or no picture at all."""
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it has {width} x {height} pixels, but at most {MOST_PIXELS >> 20} million are "
            f"allowed; scale it down"
        )
    if min(width, height) < 1:
        raise ValueError(f"{width} x {height} pixels")


def notes_on(opened: Image.Image) -> list[str]:
    """What a person may want to know about a file."""
    notes = []
    if getattr(opened, "is_animated", False) and opened.format != "MPO":
        notes.append("the first of several frames")
    if opened.mode == "CMYK":
        notes.append("CMYK, converted without its profile")
    elif opened.info.get("icc_profile"):
        notes.append("its colour profile is not applied")
    if opened.mode.startswith(("I", "F")):
        notes.append("16 bits or more, shown in 8")
    return notes


def in_bytes(picture: Image.Image) -> Image.Image:
    """A picture with 8 bits a channel; Pillow's own conversion would clip more bits to white."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    largest = 65535.0 if picture.mode.startswith("I") else max(1.0, float(values.max(initial=0)))
    return Image.fromarray((values * (255.0 / largest)).clip(0, 255).astype(np.uint8))


def over_background(
    picture: Image.Image, background: tuple[int, int, int], notes: list[str]
) -> Reading:
    """Colours over a background, and opacity."""
    if not picture.has_transparency_data:
        return Reading(as_tensor(picture.convert("RGB")), None, tuple(notes))
    layers = picture.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layers.size, background), layers)
    opacity = as_tensor(layers.getchannel("A"))
    if bool((opacity == 1).all()):
        return Reading(as_tensor(flat.convert("RGB")), None, tuple(notes))
    return Reading(as_tensor(flat.convert("RGB")), opacity, (*notes, "partly transparent"))


def as_tensor(picture: Image.Image) -> Tensor:
    """Pixels in 0..1."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / np.float32(255.0))
