"""How a camera was held, read from EXIF and XMP."""

import re
import struct

ORIENTATION = 0x0112
MOST_TAGS = 1000  # that are looked at; they are in order, and this is one of the first
LONGEST = 1 << 16  # bytes of EXIF or XMP that are looked at
EXIF = b"Exif\0\0"
IN_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([0-9])")
SHORT = 3


def in_exif(data: bytes) -> int:
    """The orientation in a block of EXIF, 0 if it has none or is damaged."""
    data = data.removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return 0
    (at,) = struct.unpack_from(f"{order}L", data, 4)
    entry = struct.Struct(f"{order}HHLHH")
    count = struct.unpack_from(f"{order}H", data, at)[0] if at + 2 <= len(data) else 0
    end = min(at + 2 + entry.size * min(count, MOST_TAGS), len(data))
    for place in range(at + 2, end - entry.size + 1, entry.size):
        tag, kind, _, value, _ = entry.unpack_from(data, place)
        if tag == ORIENTATION and kind == SHORT:
            return value
    return 0


def in_xmp(data: bytes) -> int:
    """The orientation in a packet of XMP, 0 if it has none."""
    found = IN_XMP.search(data)
    return int(found[1]) if found else 0
