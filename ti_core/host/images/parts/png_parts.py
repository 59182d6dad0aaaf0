"""PNG: its header, palette and pixels, without texts, profiles and other frames."""

import struct
import zlib
from collections.abc import Iterator

from ....word.formats.png_chunks import CHECKSUM, HEAD, SIGNATURE
from .image_bytes import Facts, ImageBytes, Part
from .turning import LONGEST, in_exif, in_xmp

IN_FRONT = (b"IHDR", b"PLTE", b"tRNS")  # of the pixels
LONGEST_IN_FRONT = 1 << 10  # bytes; a palette has 768
LONGEST_PIXELS = (1 << 31) - 1
XMP = b"XML:com.adobe.xmp\0"
RAW_EXIF = b"Raw profile type exif\0"  # as ImageMagick wrote it before there was eXIf
LINES_BEFORE_HEX = 3


def png_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The chunks that make pixels, with checked checksums, and with all pixels in one chunk."""
    yield SIGNATURE
    front: dict[bytes, bytes] = {}
    pixels: list[tuple[int, int]] = []
    at = len(SIGNATURE)
    while True:
        file.count()
        size, kind = HEAD.unpack(file.at(at, HEAD.size))
        start, at = at + HEAD.size, at + HEAD.size + size + CHECKSUM.size
        if at > file.size:
            raise ValueError("parts of it are missing; it is damaged or cut off")
        if kind == b"IDAT":
            pixels.append((start, size))
            continue
        if pixels:
            yield from front.values()
            yield from joined(file, pixels)
            yield from rest(file, facts, kind, start, size)
            return
        if kind == b"IEND":
            raise ValueError("it has no pixels")
        if kind in IN_FRONT:
            front[kind] = whole(file, start, size, kind)
        else:
            learn(file, facts, kind, start, size)


def whole(file: ImageBytes, start: int, size: int, kind: bytes) -> bytes:
    """A short chunk as it stands in the file."""
    if size > LONGEST_IN_FRONT:
        raise ValueError(f"its {kind.decode()} chunk is too long")
    check(file, start, size, kind)
    return file.at(start - HEAD.size, HEAD.size + size + CHECKSUM.size)


def joined(file: ImageBytes, pixels: list[tuple[int, int]]) -> Iterator[Part]:
    """The pixels as one chunk; its checksum, which is not checked again, is 0."""
    total = sum(size for _, size in pixels)
    if total > LONGEST_PIXELS:
        raise ValueError("it has too much pixel data")
    yield HEAD.pack(total, b"IDAT")
    for start, size in pixels:
        check(file, start, size, b"IDAT")
        yield range(start, start + size)
    yield CHECKSUM.pack(0)


def check(file: ImageBytes, start: int, size: int, kind: bytes) -> None:
    """Raise ValueError for a chunk whose checksum does not fit its bytes."""
    found = zlib.crc32(kind)
    for piece in file.pieces(start, start + size):
        found = zlib.crc32(piece, found)
    if CHECKSUM.pack(found) != file.at(start + size, CHECKSUM.size):
        raise ValueError(f"it is damaged: a checksum of {kind.decode()} is wrong")


def rest(file: ImageBytes, facts: Facts, kind: bytes, start: int, size: int) -> Iterator[Part]:
    """The end of the file, after learning from the chunks behind the pixels."""
    while kind != b"IEND":
        learn(file, facts, kind, start, size)
        at = start + size + CHECKSUM.size
        file.count()
        size, kind = HEAD.unpack(file.at(at, HEAD.size))
        start = at + HEAD.size
    yield whole(file, start, size, kind)


def learn(file: ImageBytes, facts: Facts, kind: bytes, start: int, size: int) -> None:
    """Learn from a chunk that makes no pixels."""
    if kind == b"iCCP":
        facts.profile = True
    elif kind == b"acTL" and size >= 4:
        facts.several = struct.unpack(">L", file.at(start, 4))[0] > 1
    elif kind == b"eXIf":
        facts.turned(in_exif(file.at(start, min(size, LONGEST))))
    elif kind == b"iTXt" and size > len(XMP) and file.at(start, len(XMP)) == XMP:
        facts.turned(in_xmp(file.at(start, min(size, LONGEST))))
    elif kind in (b"zTXt", b"tEXt") and size > len(RAW_EXIF):
        if file.at(start, len(RAW_EXIF)) == RAW_EXIF:
            facts.turned(in_raw_exif(file.at(start, min(size, LONGEST)), kind == b"zTXt"))


def in_raw_exif(chunk: bytes, packed: bool) -> int:
    """The orientation in EXIF that is written as hexadecimal digits; 0 if there is none."""
    text = chunk[len(RAW_EXIF) :]
    try:
        text = zlib.decompressobj().decompress(text[1:], 2 * LONGEST) if packed else text
        lines = text.decode("latin-1").split("\n")[LINES_BEFORE_HEX:]
        digits = "".join(lines)
        return in_exif(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    except (zlib.error, ValueError):
        return 0
