"""WebP: its first image, without profiles, EXIF, XMP and later frames."""

import struct
from collections.abc import Iterator

from .image_bytes import Facts, ImageBytes, Part
from .turning import LONGEST, in_exif, in_xmp

HEADER, HEAD = 12, struct.Struct("<4sL")
EXTENDED = b"VP8X"
KEPT = (EXTENDED, b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
FLAGS = 0x12  # of what is kept: frames, transparency
LARGEST = 64 << 20  # bytes of an image, all of which the decoder holds


def webp_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The first chunk of each kind that makes pixels."""
    (told,) = struct.unpack("<L", file.at(4, 4))
    end = min(told + 8, file.size)
    found: dict[bytes, tuple[int, int]] = {}
    at = HEADER
    while at + HEAD.size <= end:
        file.count()
        kind, size = HEAD.unpack(file.at(at, HEAD.size))
        start, at = at + HEAD.size, at + HEAD.size + size + size % 2
        if start + size > file.size:
            raise ValueError("parts of it are missing; it is damaged or cut off")
        if kind in KEPT:
            facts.several |= kind == b"ANMF" and kind in found
            found.setdefault(kind, (start, size))
        else:
            learn(file, facts, kind, start, size)
    if (total := sum(HEAD.size + size + size % 2 for _, size in found.values())) > LARGEST:
        raise ValueError(f"its first image is larger than {LARGEST >> 20} MiB")
    yield b"RIFF" + struct.pack("<L", total + 4) + b"WEBP"
    for kind, (start, size) in found.items():
        yield HEAD.pack(kind, size)
        yield extended(file.at(start, size)) if kind == EXTENDED else range(start, start + size)
        yield b"\0" * (size % 2)


def extended(contents: bytes) -> bytes:
    """The header of an extended file, without the flags of the parts left out."""
    return bytes((contents[0] & FLAGS,)) + contents[1:] if contents else contents


def learn(file: ImageBytes, facts: Facts, kind: bytes, start: int, size: int) -> None:
    """Learn from a chunk that makes no pixels."""
    facts.profile |= kind == b"ICCP"
    if kind == b"EXIF":
        facts.turned(in_exif(file.at(start, min(size, LONGEST))))
    elif kind == b"XMP ":
        facts.turned(in_xmp(file.at(start, min(size, LONGEST))))
