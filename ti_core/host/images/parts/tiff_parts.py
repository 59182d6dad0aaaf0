"""TIFF: its first page, with only the tags that make pixels."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .image_bytes import Facts, ImageBytes, Part
from .turning import LONGEST, ORIENTATION, SHORT, in_xmp

COMPRESSION, STRIPS, TILES, XMP, PROFILE = 259, 273, 324, 700, 34675
STRIP_BYTES, TILE_BYTES = 279, 325
WIDTH, HEIGHT, STRIP_ROWS, TILE_WIDTH, TILE_HEIGHT = 256, 257, 278, 322, 323
KEPT = {
    *(WIDTH, HEIGHT, 258, COMPRESSION, 262, 266, STRIPS, 277, STRIP_ROWS, STRIP_BYTES),
    *(284, 292, 293, 317, 320, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, 332, 334, 338, 339),
    *(340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}
LISTS = (STRIPS, STRIP_BYTES, TILES, TILE_BYTES)
JPEGS = (6, 7)
# Not packed, fax, LZW, JPEG, deflate, PackBits, Zstandard.
PACKED = (1, 2, 3, 4, 5, *JPEGS, 8, 32771, 32773, 32946, 50000)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}
MOST_STRIPS = 1 << 15  # or tiles
MOST_TAGS = 1 << 16
LONGEST_TAG = 1 << 20  # bytes
MOST_WORK = 1 << 29  # pixels that all scans of its JPEG files together go through
SCAN = b"\xff\xda"


class Layout(NamedTuple):
    """The layout of a kind of TIFF: its offsets, its tag count, and a tag."""

    order: str
    offset: str
    first: int
    count: str
    entry: struct.Struct

    @property
    def inside(self) -> int:
        """Length in bytes of a value that is stored in its tag."""
        return struct.calcsize(f"={self.offset}")


class Entry(NamedTuple):
    """A tag: its number, the type and number of its values, and the values or their place."""

    tag: int
    kind: int
    count: int
    value: bytes

    @property
    def size(self) -> int:
        """Length of its values in bytes."""
        return SIZES.get(self.kind, LONGEST_TAG + 1) * self.count


def tiff_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The file with a new list of tags at its end."""
    layout = layout_of(file.at(0, 8))
    found, after = entries(file, layout)
    facts.several = after != 0
    kept = {tag: entry for tag, entry in found.items() if tag in KEPT}
    check(file, layout, kept)
    learn(file, facts, layout, found)
    gap = -file.size % 8
    yield file.at(0, layout.first)
    yield struct.pack(layout.order + layout.offset, file.size + gap)
    yield range(layout.first + layout.inside, file.size)
    yield bytes(gap)
    yield struct.pack(layout.order + layout.count, len(kept))
    for tag in sorted(kept):
        yield layout.entry.pack(*kept[tag])
    yield bytes(layout.inside)


def layout_of(header: bytes) -> Layout:
    """The layout of this file."""
    order = "<" if header[:2] == b"II" else ">"
    if header[2] == 43 or header[3] == 43:  # of files above 4 GiB
        return Layout(order, "Q", 8, "Q", struct.Struct(f"{order}HHQ8s"))
    return Layout(order, "L", 4, "H", struct.Struct(f"{order}HHL4s"))


def entries(file: ImageBytes, layout: Layout) -> tuple[dict[int, Entry], int]:
    """The tags of the first page (of repeated ones the last), and where the next page begins."""
    (start,) = struct.unpack(layout.order + layout.offset, file.at(layout.first, layout.inside))
    head = struct.Struct(layout.order + layout.count)
    (count,) = head.unpack(file.at(start, head.size))
    if count > MOST_TAGS:
        raise ValueError(f"it has more than {MOST_TAGS} tags")
    end = start + head.size + count * layout.entry.size
    tags = file.at(start + head.size, end - start - head.size)
    found = {entry[0]: Entry(*entry) for entry in layout.entry.iter_unpack(tags)}
    after = file.at(end, layout.inside) if end + layout.inside <= file.size else b""
    return found, int.from_bytes(after, "little")


def check(file: ImageBytes, layout: Layout, kept: dict[int, Entry]) -> None:
    """Raise ValueError for tags that a decoder should not be given."""
    for entry in kept.values():
        if entry.size > LONGEST_TAG:
            raise ValueError(f"its tag {entry.tag} is too long")
        if entry.tag in LISTS and entry.count > MOST_STRIPS:
            raise ValueError(
                f"it is cut into {entry.count} strips or tiles, but at most {MOST_STRIPS} are "
                f"read; open it in an image editor and save it again"
            )
    how = number(layout, kept.get(COMPRESSION), 1)
    if how not in PACKED:
        raise ValueError(
            f"it uses a compression that is not supported here ({how}); save it as PNG"
        )
    if how in JPEGS:
        check_scans(file, layout, kept)


def check_scans(file: ImageBytes, layout: Layout, kept: dict[int, Entry]) -> None:
    """Raise ValueError if the JPEG files in it would take a decoder too long."""
    sides = [number(layout, kept.get(tag), 1) for tag in (WIDTH, HEIGHT)]
    tile = [number(layout, kept.get(tag), 0) for tag in (TILE_WIDTH, TILE_HEIGHT)]
    rows = min(number(layout, kept.get(STRIP_ROWS), sides[1]), sides[1])
    area = tile[0] * tile[1] or sides[0] * rows
    scans = sum(piece.count(SCAN) for piece in file.pieces(0, file.size))
    if scans * area > max(MOST_WORK, 4 * sides[0] * sides[1]):
        raise ValueError(
            f"it has {scans} scans of {area} pixels, which take too long; open it in an image "
            f"editor and save it again"
        )


def number(layout: Layout, entry: Entry | None, otherwise: int) -> int:
    """The first value of a tag."""
    if entry is None or not entry.count:
        return otherwise
    code = {3: "H", 4: "L", 16: "Q"}.get(entry.kind, "B")
    return struct.unpack_from(layout.order + code, entry.value.ljust(8, b"\0"))[0]


def learn(file: ImageBytes, facts: Facts, layout: Layout, found: dict[int, Entry]) -> None:
    """Learn from the other tags."""
    facts.profile = PROFILE in found
    turned, told = found.get(ORIENTATION), found.get(XMP)
    if turned and turned.kind == SHORT:
        facts.turned(number(layout, turned, 0))
    if told and layout.inside < told.size:
        (at,) = struct.unpack_from(layout.order + layout.offset, told.value)
        if at < file.size:
            facts.turned(in_xmp(file.at(at, min(told.size, LONGEST, file.size - at))))
