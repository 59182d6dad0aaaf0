"""BMP: passed on whole; the runs of a compressed one are counted."""

import re
import struct
from collections.abc import Iterator

from .image_bytes import Facts, ImageBytes, Part

HEADER = 34  # bytes, up to what says how it is packed
LEAST_OFFSET = 54  # of the pixels of a packed file
PACKED = (1, 2)  # 8 and 4 bits
RUNS = re.compile(rb"(?:[^\0].){1,4096}", re.DOTALL)
LITERAL, DELTA = 3, 2  # from here on, so many pixels follow; a move of two bytes
MOST_RUNS = 1 << 19  # Pillow takes half a microsecond for each
MOST_PIXELS = 4 << 20  # and some of that for each pixel
LARGEST = 32 << 20  # bytes of a packed file


def bmp_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The file, after a check of its runs."""
    header = file.at(0, min(HEADER, file.size)).ljust(HEADER, b"\0")
    start, _, width, height, _, _, how = struct.unpack_from("<LLllHHL", header, 10)
    if how not in PACKED:
        yield range(file.size)
        return
    if not LEAST_OFFSET <= start <= file.size <= LARGEST:
        raise ValueError("it is damaged: its pixels are not where they should be")
    if abs(width * height) > MOST_PIXELS:
        raise ValueError(
            f"it is compressed and has {width} x {abs(height)} pixels, but at most "
            f"{MOST_PIXELS >> 20} million are unpacked; save it as PNG"
        )
    yield range(start)
    check_runs(file.at(start, file.size - start), how == PACKED[1])
    yield range(start, file.size)


def check_runs(data: bytes, halves: bool) -> None:
    """Raise ValueError for more runs than can be unpacked quickly."""
    at, runs = 0, 0
    while at + 1 < len(data):
        if found := RUNS.match(data, at):
            runs, at = runs + (found.end() - at) // 2, found.end()
        else:
            kind, at, runs = data[at + 1], at + 2, runs + 1
            if kind == 1:
                return
            if kind == DELTA:
                at += 2
            elif kind >= LITERAL:
                size = (kind + 1) // 2 if halves else kind
                at += size + size % 2
        if runs > MOST_RUNS:
            raise ValueError(
                f"it is compressed into more than {MOST_RUNS} runs, which take too long; save it "
                f"as PNG"
            )
