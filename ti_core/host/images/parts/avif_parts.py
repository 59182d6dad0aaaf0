"""AVIF: passed on whole, up to a size; its decoder takes the first image."""

import struct
from collections.abc import Iterator

from .image_bytes import Facts, ImageBytes, Part

HEAD = struct.Struct(">L4s")
LARGEST = 64 << 20  # bytes of a file, all of which the decoder holds
MOST_DESCRIPTION = 1 << 20  # bytes of what is said of the images


def avif_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The file, after a check of its boxes."""
    if file.size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    at = 0
    while at + HEAD.size <= file.size:
        file.count()
        size, kind = HEAD.unpack(file.at(at, HEAD.size))
        if kind in (b"meta", b"moov") and size > MOST_DESCRIPTION:
            raise ValueError(f"its metadata is larger than {MOST_DESCRIPTION >> 20} MiB")
        if size < HEAD.size:  # The rest of the file, or a size of its own.
            break
        at += size
    yield range(file.size)
