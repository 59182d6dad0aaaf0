"""Image files, read as a person sees them, and with suspicion."""

import math
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
from .ordinary_files import reason_of
from .parts.image_bytes import Facts
from .parts.image_stream import ImageStream, opened_image

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Color: TypeAlias = tuple[int, int, int]

MOST_PIXELS = 64 << 20  # 8192 x 8192
ENOUGH_PIXELS = 24 << 20  # larger images are shrunk: the largest crop has 4 million
SHRUNK_PIXELS = 7_000_000  # what they are shrunk to, at most
WHITE: Color = (255, 255, 255)
STRIP_PIXELS = 1 << 17  # converted at a time
MOST_MEMORY = 285_000_000  # bytes that reading an image may take, by what its header tells
# For each pixel: two canvases, a copy, the image; 17 with what is made of it.
HELD = {"WEBP": 14, "AVIF": 14}
LONGEST_REASON = 200  # characters
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, BITS_PER_SAMPLE = 278, 322, 323, 258  # TIFF's
TURNS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: partial(np.rot90, k=-1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


class Reading(NamedTuple):
    """An image `[h, w, 3]` and how opaque it is `[h, w]` (None: everywhere), as bytes from files
    and in 0..1 from the graph, what a person may want to know about its file, and the EXIF
    orientation by which it was turned (1: it was not).
    """

    image: Tensor
    opacity: Tensor | None
    notes: tuple[str, ...]
    orientation: int = 1


def read_pixels(path: Path, background: Color = WHITE) -> Reading:
    """Read an image file as a person sees it: turned by its EXIF entry, transparency over a
    color, the first frame of an animation; ValueError that names the file if it cannot be trusted
    or read.
    """
    try:
        with whole_files_only():
            return decoded(path, background)
    except Exception as error:  # Pillow's readers fail in every way on broken files.
        raise ValueError(
            f"The image {quoted(path.name)} cannot be read ({why_unreadable(error)}). Replace "
            f"it, or move it out of the folder."
        ) from error


def read_mask(path: Path) -> Tensor:
    """A mask file `[h, w]`, white = 1; where it has transparency, what is transparent counts 0."""
    return as_mask(read_pixels(path, (0, 0, 0)).image)


def as_mask(image: Tensor) -> Tensor:
    """The brightness `[h, w]` in 0..1 of an image `[h, w, 3]` of bytes."""
    mask = torch.empty(image.shape[:2])
    rows = strip_rows(image.shape[1])
    for part, strip in zip(mask.split(rows), image.split(rows), strict=True):
        part.copy_(in_floats(strip).mean(-1))
    return mask


def why_unreadable(error: BaseException) -> str:
    """What went wrong, without the path that Pillow writes into it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a supported format"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not isinstance(error, OSError | ValueError | SyntaxError):
        return f"it is damaged: {type(error).__name__}"
    if isinstance(error, OSError) and error.errno is not None:
        return reason_of(error)
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
    """An image file as a person sees it over white, at most `side` pixels wide and high."""
    with whole_files_only():
        with opened_image(path) as (opened, facts, stream):
            check_size(opened, facts, stream)
            opened.draft(opened.mode, (side, side))  # A JPEG is decoded at a part of its size.
            opened.load()
            stream.look_to_end()
            turn = TURNS.get(facts.orientation, np.asarray)
            small = Image.fromarray(np.ascontiguousarray(turn(pixels(opened, WHITE)[0])))
    small.thumbnail((side, side))
    return small


def decoded(path: Path, background: Color) -> Reading:
    """An image's first frame, upright and of bounded size, over a background."""
    with opened_image(path) as (opened, facts, stream):
        check_size(opened, facts, stream)
        whole = opened.size
        halved_while_decoding(opened)
        opened.load()
        stream.look_to_end()
        notes = notes_on(opened, facts)
        turn = TURNS.get(facts.orientation, np.asarray)
        colors, opacity = (turn(layer) for layer in pixels(opened, background))
    turned = facts.orientation if facts.orientation in TURNS else 1
    factor = round(max(whole) / max(colors.shape[:2]))
    if factor > 1:
        notes.append(f"{whole[0]} x {whole[1]}, shrunk to 1/{factor}")
    if opacity.min() == 255:
        return Reading(as_tensor(colors), None, tuple(notes), turned)
    notes.append("partly transparent")
    return Reading(as_tensor(colors), as_tensor(opacity), tuple(notes), turned)


def as_tensor(pixels: Array) -> Tensor:
    """Bytes as a tensor, in the order in which they are seen."""
    return torch.from_numpy(np.ascontiguousarray(pixels))


def check_size(opened: Image.Image, facts: Facts, stream: ImageStream) -> None:
    """Refuse to decode an image that is a decompression bomb."""
    width, height = opened.size
    most = MOST_PIXELS
    shrunk = 3 * width * height // shrinking(width, height) ** 2
    needed = decoder_memory(opened, facts, stream) + shrunk
    if needed > MOST_MEMORY:
        most = min(most, int(width * height * MOST_MEMORY / needed))
    if width * height > most:
        raise ValueError(
            f"it has {width} x {height} pixels, but at most {most >> 20} million are allowed in a "
            f"{opened.format} file of this kind; scale it down"
        )


def decoder_memory(opened: Image.Image, facts: Facts, stream: ImageStream) -> int:
    """Bytes that Pillow takes to decode an image, as far as its header tells: a JPEG of several
    scans keeps two for each sample, a TIFF the file and a strip or tile of it.
    """
    area = opened.width * opened.height
    own = area * pixel_bytes(opened.mode)
    if opened.format in HELD:
        return area * HELD[opened.format] + stream.known
    if opened.format == "TIFF":
        tags: Any = getattr(opened, "tag_v2", {})
        return own + stream.known + tiff_buffer(opened.size, tags)
    if opened.format == "JPEG":
        coefficients = 2 * len(opened.getbands()) * area if facts.gathered else 0
        return coefficients + (own if area <= ENOUGH_PIXELS else own // 4)
    return own


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


def notes_on(opened: Image.Image, facts: Facts) -> list[str]:
    """What a person may want to know about a file."""
    notes = []
    if facts.several:
        notes.append("the first of several frames")
    if opened.mode == "CMYK":
        notes.append("CMYK, converted without its profile")
    elif facts.profile:
        notes.append("its color profile is not applied")
    if opened.mode.startswith(("I", "F")):
        notes.append("16 bits or more, shown in 8")
    return notes


def halved_while_decoding(opened: Image.Image) -> None:
    """Let a JPEG that is too large be decoded at half its size; other formats cannot."""
    if opened.width * opened.height > ENOUGH_PIXELS:
        opened.draft(opened.mode, (opened.width // 2, opened.height // 2))


def pixels(image: Image.Image, background: Color) -> tuple[Array, Array]:
    """Colors `[h, w, 3]` over a background and opacity `[h, w]` of a decoded image, as bytes;
    converted and shrunk in strips, so that no second copy of it is made.
    """
    factor = shrinking(*image.size)
    width, height = -(-image.width // factor), -(-image.height // factor)
    colors = np.empty((height, width, 3), np.uint8)
    opacity = np.full((height, width), 255, np.uint8)
    scale = byte_scale(image)
    for top, strip in strips(image, factor):
        flat, opaque = over_background(in_eight_bits(strip, scale), background)
        rows = slice(top // factor, top // factor + -(-strip.height // factor))
        colors[rows] = np.asarray(flat.reduce(factor))
        opacity[rows] = np.asarray(opaque.reduce(factor))
    return colors, opacity


def shrinking(width: int, height: int) -> int:
    """By how much an image is shrunk, 1 for those of an ordinary size."""
    area = width * height
    return math.ceil(math.sqrt(area / SHRUNK_PIXELS)) if area > ENOUGH_PIXELS else 1


def strips(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Strips of an image with the row that they begin at, a multiple of `factor`."""
    rows = max(factor, strip_rows(image.width) // factor * factor)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        yield top, image.crop((0, top, image.width, bottom))


def strip_rows(width: int) -> int:
    """How many rows of an image are computed at a time."""
    return max(1, STRIP_PIXELS // width)


def byte_scale(image: Image.Image) -> float:
    """What the values of a deep image are multiplied with to become bytes, 1 for others."""
    if image.mode.startswith("I"):
        return 255.0 / 65535.0
    if image.mode != "F":
        return 1.0
    largest = (float(finite(strip).max(initial=0)) for _, strip in strips(image, 1))
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


def over_background(strip: Image.Image, background: Color) -> tuple[Image.Image, Image.Image]:
    """Colors over a background, and opacity."""
    if not strip.has_transparency_data:
        return strip.convert("RGB"), Image.new("L", strip.size, 255)
    layers = strip.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layers.size, background), layers)
    return flat.convert("RGB"), layers.getchannel("A")
