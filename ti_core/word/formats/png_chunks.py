"""The chunks of a PNG, so that only what is wanted of a stranger's file is unpacked."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from .contents import CHANGED, FileBytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD, CHECKSUM = struct.Struct(">L4s"), struct.Struct(">L")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
LONGEST_KEYWORD = 79
DEFLATED = b"\0"


class Chunk(NamedTuple):
    """A kind, and where its bytes lie, with their checksum behind them."""

    kind: bytes
    start: int
    end: int


def chunks_of(data: bytes, file: FileBytes) -> list[Chunk]:
    """The chunks up to the image's end; ValueError where it is missing."""
    found, at = [], len(SIGNATURE)
    while not found or found[-1].kind != b"IEND":
        file.budget.spend("parts")
        start = at + HEAD.size
        size, kind = HEAD.unpack_from(data, at) if start <= len(data) else (len(data), b"")
        at = start + size + CHECKSUM.size
        if at > len(data):
            raise ValueError("parts of it are missing; the file is damaged or cut off")
        found.append(Chunk(kind, start, start + size))
    return found


def only_pixels(data: bytes, chunks: list[Chunk]) -> bytes:
    """The image without whatever is no pixels: profiles and texts could unpack to gigabytes."""
    view = memoryview(data)
    kept = (one for one in chunks if one.kind in PIXELS)
    parts = (view[one.start - HEAD.size : one.end + CHECKSUM.size] for one in kept)
    return b"".join((SIGNATURE, *parts))


def texts_of(
    data: bytes, chunks: list[Chunk], wanted: tuple[str, ...], file: FileBytes
) -> Iterator[tuple[str, str]]:
    """Keywords and texts of the chunks whose keyword begins like one of the wanted."""
    for one in chunks:
        if one.kind not in TEXTS:
            continue
        keyword = data[one.start : min(one.end, one.start + LONGEST_KEYWORD + 1)].split(b"\0")[0]
        if not keyword.startswith(tuple(word.encode() for word in wanted)):
            continue
        file.budget.spend("letters", one.end - one.start)
        body = data[one.start : one.end]
        (checksum,) = CHECKSUM.unpack_from(data, one.end)
        if zlib.crc32(one.kind + body) != checksum:
            file.note(CHANGED.format("a checksum in it is that of another text."))
        yield keyword.decode("latin-1"), text_of(one.kind, body[len(keyword) + 1 :], file)


def text_of(kind: bytes, body: bytes, file: FileBytes) -> str:
    """The text behind a chunk's keyword (PNG, section 11.3.3), unpacked within the budget."""
    if kind == b"tEXt":
        packed, text = False, body
    elif kind == b"zTXt":
        packed, text = True, body[1:]
    else:
        packed = body[:1] != DEFLATED
        text = body[2:].split(b"\0", 2)[-1]
    if packed:
        text = inflated(text, file.budget.left["letters"])
        file.budget.spend("letters", len(text))
    return text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")


def inflated(data: bytes, most: int) -> bytes:
    """Unpacked bytes, at most so many; ValueError where there are more, or where they are cut."""
    stream = zlib.decompressobj()
    written = stream.decompress(data, max(most, 1))
    if not stream.eof:
        raise ValueError("what it holds is more than an embedding, or is cut off")
    return written
