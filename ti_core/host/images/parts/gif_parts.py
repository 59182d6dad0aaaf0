"""GIF: its first frame, without comments, later frames and their timing."""

from collections.abc import Iterator

from .image_bytes import Facts, ImageBytes, Part

HEADER, FRAME = 13, 10  # bytes
EXTENSION, IMAGE, END = b"!", b",", b";"
CONTROL = 0xF9
TRANSPARENT = 0x01  # the only flag of a frame that its own pixels depend on
MOST_BLOCKS = 1 << 18  # of at most 255 bytes each
EXTENSIONS_COUNT = 4  # blocks
AHEAD = 1 << 16  # bytes read at a time, at most


def gif_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The header, the block that makes colors transparent, and the first frame."""
    header = file.at(0, HEADER)
    start = HEADER + colors(header[10])
    yield header + file.at(HEADER, start - HEADER)
    place, control = next_image(file, start)
    if place is None:
        raise ValueError("it has no pixels")
    frame = file.at(place, FRAME)
    pixels = place + FRAME + colors(frame[9]) + 1
    yield control
    yield range(place, min(pixels, file.size))
    end = behind_blocks(file, pixels)
    yield range(pixels, min(end, file.size))
    yield END
    facts.several = next_image(file, end)[0] is not None


def colors(flags: int) -> int:
    """Length in bytes of the color table that these flags declare."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def next_image(file: ImageBytes, at: int) -> tuple[int | None, bytes]:
    """Where the next frame begins, or None, and the control block before it."""
    control = b""
    while at < file.size and (kind := file.at(at, 1)) not in (END, IMAGE):
        file.count(EXTENSIONS_COUNT, MOST_BLOCKS)
        if kind != EXTENSION:
            at += 1
            continue
        block = file.at(at, 8) if at + 8 <= file.size else b"!\0"
        if block[1] == CONTROL and block[2] == 4:
            control = bytes((*block[:3], block[3] & TRANSPARENT, *block[4:7], 0))
        at = behind_blocks(file, at + 2)
    return (at if at < file.size and kind == IMAGE else None), control


def behind_blocks(file: ImageBytes, at: int) -> int:
    """Where a series of blocks ends: after the empty one, or at the end of the file."""
    start, held, ahead = at, b"", 1
    while at < file.size:
        if at - start >= len(held):
            start, held = at, file.at(at, min(ahead, file.size - at))
            ahead = min(ahead * 64, AHEAD)
        file.count(most=MOST_BLOCKS)
        size = held[at - start]
        at += size + 1
        if not size:
            break
    return at
