"""Picture files, read as a person sees them, and with suspicion."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from ...concept.pixels import in_floats
from ...quoted import quoted
from .ordinary_files import is_file

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Colour: TypeAlias = tuple[int, int, int]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# What the suffixes stand for; other readers of Pillow (PostScript, PDF, ...) are not asked.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MASK_STEM = re.compile(r"(.+?)(?:_mask|-masklabel)", re.IGNORECASE)
MOST_PIXELS = 64 << 20  # 8192 x 8192
ENOUGH_PIXELS = 24 << 20  # larger pictures are shrunk: the largest crop has 4 million
SHRUNK_PIXELS = 7_000_000  # what they are shrunk to, at most
WHITE: Colour = (255, 255, 255)
STRIP_PIXELS = 1 << 17  # converted at a time
MOST_MEMORY = 285_000_000  # bytes that reading a picture may take, by what its header tells
WEBP_BYTES = 14  # for each pixel: two canvases, a copy, the picture; 17 with what is made of it
LARGEST_FILE = 512 << 20  # bytes
LONGEST_REASON = 200  # characters
ORIENTATION = 0x0112  # EXIF's
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, BITS_PER_SAMPLE = 278, 322, 323, 258  # TIFF's
TURNS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda picture: picture.swapaxes(0, 1),
    6: partial(np.rot90, k=-1),
    7: lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
    8: np.rot90,
}


class Reading(NamedTuple):
    """A picture `[h, w, 3]` and how opaque it is `[h, w]` (None: everywhere), as bytes from files
    and in 0..1 from the graph, and what a person may want to know about its file.
    """

    picture: Tensor
    opacity: Tensor | None
    notes: tuple[str, ...]


def picture_files(folder: Path, deep: bool = False) -> list[Path]:
    """The picture files of a folder, with `deep` of its sub-folders too, in natural order (2 before
    10); masks (`name_mask.png`) are not pictures.
    """
    found = folder.rglob("*") if deep else folder.iterdir()
    pictures = [path for path in found if path.suffix.lower() in SUFFIXES and is_file(path)]
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
            if is_file(path):
                return path
    return None


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(part.isdecimal(), int(part[:18]) if part.isdecimal() else 0, part) for part in parts]


def read_pixels(path: Path, background: Colour = WHITE) -> Reading:
    """Read a picture file as a person sees it: turned by its EXIF entry, transparency over a
    colour, the first frame of an animation; ValueError that names the file if it cannot be trusted
    or read.
    """
    try:
        with whole_files_only():
            return decoded(path, background)
    except Exception as error:  # Pillow's readers fail in every way on broken files.
        raise ValueError(
            f"The picture {quoted(path.name)} cannot be read ({why_unreadable(error)}). Replace "
            f"it, or move it out of the folder."
        ) from error


def read_mask(path: Path) -> Tensor:
    """A mask file `[h, w]`, white = 1; where it has transparency, what is transparent counts 0."""
    picture = read_pixels(path, (0, 0, 0)).picture
    mask = torch.empty(picture.shape[:2])
    rows = strip_rows(picture.shape[1])
    for part, strip in zip(mask.split(rows), picture.split(rows), strict=True):
        part.copy_(in_floats(strip).mean(-1))
    return mask


def why_unreadable(error: BaseException) -> str:
    """What went wrong, without the path that Pillow writes into it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture in a supported format"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not isinstance(error, OSError | ValueError | SyntaxError):
        return f"it is damaged: {type(error).__name__}"
    return str(error)[:LONGEST_REASON] or type(error).__name__


@contextmanager
def whole_files_only() -> Iterator[None]:
    """Make a truncated file an error; other packs switch that check off for the whole process."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def read_small(path: Path, side: int) -> Image.Image:
    """A picture file as a person sees it over white, at most `side` pixels wide and high."""
    with whole_files_only():
        check_file(path)
        with Image.open(path, formats=FORMATS) as opened:
            opened.draft(opened.mode, (side, side))  # A JPEG is decoded at a part of its size.
            opened.load()
            turn = TURNS.get(opened.getexif().get(ORIENTATION, 1), np.asarray)
            small = Image.fromarray(np.ascontiguousarray(turn(pixels(opened, WHITE)[0])))
    small.thumbnail((side, side))
    return small


def check_file(path: Path) -> None:
    """Refuse what is no picture file, or cannot be decoded in bounded memory."""
    if not is_file(path):
        raise ValueError("it is no ordinary file")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    with Image.open(path, formats=FORMATS) as opened:
        check_size(opened, size)
        opened.verify()


def decoded(path: Path, background: Colour) -> Reading:
    """A picture's first frame, upright and of bounded size, over a background."""
    check_file(path)
    with Image.open(path, formats=FORMATS) as opened:
        notes = notes_on(opened)
        whole = opened.size
        halved_while_decoding(opened)
        opened.load()
        turn = TURNS.get(opened.getexif().get(ORIENTATION, 1), np.asarray)
        colours, opacity = (turn(layer) for layer in pixels(opened, background))
    factor = round(max(whole) / max(colours.shape[:2]))
    if factor > 1:
        notes.append(f"{whole[0]} x {whole[1]}, shrunk to 1/{factor}")
    if opacity.min() == 255:
        return Reading(as_tensor(colours), None, tuple(notes))
    return Reading(as_tensor(colours), as_tensor(opacity), (*notes, "partly transparent"))


def as_tensor(pixels: Array) -> Tensor:
    """Bytes as a tensor, in the order in which they are seen."""
    return torch.from_numpy(np.ascontiguousarray(pixels))


def check_size(opened: Image.Image, file_size: int) -> None:
    """Refuse to decode a picture that is a decompression bomb, or no picture at all."""
    width, height = opened.size
    if min(width, height) < 1:
        raise ValueError(f"{width} x {height} pixels")
    most = MOST_PIXELS
    needed = decoder_memory(opened, file_size) + 3 * width * height // shrinking(width, height) ** 2
    if needed > MOST_MEMORY:
        most = min(most, int(width * height * MOST_MEMORY / needed))
    if width * height > most:
        raise ValueError(
            f"it has {width} x {height} pixels, but at most {most >> 20} million are allowed in a "
            f"{opened.format} file of this kind; scale it down"
        )


def decoder_memory(opened: Image.Image, file_size: int) -> int:
    """Bytes that Pillow takes to decode a picture, as far as its header tells: progressive JPEG
    keeps two for each sample, a compressed TIFF the file and a strip or tile of it.
    """
    area = opened.width * opened.height
    own = area * pixel_bytes(opened.mode)
    tags: Any = getattr(opened, "tag_v2", {})
    if opened.format == "WEBP":
        return area * WEBP_BYTES
    if opened.format == "TIFF":
        turned = tags.get(ORIENTATION, 1) != 1  # Pillow turns a copy.
        return own * (1 + turned) + file_size + tiff_buffer(opened.size, tags)
    if opened.format in ("JPEG", "MPO"):
        coefficients = 2 * len(opened.getbands()) * area if opened.info.get("progressive") else 0
        return coefficients + (own if area <= ENOUGH_PIXELS else own // 4)
    return own * 3 if getattr(opened, "is_animated", False) else own


def pixel_bytes(mode: str) -> int:
    """Bytes in which Pillow keeps a pixel."""
    return {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}.get(mode, 4)


def tiff_buffer(size: tuple[int, int], tags: Mapping[int, Any]) -> int:
    """Bytes of the largest strip or tile of a TIFF with such tags."""
    bits = tags.get(BITS_PER_SAMPLE, (1,))
    if TILE_WIDTH in tags:
        area = int(tags[TILE_WIDTH]) * int(tags.get(TILE_LENGTH, 0))
    else:
        area = size[0] * min(int(tags.get(ROWS_PER_STRIP, size[1])), size[1])
    return area * sum(bits) // 8


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


def halved_while_decoding(opened: Image.Image) -> None:
    """Let a JPEG that is too large be decoded at half its size; other formats cannot."""
    if opened.width * opened.height > ENOUGH_PIXELS:
        opened.draft(opened.mode, (opened.width // 2, opened.height // 2))


def pixels(picture: Image.Image, background: Colour) -> tuple[Array, Array]:
    """Colours `[h, w, 3]` over a background and opacity `[h, w]` of a decoded picture, as bytes;
    converted and shrunk in strips, so that no second copy of it is made.
    """
    factor = shrinking(*picture.size)
    width, height = -(-picture.width // factor), -(-picture.height // factor)
    colours = np.empty((height, width, 3), np.uint8)
    opacity = np.full((height, width), 255, np.uint8)
    scale = byte_scale(picture)
    for top, strip in strips(picture, factor):
        flat, opaque = over_background(in_eight_bits(strip, scale), background)
        rows = slice(top // factor, top // factor + -(-strip.height // factor))
        colours[rows] = np.asarray(flat.reduce(factor))
        opacity[rows] = np.asarray(opaque.reduce(factor))
    return colours, opacity


def shrinking(width: int, height: int) -> int:
    """By how much a picture is shrunk, 1 for those of an ordinary size."""
    area = width * height
    return math.ceil(math.sqrt(area / SHRUNK_PIXELS)) if area > ENOUGH_PIXELS else 1


def strips(picture: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Strips of a picture with the row that they begin at, a multiple of `factor`."""
    rows = max(factor, strip_rows(picture.width) // factor * factor)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def strip_rows(width: int) -> int:
    """How many rows of a picture are computed at a time."""
    return max(1, STRIP_PIXELS // width)


def byte_scale(picture: Image.Image) -> float:
    """What the values of a deep picture are multiplied with to become bytes, 1 for others."""
    if picture.mode.startswith("I"):
        return 255.0 / 65535.0
    if picture.mode != "F":
        return 1.0
    largest = (float(finite(strip).max(initial=0)) for _, strip in strips(picture, 1))
    return 255.0 / max(1.0, *largest)


def in_eight_bits(strip: Image.Image, scale: float) -> Image.Image:
    """A strip with 8 bits a channel; Pillow's own conversion would clip more bits to white."""
    if not strip.mode.startswith(("I", "F")):
        return strip
    return Image.fromarray((finite(strip) * scale).clip(0, 255).astype(np.uint8))


def finite(strip: Image.Image) -> Array:
    """Values of a deep strip, 0 for those that are none."""
    values = np.asarray(strip, dtype=np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def over_background(strip: Image.Image, background: Colour) -> tuple[Image.Image, Image.Image]:
    """Colours over a background, and opacity."""
    if not strip.has_transparency_data:
        return strip.convert("RGB"), Image.new("L", strip.size, 255)
    layers = strip.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layers.size, background), layers)
    return flat.convert("RGB"), layers.getchannel("A")
