"""Image files of every kind, sound and broken: each has a clear verdict."""

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from ti_core.concept.pixels import in_floats
from ti_core.host.images import image_files as image_files_module
from ti_core.host.images.folder_files import files_in
from ti_core.host.images.image_files import MOST_PIXELS, read_mask, read_pixels

SIZE = (40, 24)
Bytes = Callable[[], bytes]


def gradient(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Red from left to right."""
    width, height = size
    red = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, 0)
    rgb = np.stack((red, np.full_like(red, 60), np.full_like(red, 60)), -1)
    return Image.fromarray(rgb).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def deep(values: np.ndarray, kind: str) -> bytes:
    return saved(Image.fromarray(values), kind)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, kind: int = 2) -> bytes:
    """A PNG of given dimensions around given chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [gradient(), gradient().rotate(180), gradient()]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def flat(size: tuple[int, int]) -> bytes:
    return saved(Image.new("RGB", size, "red"), "PNG", compress_level=9)


def cmyk() -> bytes:
    return saved(gradient("CMYK"), "JPEG", quality=95)


def transparent() -> Image.Image:
    image = gradient("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    return image


def turned(orientation: int) -> bytes:
    return saved(gradient(), "JPEG", exif=exif(orientation))


def palette_with_hole() -> bytes:
    return saved(gradient().quantize(8), "PNG", transparency=0)


WIDE = np.linspace(0, 65535, SIZE[0]).astype(np.uint16)[None].repeat(SIZE[1], 0)
FLOAT = np.linspace(0, 1, SIZE[0]).astype(np.float32)[None].repeat(SIZE[1], 0)
PROFILE = b"\0" * 128 + b"not a real profile"

# name, contents, what a note says
SOUND: list[tuple[str, Bytes, str]] = [
    ("rgb.png", lambda: saved(gradient(), "PNG"), ""),
    ("gray.png", lambda: saved(gradient("L"), "PNG"), ""),
    ("gray with alpha.png", lambda: saved(gradient("LA"), "PNG"), ""),
    ("palette.png", lambda: saved(gradient("P"), "PNG"), ""),
    ("palette with a hole.png", palette_with_hole, "partly transparent"),
    ("one bit.png", lambda: saved(gradient("1"), "PNG"), ""),
    ("opaque rgba.png", lambda: saved(gradient("RGBA"), "PNG"), ""),
    ("transparent.png", lambda: saved(transparent(), "PNG"), "partly transparent"),
    ("16 bits.png", lambda: deep(WIDE, "PNG"), "16 bits"),
    ("interlaced.png", lambda: saved(gradient(), "PNG", optimize=True), ""),
    ("turned.png", lambda: saved(gradient(), "PNG", exif=exif(6)), ""),
    ("profile.png", lambda: saved(gradient(), "PNG", icc_profile=PROFILE), "color profile"),
    ("animated.png", lambda: animated("PNG"), "first of several frames"),
    ("baseline.jpg", lambda: saved(gradient(), "JPEG", quality=95), ""),
    ("progressive.jpeg", lambda: saved(gradient(), "JPEG", progressive=True), ""),
    ("gray.jpg", lambda: saved(gradient("L"), "JPEG"), ""),
    ("cmyk.jpg", cmyk, "CMYK"),
    ("profile.jpg", lambda: saved(gradient(), "JPEG", icc_profile=PROFILE), "color profile"),
    *((f"turned {n}.jpg", partial(turned, n), "") for n in range(1, 10)),
    ("UPPER.JPG", lambda: saved(gradient(), "JPEG"), ""),
    ("plain.webp", lambda: saved(gradient(), "WEBP"), ""),
    ("transparent.webp", lambda: saved(transparent(), "WEBP", lossless=True), "transparent"),
    ("animated.webp", lambda: animated("WEBP"), "first of several frames"),
    ("plain.bmp", lambda: saved(gradient(), "BMP"), ""),
    ("plain.gif", lambda: saved(gradient(), "GIF"), ""),
    ("animated.gif", lambda: animated("GIF"), "first of several frames"),
    ("plain.tif", lambda: saved(gradient(), "TIFF"), ""),
    ("compressed.tiff", lambda: saved(gradient(), "TIFF", compression="tiff_lzw"), ""),
    ("several pages.tif", lambda: animated("TIFF"), "first of several frames"),
    ("16 bits.tif", lambda: deep(WIDE, "TIFF"), "16 bits"),
    ("float.tif", lambda: deep(FLOAT, "TIFF"), "16 bits or more"),
    ("lab.tif", lambda: saved(gradient("LAB"), "TIFF"), "color profile"),
    ("cmyk.tif", lambda: saved(gradient("CMYK"), "TIFF"), "CMYK"),
    ("png in disguise.jpg", lambda: saved(gradient(), "PNG"), ""),
    ("ünïcode 猫.png", lambda: saved(gradient(), "PNG"), ""),
]


def torn(kind: str, part: float) -> bytes:
    whole = saved(gradient(size=(200, 200)), kind)
    return whole[: int(len(whole) * part)]


def flipped_bits() -> bytes:
    whole = bytearray(saved(gradient(size=(200, 200)), "PNG"))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


def pixel_bomb() -> bytes:
    """Ten thousand times ten thousand pixels in 100 kB."""
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100_000_000, 9))
    return png(10_000, 10_000, data, bits=1, kind=0)


BROKEN: list[tuple[str, Bytes, str]] = [
    ("empty.png", lambda: b"", "not an image in a supported"),
    ("text.png", lambda: b"this is no image", "not an image in a supported"),
    ("zeros.jpg", lambda: b"\0" * 5000, "not an image in a supported"),
    ("head only.png", lambda: b"\x89PNG\r\n\x1a\n", "cannot be read"),
    ("no data.png", lambda: png(64, 64), "cannot be read"),
    ("no width.png", lambda: png(0, 64, chunk(b"IDAT", b"")), "cannot be read"),
    ("torn in half.png", lambda: torn("PNG", 0.5), "cannot be read"),
    ("torn in half.jpg", lambda: torn("JPEG", 0.5), "cannot be read"),
    ("torn in half.webp", lambda: torn("WEBP", 0.5), "cannot be read"),
    ("torn in half.gif", lambda: torn("GIF", 0.5), "cannot be read"),
    ("torn in half.bmp", lambda: torn("BMP", 0.5), "cannot be read"),
    ("torn in half.tif", lambda: torn("TIFF", 0.5), "cannot be read"),
    ("torn at the end.jpg", lambda: torn("JPEG", 0.97), "cannot be read"),
    ("flipped bits.png", flipped_bits, "cannot be read"),
    ("pixel bomb.png", pixel_bomb, "10000 x 10000 pixels"),
    ("claims a gigapixel.png", lambda: png(40_000, 40_000), "cannot be read"),
    ("claims too much.png", lambda: png(2**31 - 1, 2**31 - 1), "cannot be read"),
    (
        "postscript.png",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "not an image",
    ),
    ("svg.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ("archive.gif", lambda: b"PK\x03\x04" + b"\0" * 100, "not an image"),
    ("script.bmp", lambda: b"#!/bin/sh\necho hello\n", "not an image"),
]
LARGE: list[tuple[str, Bytes, str]] = [
    ("24 megapixels.png", lambda: flat((6000, 4000)), ""),
    ("60 megapixels.png", lambda: flat((10_000, 6000)), "shrunk to 1/3"),
    ("a long line.png", lambda: flat((60_000, 64)), ""),
]


def names(files: list[tuple[str, Bytes, str]]) -> list[str]:
    """What the tests of some files are called."""
    return [name for name, *_ in files]


def measured(path: Path) -> tuple[Any, float]:
    """A reading (or its error), and the seconds of computing that it took."""
    started = time.process_time()
    try:
        found: Any = read_pixels(path)
    except ValueError as error:
        found = error
    return found, time.process_time() - started


def write(folder: Path, name: str, contents: Bytes) -> Path:
    path = folder / name
    path.write_bytes(contents())
    return path


def test_there_are_sixty_files():
    assert len(SOUND) + len(BROKEN) + len(LARGE) >= 60


@pytest.mark.parametrize(("name", "contents", "note"), SOUND, ids=names(SOUND))
def test_sound_images_are_read_and_what_is_special_is_said(
    tmp_path: Path, name: str, contents: Bytes, note: str
):
    found, seconds = measured(write(tmp_path, name, contents))
    assert not isinstance(found, Exception), found
    lying = name.startswith("turned ") and name[7] in "5678" or name == "turned.png"
    assert found.image.shape == ((40, 24, 3) if lying else (24, 40, 3))
    assert found.image.dtype == torch.uint8
    assert note in ", ".join(found.notes)
    assert bool(found.notes) == bool(note)
    assert (found.opacity is not None) == ("transparent" in note)
    assert seconds < 2


def at_once(path: Path) -> np.ndarray:
    """An ordinary image as Pillow converts it whole, over white."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float32)
        largest = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max()))
        image = Image.fromarray((values * (255.0 / largest)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("name", "contents", "note"), SOUND, ids=names(SOUND))
def test_reading_in_strips_gives_the_bytes_of_reading_at_once(
    tmp_path: Path, name: str, contents: Bytes, note: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(image_files_module, "STRIP_PIXELS", 3 * SIZE[0])
    path = write(tmp_path, name, contents)
    assert (read_pixels(path).image.numpy() == at_once(path)).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("name", "contents", "says"), BROKEN, ids=names(BROKEN))
def test_broken_images_are_named_with_the_reason(
    tmp_path: Path, name: str, contents: Bytes, says: str
):
    path = write(tmp_path, name, contents)
    found, seconds = measured(path)
    assert isinstance(found, ValueError)
    assert str(found).startswith(f"The image {name!r} cannot be read (")
    assert says in str(found)
    assert str(tmp_path) not in str(found)
    assert seconds < 2


@pytest.mark.parametrize(("name", "contents", "note"), LARGE, ids=names(LARGE))
def test_large_images_are_read_in_bounded_time_and_memory(
    tmp_path: Path, name: str, contents: Bytes, note: str
):
    found, seconds = measured(write(tmp_path, name, contents))
    assert note in ", ".join(found.notes)
    assert found.image.numel() < 80 << 20
    assert seconds < 2


def plain(kind: str, mode: str = "RGB", side: int = 8192, **options: Any) -> bytes:
    """An image of one color, by default with as many pixels as are allowed."""
    return saved(Image.new(mode, (side, side), 1), kind, **options)


def progressive() -> bytes:
    return plain("JPEG", side=6200, progressive=True, subsampling=0)


AT_THE_LIMIT: dict[str, Bytes] = {
    "rgba.png": lambda: plain("PNG", "RGBA", compress_level=1),
    "one bit.png": lambda: plain("PNG", "1"),
    "baseline.jpg": lambda: plain("JPEG"),
    "progressive.jpg": progressive,
    "web.webp": lambda: plain("WEBP", side=4000, method=0),
    "unshrunk.png": lambda: saved(Image.new("RGBA", (6000, 4000), 1), "PNG", compress_level=1),
}
PEAKS = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import ImageRecipe, SourceImage, concept_of
from ti_core.concept.caption_settings import CaptionSettings
from ti_core.host.images.image_files import read_pixels

def cropped(path):
    source = SourceImage(path.name, read_pixels(path).image)
    concept_of([source], ImageRecipe("object", CaptionSettings(), FitSettings()))

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
first, *files = sorted(Path(sys.argv[1]).iterdir())
cropped(first)
for path in files:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, path
        continue
    before = peak()
    cropped(path)
    print(f"{(peak() - before) // 1_000_000} {path.name}", flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, and Linux's unit of ru_maxrss")
def test_an_image_at_the_size_limit_takes_at_most_300_megabytes(tmp_path: Path):
    """From the file to a crop: peak memory of a process for each above what it has before."""
    write(tmp_path, "0.png", lambda: saved(gradient(), "PNG"))
    for name, contents in AT_THE_LIMIT.items():
        write(tmp_path, name, contents)
    root = str(Path(__file__).parents[3])
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # Threads do not outlive a fork.
    command = [sys.executable, "-c", PEAKS, str(tmp_path), root]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
    peaks = dict(line.split(" ", 1)[::-1] for line in done.stdout.splitlines())
    assert peaks.keys() == AT_THE_LIMIT.keys()
    assert {name: peak for name, peak in peaks.items() if int(peak) > 300} == {}


def test_what_a_decoder_would_need_more_memory_for_is_refused(tmp_path: Path):
    path = write(
        tmp_path, "a.webp", lambda: saved(Image.new("RGB", (5000, 4000)), "WEBP", method=0)
    )
    with pytest.raises(ValueError, match="at most 15 million are allowed in a WEBP file"):
        read_pixels(path)


def test_a_truncated_file_is_an_error_even_where_another_pack_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = write(tmp_path, "torn.jpg", lambda: torn("JPEG", 0.5))
    with pytest.raises(ValueError, match="cannot be read"):
        read_pixels(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_images_are_turned_as_their_exif_entry_says(tmp_path: Path):
    path = write(tmp_path, "a.png", lambda: saved(gradient(), "PNG", exif=exif(8)))
    image = read_pixels(path).image
    assert image[0, 0, 0] > 230
    assert image[-1, 0, 0] < 25


def test_deep_images_keep_their_range(tmp_path: Path):
    for values, kind in ((WIDE, "PNG"), (FLOAT, "TIFF")):
        path = write(tmp_path, f"a.{kind[:3]}", partial(deep, values, kind))
        image = in_floats(read_pixels(path).image)
        assert image[0, :, 0].tolist() == pytest.approx(FLOAT[0].tolist(), abs=0.01)


def test_transparency_lies_over_the_chosen_color_and_can_be_a_mask(tmp_path: Path):
    path = write(tmp_path, "a.png", lambda: saved(transparent(), "PNG"))
    over_white, over_black = read_pixels(path), read_pixels(path, (0, 0, 0))
    assert over_white.image[0, 0].min() > 242
    assert over_black.image[0, 0].max() < 13
    assert over_white.opacity is not None
    assert over_white.opacity[0].max() < 13
    assert over_white.opacity[-1].min() > 242


def test_a_palette_keeps_its_colors(tmp_path: Path):
    palette = read_pixels(write(tmp_path, "a.png", lambda: saved(gradient("P"), "PNG"))).image
    plain = read_pixels(write(tmp_path, "b.png", SOUND[0][1])).image
    assert (in_floats(palette) - in_floats(plain)).abs().max() < 0.2


def test_masks_are_white_where_they_count(tmp_path: Path):
    half = Image.new("L", SIZE, 0)
    half.paste(255, (0, 0, 20, 24))
    mask = read_mask(write(tmp_path, "m.png", lambda: saved(half, "PNG")))
    assert mask.shape == (24, 40)
    assert mask[:, :20].min() == 1
    assert mask[:, 20:].max() == 0


def test_files_come_in_natural_order_and_masks_are_no_images(tmp_path: Path):
    for name in ("10.png", "2.png", "b/1.png", "2_mask.png", "face_mask.png", "2-masklabel.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    names = [path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path, True).images]
    assert names == ["2.png", "10.png", "b/1.png", "face_mask.png"]
    assert len(files_in(tmp_path, False).images) == 3


def test_the_limit_is_above_what_cameras_make():
    assert MOST_PIXELS > 8688 * 5792
