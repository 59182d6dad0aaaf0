"""Images whose structure is made to cost time, memory or pages of log."""

import io
import logging
import time
import zlib
from pathlib import Path

import hostile_images as made
import pytest
from hostile_images import IMAGES, chunk, png, read_all_ways, text_chunk
from PIL import Image, PngImagePlugin

from ti_core.host.images.image_files import read_pixels, read_small
from ti_core.host.images.thumbnails import sides_found, sides_of

SECONDS = 1.5  # of the processor for each way to read one; a busy machine counts more
LONGEST_LOG = 20_000  # characters
LARGE = (
    "noise",
    "100 MB",
    "pixels byte",
    "palettes",
    "65,5",
    "3 million",
    "runs",
    "scans",
)  # Made by scripts/attacks.py alone.
KEPT = (
    "600 scans.jpg",
    "600 hidden scans.jpg",
    "4 million runs of one.bmp",
    "3 million markers.jpg",
)
CHEAP = [name for name in IMAGES if name in KEPT or not any(word in name for word in LARGE)]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", CHEAP)
def test_an_image_costs_no_more_than_its_pixels_whatever_its_structure(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    build, is_read = IMAGES[name]
    path = tmp_path / name
    path.write_bytes(build())
    with caplog.at_level(logging.DEBUG):
        started = time.process_time()
        text, ways = read_all_ways(path)
        seconds = (time.process_time() - started) / ways
    assert (text == "read") == is_read, text
    assert "differs" not in text
    assert len(text) <= 500
    assert len(caplog.text) < LONGEST_LOG
    assert seconds < SECONDS


def noise(kind: str = "RGB") -> Image.Image:
    return Image.effect_noise((40, 24), 60).convert(kind)


TEXTS = {
    "packed text": text_chunk(b"zTXt", 2),
    "packed history": text_chunk(b"iTXt", 3),
    "a color profile": text_chunk(b"iCCP", 5),
    "plain text": chunk(b"tEXt", b"parameters\0" + b"a" * (3 << 20)),
    "a torn text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 9000)[:20]),
    "a text with another checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    "a profile that is none": chunk(b"iCCP", b"x"),
}


@pytest.mark.parametrize("before", [True, False], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_what_is_no_pixel_of_a_png_does_not_keep_it_from_being_read(
    tmp_path: Path, text: bytes, before: bool
):
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    file = io.BytesIO()
    noise().save(file, "PNG")
    plain = file.getvalue()
    at = plain.index(b"IDAT") - 4 if before else plain.index(b"IEND") - 4
    (tmp_path / "plain.png").write_bytes(plain)
    (tmp_path / "text.png").write_bytes(plain[:at] + text + plain[at:])
    wanted, found = (read_pixels(tmp_path / name) for name in ("plain.png", "text.png"))
    assert (found.image == wanted.image).all()
    assert (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY) == limits


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_megabytes_of_metadata_are_passed_over_in_every_format(tmp_path: Path, kind: str):
    image, profile = noise(), b"\0" * (200 << 10)
    more = {} if kind == "TIFF" else {"xmp": b"<x>" + b" " * 60_000}
    image.save(tmp_path / "plain", kind)
    image.save(tmp_path / "told", kind, icc_profile=profile, **more)
    wanted, found = (read_pixels(tmp_path / name) for name in ("plain", "told"))
    assert (found.image == wanted.image).all()
    assert found.notes == ("its color profile is not applied",)


def xmp(orientation: int) -> bytes:
    return b'<x tiff:Orientation="%d"/>' % orientation


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_image_is_turned_by_exif_or_else_by_xmp(tmp_path: Path, kind: str):
    exif = Image.Exif()
    exif[0x0112] = 6
    told = PngImagePlugin.PngInfo()
    told.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    by_xmp = {"pnginfo": told} if kind == "PNG" else {"xmp": xmp(6)}
    if kind == "TIFF":
        by_xmp = {"tiffinfo": {700: xmp(6)}}
    noise().save(tmp_path / "exif", kind, exif=exif.tobytes())
    noise().save(tmp_path / "xmp", kind, **by_xmp)
    for name in ("exif", "xmp"):
        assert read_pixels(tmp_path / name).image.shape == (40, 24, 3)


def test_pixels_in_a_chunk_of_another_checksum_are_refused(tmp_path: Path):
    data = png(8, 8, pieces=4)
    at = data.index(b"IDAT", data.index(b"IDAT") + 4)
    (tmp_path / "a.png").write_bytes(data[: at + 8] + b"\0\0\0\0" + data[at + 12 :])
    with pytest.raises(ValueError, match="a checksum of IDAT is wrong"):
        read_pixels(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1), (1, 1 << 26)])
def test_sides_are_limited_wherever_an_image_is_opened(tmp_path: Path, size: tuple[int, int]):
    path = tmp_path / "a.png"
    path.write_bytes(png(*size, bits=1, color=0))
    with pytest.raises(ValueError, match="each side must have 1 to 65536; crop it"):
        read_pixels(path)
    with pytest.raises(ValueError, match="each side must have"):
        read_small(path, 64)
    assert sides_of(path) is None


def test_the_sides_of_a_file_are_found_once_while_it_is_unchanged(tmp_path: Path):
    path = tmp_path / "a.png"
    noise().save(path)
    before = sides_found.cache_info().misses
    assert [sides_of(path) for _ in range(3)] == [(40, 24)] * 3
    assert sides_found.cache_info().misses == before + 1


def test_a_progressive_jpeg_with_a_film_behind_it_is_read(tmp_path: Path):
    """As phones write it: what looks like scans in the film is none."""
    data = made.saved("JPEG", 512, progressive=True)
    film = b"\xff\xda" * 100_000
    (tmp_path / "a.jpg").write_bytes(data + film)
    assert read_pixels(tmp_path / "a.jpg").image.shape == (512, 512, 3)


def test_a_jpeg_is_read_whose_segments_its_maker_left_between_scans(tmp_path: Path):
    data = made.saved("JPEG", 64, progressive=True)
    last = data.rindex(b"\xff\xda")
    told = data[:last] + made.marked(0xFE, b"\xff\xd9 a comment \xff\xda") + data[last:]
    (tmp_path / "plain.jpg").write_bytes(data)
    (tmp_path / "told.jpg").write_bytes(told)
    wanted, found = (read_pixels(tmp_path / name) for name in ("plain.jpg", "told.jpg"))
    assert (found.image == wanted.image).all()
