"""Images taken apart into chunks, segments, blocks and tags, which are left out, repeated,
exchanged and bent; what is put together again has right lengths and checksums.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from fuzz_mutations import LARGEST, bent_bytes

Pieces: TypeAlias = list[tuple[bytes, bytes]]  # kinds and contents, the first piece being a start
TIMES = (1, 1, 2, 50, 3000, 60_000)
SIDES = (0, 1, 7, 8, 255, 4096, 65_535, 65_536, 1 << 20, 1 << 26, (1 << 31) - 1)


def png_pieces(data: bytes) -> Pieces:
    """The chunks of a PNG."""
    found, at = [(b"", data[:8])], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">L", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def png_joined(pieces: Pieces) -> bytes:
    """A PNG of chunks."""
    return b"".join(
        struct.pack(">L", len(one)) + kind + one + struct.pack(">L", zlib.crc32(kind + one))
        if kind else one
        for kind, one in pieces
    )  # fmt: skip


def jpeg_pieces(data: bytes) -> Pieces:
    """The segments of a JPEG; a scan has its data behind it."""
    found, at = [(b"", data[:2])], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        (size,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + size
        if data[at + 1] == 0xDA:
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] > 0xD7):
                end += 1
        found.append((data[at + 1 : at + 2], data[at + 4 : end]))
        at = end
    return found


def jpeg_joined(pieces: Pieces) -> bytes:
    """A JPEG of segments."""
    return b"".join(
        b"\xff" + kind + (scan(one) if kind == b"\xda" else sized(one)) if kind else one
        for kind, one in pieces
    ) + b"\xff\xd9"  # fmt: skip


def sized(contents: bytes) -> bytes:
    """A segment behind its marker."""
    return struct.pack(">H", min(len(contents) + 2, 65_535)) + contents[:65_533]


def scan(contents: bytes) -> bytes:
    """A scan behind its marker: its header has as many entries as it says."""
    size = 6 + 2 * contents[0] if contents else 2
    return struct.pack(">H", size) + contents


def riff_pieces(data: bytes) -> Pieces:
    """The chunks of a WebP."""
    found, at = [(b"", b"")], 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<L", data, at + 4)
        found.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def riff_joined(pieces: Pieces) -> bytes:
    """A WebP of chunks."""
    body = b"".join(
        kind + struct.pack("<L", len(one)) + one + bytes(len(one) % 2) for kind, one in pieces[1:]
    )
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


def tiff_pieces(data: bytes) -> Pieces:
    """The header and pixels of a TIFF, and its tags; those of our samples stand at its end."""
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    tags = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    return [(b"", data), *((one[:2], one[2:]) for one in tags)]


def tiff_joined(pieces: Pieces) -> bytes:
    """A TIFF whose tags stand at its end."""
    data = pieces[0][1]
    tags = [(kind + one)[:12].ljust(12, b"\0") for kind, one in pieces[1:]][:65_535]
    listed = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + listed


def gif_pieces(data: bytes) -> Pieces:
    """The header of a GIF, and what follows it, in pieces that begin like blocks."""
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    rest = data[start:]
    cuts = [0, *(n for n in range(1, len(rest)) if rest[n - 1 : n + 1] in (b"\0!", b"\0,"))]
    ends = [*cuts[1:], len(rest)]
    return [(b"", data[:start]), *((b"b", rest[a:b]) for a, b in zip(cuts, ends, strict=True))]


def gif_joined(pieces: Pieces) -> bytes:
    """A GIF of blocks."""
    return b"".join(one for _, one in pieces)


Taken: TypeAlias = tuple[Callable[[bytes], Pieces], Callable[[Pieces], bytes]]
KINDS: dict[bytes, Taken] = {
    b"\x89PNG": (png_pieces, png_joined),
    b"\xff\xd8\xff": (jpeg_pieces, jpeg_joined),
    b"RIFF": (riff_pieces, riff_joined),
    b"II*\0": (tiff_pieces, tiff_joined),
    b"GIF8": (gif_pieces, gif_joined),
}


def bent_structure(samples: Sequence[bytes], seed: int) -> bytes:
    """An image with some of its pieces changed; one of another kind with some of its bytes."""
    draws = random.Random(seed)
    data = draws.choice(samples)
    known = next((one for start, one in KINDS.items() if data.startswith(start)), None)
    if known is None:
        return bent_bytes([data], seed)
    apart, together = known
    pieces = apart(data)
    for _ in range(draws.choice((1, 1, 2, 4))):
        bend(pieces, draws)
    return together(pieces)[:LARGEST]


def bend(pieces: Pieces, draws: random.Random) -> None:
    """One change of the pieces behind the first."""
    if len(pieces) < 2:
        return
    at, other = draws.randrange(1, len(pieces)), draws.randrange(1, len(pieces))
    kind, one = pieces[at]
    change = draws.randrange(6)
    if change == 0:
        del pieces[at]
    elif change == 1:
        most = LARGEST // (len(one) + 4)
        pieces[at:at] = [(kind, one)] * min(draws.choice(TIMES), most)
    elif change == 2:
        pieces[at], pieces[other] = pieces[other], pieces[at]
    elif change == 3:
        pieces[at] = kind, bent_bytes([one], draws.randrange(1 << 30))
    elif change == 4:
        pieces[at] = kind, with_side(one, draws)
    else:
        pieces[at] = pieces[other][0], one


def with_side(one: bytes, draws: random.Random) -> bytes:
    """A piece with another number in its beginning, as sides, counts and offsets stand there."""
    code = draws.choice((">L", ">H", "<L", "<H"))
    size = struct.calcsize(code)
    at = draws.randrange(max(1, min(len(one) - size, 16)))
    value = draws.choice(SIDES) & ((1 << 8 * size) - 1)
    return one[:at] + struct.pack(code, value) + one[at + size :]
