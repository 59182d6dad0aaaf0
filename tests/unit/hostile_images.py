"""Image files whose structure is made to cost time, memory or pages of log: chunks, markers,
scans, runs, strips, tags, frames and sides. `cases` is for a command that reads each in a process
with limits.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDE = 64


class Case(NamedTuple):
    """A hostile image: its name, what builds it, and whether it is read all the same."""

    name: str
    build: Callable[[], bytes]
    read: bool


def cases() -> Iterator[Case]:
    """All cases."""
    for name, (build, read) in IMAGES.items():
        yield Case(name, build, read)


def saved(kind: str, side: int = SIDE, mode: str = "RGB", **options: Any) -> bytes:
    """A good image."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 60).convert(mode).save(file, kind, **options)
    return file.getvalue()


def plain(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    """An image of one color."""
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, kind, **options)
    return file.getvalue()


# PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(
    width: int, height: int, *before: bytes, bits: int = 8, color: int = 2, after: bytes = b"",
    interlaced: int = 0, pieces: int = 0,
) -> bytes:  # fmt: skip
    """A black PNG with chunks before and behind its pixels, these cut into `pieces` bytes each."""
    header = struct.pack(">LLBBBBB", width, height, bits, color, 0, 0, interlaced)
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[color]
    row = 1 + (width * bits * channels + 7) // 8
    packer = zlib.compressobj(9)
    rows = 2 * height if interlaced else height  # Each pass has its own.
    data = b"".join(packer.compress(bytes(row * min(4096, rows - at)))
                    for at in range(0, rows, 4096)) + packer.flush()  # fmt: skip
    step = pieces or len(data)
    pixels = b"".join(chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step))
    parts = (chunk(b"IHDR", header), *before, pixels, after, chunk(b"IEND", b""))
    return SIGNATURE + b"".join(parts)


def text_chunk(kind: bytes, megabytes: int) -> bytes:
    """Compressed text, or a profile, of so many megabytes."""
    packed = zlib.compress(b"a " * (megabytes << 19), 9)
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"history\0\1\0\0\0", b"iCCP": b"profile\0\0"}
    return chunk(kind, head[kind] + packed)


def exif_of(tags: int, kind: int = 2) -> bytes:
    """EXIF of many tags, each with more values than it should have."""
    entries = b"".join(struct.pack("<HHLL", n % 65000, 3, 2, 8) for n in range(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", min(tags, 65535)) + entries + bytes(4)


# JPEG


def segments(data: bytes) -> tuple[bytes, bytes, bytes]:
    """A JPEG's beginning, what stands before its first scan, and the rest."""
    scan = data.index(b"\xff\xda")
    return data[:2], data[2:scan], data[scan:]


def marked(marker: int, contents: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(contents) + 2) + contents


def with_segments(extra: bytes, kind: str = "JPEG", **options: Any) -> bytes:
    """A JPEG with more segments in front."""
    start, tables, rest = segments(saved(kind, **options))
    return start + extra + tables + rest


def with_scans(times: int, side: int, mode: str = "L", **options: Any) -> bytes:
    """A JPEG whose last scan is repeated."""
    data = plain("JPEG", (side, side), mode, **options)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    return data[:-2] + scan * times + b"\xff\xd9"


def hidden_scans(times: int, side: int) -> bytes:
    """The same, behind a comment that holds an end marker."""
    data = plain("JPEG", (side, side), "L", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + marked(0xFE, b"\xff\xd9") + data[last:-2] * times + b"\xff\xd9"


def arithmetic(side: int) -> bytes:
    """A JPEG that says that it is packed with arithmetic code, of which nothing is there."""
    start, tables, rest = segments(plain("JPEG", (side, side), progressive=True))
    return start + tables.replace(b"\xff\xc2", b"\xff\xca") + rest


def exif_segments(tags: int) -> bytes:
    """EXIF that is spread over several segments, as decoders put it together."""
    data = exif_of(tags)
    return b"".join(
        marked(0xE1, b"Exif\0\0" + data[at : at + 60_000]) for at in range(0, len(data), 60_000)
    )


# BMP, GIF, WebP, TIFF


def bmp(size: tuple[int, int], packed: bytes, how: int = 1) -> bytes:
    """A packed BMP."""
    bits = {1: 8, 2: 4}[how]
    header = struct.pack("<LllHHLLllLL", 40, *size, 1, bits, how, len(packed), 0, 0, 1 << bits, 0)
    colors = bytes(4 << bits)
    start = 14 + len(header) + len(colors)
    return struct.pack("<2sLLL", b"BM", start + len(packed), 0, start) + header + colors + packed


def gif(
    size: tuple[int, int], frame: tuple[int, int], before: bytes = b"", behind: bytes = b""
) -> bytes:
    """A GIF with a small first frame on a large screen."""
    screen = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(6)
    pixels = b",\0\0\0\0" + struct.pack("<HHB", *frame, 0) + b"\x02\x02\x4c\x01\0"
    return screen + before + pixels + behind + b";"


def riff(chunks: bytes) -> bytes:
    """A WebP of chunks."""
    return b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks


def webp(extra: bytes = b"", flags: int = 0) -> bytes:
    """An extended WebP with more chunks."""
    head = struct.pack("<4sLB3x", b"VP8X", 10, flags) + (SIDE - 1).to_bytes(3, "little") * 2
    return riff(head + saved("WEBP")[12:] + extra)


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<L", len(data)) + data + b"\0" * (len(data) % 2)


def tiff(
    tags: dict[int, tuple[int, int, int]], tail: bytes = b"", more: int = 0, after: int = 0
) -> bytes:
    """A TIFF of tags `kind, count, value`, with `more` of no meaning before them."""
    filler = [(40_000 + n % 20_000, (3, 2, 8)) for n in range(more)]
    entries = [*filler, *sorted(tags.items())]
    start = 8 + len(tail) + len(tail) % 2
    listed = b"".join(struct.pack("<HHLL", tag, *entry) for tag, entry in entries)
    head = b"II*\0" + struct.pack("<L", start) + tail + b"\0" * (len(tail) % 2)
    return head + struct.pack("<H", len(entries)) + listed + struct.pack("<L", after)


def gray_tags(width: int, height: int, **more: int) -> dict[int, tuple[int, int, int]]:
    """The tags of a grey image whose one strip is the file's beginning."""
    return {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height),
    }  # fmt: skip


def strips(count: int) -> bytes:
    """A TIFF of so many strips of a pixel each."""
    tail = bytes(64) + struct.pack("<L", 8) * count + struct.pack("<L", 1) * count
    tags = gray_tags(1, count)
    tags |= {273: (4, count, 72), 279: (4, count, 72 + 4 * count), 278: (4, 1, 1)}
    return tiff(tags, tail)


def endless_pages() -> bytes:
    """A TIFF whose page is followed by itself."""
    tail = bytes(64)
    return tiff(gray_tags(8, 8), tail, after=8 + len(tail))


def scans_in_tiff(times: int, side: int) -> bytes:
    """A TIFF with a JPEG whose scans are repeated."""
    data = with_scans(times, side, progressive=True)
    tags = gray_tags(side, side)
    tags |= {
        258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 6), 277: (3, 1, 3), 279: (4, 1, len(data)),
    }  # fmt: skip
    return tiff(tags, data)


def animated(kind: str, frames: int, side: int = SIDE) -> bytes:
    """An animation of many frames."""
    file = io.BytesIO()
    images = [Image.new("RGB", (side, side), (n % 250, 0, 0)) for n in range(frames)]
    images[0].save(file, kind, save_all=True, append_images=images[1:], duration=50)
    return file.getvalue()


def lossless_noise(side: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "WEBP", lossless=True, method=0, quality=0)
    return file.getvalue()


RUNS = (2048, 2048)
CONTROL = b"!\xf9\x04\x08\0\0\0\0"  # Back to the background after this frame.
QUANTIZATION = b"\0" + bytes(range(1, 65))
IMAGES: dict[str, tuple[Callable[[], bytes], bool]] = {
    # Sides.
    "a column of 64 million.png": (lambda: png(1, 1 << 26, bits=1, color=0), False),
    "a row of 64 million.png": (lambda: png(1 << 26, 1, bits=1, color=0), False),
    "a column of two million.png": (lambda: png(1, 1 << 21), False),
    "a column of 65,535.png": (lambda: png(1, 65_535), True),
    "a column of 65,500.jpg": (lambda: plain("JPEG", (1, 65_500)), True),
    "a column of a million.tif": (lambda: tiff(gray_tags(1, 1 << 20), bytes(1 << 20)), False),
    "a column of a million.bmp": (lambda: bmp((1, 1 << 20), b"\1\0\0\0" * 9), False),
    "a column of 65,535.gif": (lambda: gif((1, 65_535), (1, 1)), True),
    # PNG.
    "400,000 private chunks.png": (lambda: png(8, 8, chunk(b"prVt", b"") * 400_000), False),
    "400,000 chunks behind.png": (lambda: png(8, 8, after=chunk(b"prVt", b"") * 400_000), False),
    "400,000 empty pixel chunks.png": (lambda: png(8, 8, chunk(b"IDAT", b"") * 400_000), False),
    "60,000 text chunks.png": (lambda: png(8, 8, chunk(b"tEXt", b"a\0b") * 60_000), True),
    "60,000 palettes.png": (
        lambda: png(8, 8, chunk(b"PLTE", bytes(768)) * 60_000, color=3), True,
    ),
    "pixels byte by byte.png": (lambda: png(4000, 4000, pieces=1), True),
    "64 MB of packed text.png": (lambda: png(8, 8, text_chunk(b"zTXt", 64)), True),
    "64 MB of packed history.png": (lambda: png(8, 8, text_chunk(b"iTXt", 64)), True),
    "64 MB of profile.png": (lambda: png(8, 8, text_chunk(b"iCCP", 64)), True),
    "text behind.png": (lambda: png(8, 8, after=text_chunk(b"zTXt", 8)), True),
    "EXIF of 60,000 tags.png": (lambda: png(8, 8, chunk(b"eXIf", exif_of(60_000))), True),
    "four billion frames.png": (
        lambda: png(8, 8, chunk(b"acTL", b"\xff" * 8), after=chunk(b"fdAT", bytes(9)) * 9), True,
    ),
    "3,000 frames.png": (lambda: animated("PNG", 3000, 16), True),
    "interlaced, at the limit.png": (lambda: png(8192, 8192, bits=1, color=0, interlaced=1), True),
    # JPEG.
    "600 scans.jpg": (lambda: with_scans(600, 4800, progressive=True), False),
    "100 scans.jpg": (lambda: with_scans(100, 4800, progressive=True), False),
    "600 hidden scans.jpg": (lambda: hidden_scans(600, 4800), False),
    "40,000 scans of a small one.jpg": (lambda: with_scans(40_000, 256, progressive=True), False),
    "600 scans in color.jpg": (
        lambda: with_scans(600, 4000, "RGB", progressive=True, subsampling=0), False,
    ),
    "as many scans as are read.jpg": (lambda: with_scans(15, 4800, progressive=True), True),
    "600 scans, one after the other.jpg": (lambda: with_scans(600, 1200), False),
    "arithmetic code without data.jpg": (lambda: arithmetic(4096), False),
    "3 million markers.jpg": (lambda: with_segments(marked(0xEC, b"") * 3_000_000), False),
    "3 million starts.jpg": (lambda: with_segments(b"\xff\xd8" * 3_000_000), False),
    "3 million comments.jpg": (lambda: with_segments(marked(0xFE, b"") * 3_000_000), False),
    "fill between markers.jpg": (lambda: with_segments(b"\xff" * 12_000_000), True),
    "junk between markers.jpg": (
        lambda: with_segments(marked(0xFE, b"") + bytes(12_000_000)), True,
    ),
    "200,000 tables.jpg": (
        lambda: with_segments(marked(0xDB, QUANTIZATION * 1000) * 200), False,
    ),
    "60,000 Huffman tables.jpg": (lambda: with_segments(marked(0xC4, bytes(17)) * 60_000), False),
    "12 MB of restarts.jpg": (
        lambda: plain("JPEG", (4800, 4800), "L", progressive=True)[:-2]
        + b"\xff\xd0" * 6_000_000,
        False,
    ),
    "EXIF of 60,000 tags.jpg": (lambda: with_segments(exif_segments(60_000)), True),
    "500 parts of a profile.jpg": (
        lambda: with_segments(b"".join(
            marked(0xE2, b"ICC_PROFILE\0" + bytes((n % 256, 255)) + bytes(60_000))
            for n in range(500)
        )), True,
    ),
    "a Photoshop block.jpg": (
        lambda: with_segments(
            marked(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 200
        ), True,
    ),
    # BMP.
    "4 million runs of one.bmp": (lambda: bmp(RUNS, b"\1\0" * (1 << 22)), False),
    "4 million ends of line.bmp": (lambda: bmp(RUNS, b"\0\0" * (1 << 22)), False),
    "4 million moves.bmp": (lambda: bmp(RUNS, b"\0\2\0\0" * (1 << 22)), False),
    "2 million pairs.bmp": (lambda: bmp(RUNS, b"\1\0\0\3\1\1\1\0" * (1 << 21)), False),
    "4 million halves.bmp": (lambda: bmp(RUNS, b"\1\0" * (1 << 22), 2), False),
    "runs from the header on.bmp": (
        lambda: b"BM" + bytes(12) + bmp(RUNS, b"\1\0" * (1 << 22))[14:], False,
    ),
    "as many runs as are read.bmp": (
        lambda: bmp((2048, 2039), (b"\x08\1" * 256 + b"\0\0") * 2039), True,
    ),
    "as many pixels as are read.bmp": (lambda: bmp((2048, 2048), b"\1\1\0\0" * 2048), True),
    "as many halves as are read.bmp": (
        lambda: bmp((2048, 2048), (b"\xff\1" * 8 + b"\x08\1\0\0") * 2048, 2), True,
    ),
    "ends of line at the limit.bmp": (lambda: bmp((8192, 8192), b"\1\1\0\0" * 8192), False),
    # GIF.
    "3 million extensions.gif": (lambda: gif((8, 8), (1, 1), b"!\xfe\0" * 3_000_000), False),
    "3 million extensions behind.gif": (
        lambda: gif((8, 8), (1, 1), behind=b"!\xfe\0" * 3_000_000), False,
    ),
    "comments in small.gif": (
        lambda: gif((8, 8), (1, 1), b"!\xfe" + b"\1a" * 3_000_000 + b"\0"), False,
    ),
    "a screen of 60,000 x 60,000.gif": (lambda: gif((60_000, 60_000), (1, 1)), False),
    "disposal of a large frame.gif": (
        lambda: gif((8, 8), (13_000, 13_000), CONTROL), False,
    ),
    "30,000 frames.gif": (lambda: gif((8, 8), (1, 1), behind=(
        CONTROL + gif((8, 8), (1, 1))[19:-1]) * 30_000), True,
    ),
    # WebP.
    "a million chunks.webp": (lambda: webp(riff_chunk(b"junk", b"") * 1_000_000), False),
    "EXIF of 60,000 tags.webp": (lambda: webp(riff_chunk(b"EXIF", exif_of(60_000)), 8), True),
    "100 MB of XMP.webp": (lambda: webp(riff_chunk(b"XMP ", bytes(100_000_000)), 4), True),
    "100 MB in its frame.webp": (
        lambda: webp(riff_chunk(b"ANMF", bytes(100_000_000)), 2), False,
    ),
    "2,000 frames.webp": (lambda: animated("WEBP", 2000, 16), True),
    "noise without loss.webp": (lambda: lossless_noise(3500), True),
    "larger noise without loss.webp": (lambda: lossless_noise(4000), False),
    # TIFF.
    "60,000 tags.tif": (lambda: tiff(gray_tags(8, 8), bytes(64), more=60_000), True),
    "32,000 strips.tif": (lambda: strips(32_000), True),
    "a million strips.tif": (lambda: strips(1_000_000), False),
    "endless pages.tif": (endless_pages, True),
    "a tag of 4 GB.tif": (
        lambda: tiff({**gray_tags(8, 8), 320: (3, (1 << 31) - 1, 8)}, bytes(64)), False,
    ),
    "100 MB of layers.tif": (
        lambda: tiff({**gray_tags(8, 8), 37724: (7, 100_000_000, 72)}, bytes(100_000_100)), True,
    ),
    "600 scans.tif": (lambda: scans_in_tiff(600, 4800), False),
}  # fmt: skip


def write(folder: Path) -> list[Path]:
    """All of them as files."""
    paths = []
    for case in cases():
        paths.append(folder / case.name)
        paths[-1].write_bytes(case.build())
    return paths


def read_all_ways(path: Path) -> tuple[str, int]:
    """What one is told who reads an image for training, as a mask, in small and by its header, and
    how many of that take their time.
    """
    from ti_core.host.images.image_files import read_mask, read_pixels
    from ti_core.host.images.thumbnails import sides_of, thumbnail

    ways: tuple[Callable[[Path], object], ...] = (read_pixels, read_mask)
    found = []
    for way in ways:
        try:
            way(path)
            found.append("read")
        except ValueError as error:
            found.append(str(error))
    sides_of(path)
    if (thumbnail(path) is None) == (found[0] == "read"):
        found.append("its small copy differs")
    return "; ".join(dict.fromkeys(found)), 3
