"""JPEG: its tables, frame and scans, without what cameras and programs add."""

import re
import struct
from collections.abc import Iterator

from .image_bytes import PIECE, Facts, ImageBytes, Part
from .turning import EXIF, in_exif, in_xmp

START, END, SCAN = 0xD8, 0xD9, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
KEPT = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD}  # frames and tables
ALONE = {0x01, START}  # markers without a length
JFIF, ADOBE = (0xE0, b"JFIF"), (0xEE, b"Adobe")  # They say what the colors mean.
XMP = b"http://ns.adobe.com/xap/1.0/\0"
PROFILE = b"ICC_PROFILE\0"
SCANS = bytes((0xFF, SCAN))
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # no fill, no restart
MOST_TABLES = 1 << 16  # bytes of frames and tables before the first scan
SEQUENTIAL = {0xC0, 0xC1, 0xC9}
ARITHMETIC = range(0xC9, 0xD0)
MOST_WORK = 1 << 29  # pixels that all scans together go through
ARITHMETIC_WORK = 4  # times that of Huffman's code


def jpeg_parts(file: ImageBytes, facts: Facts) -> Iterator[Part]:
    """The segments that make pixels; in files that may have several scans, these are counted."""
    front, at, frame, tables = [bytes((0xFF, START))], 2, (0, b""), 0
    while True:
        marker, at = next_marker(file, at)
        if marker in ALONE:
            continue
        size = length(file, at)
        if marker == SCAN:
            break
        if marker == END:
            raise ValueError("it has no pixels")
        if marker in KEPT or kept(file, marker, at, size):
            tables += size
            if tables > MOST_TABLES:
                raise ValueError("its tables are too long")
            segment = file.at(at - 2, size + 2)
            frame = (marker, segment) if marker in FRAMES else frame
            front.append(segment)
        elif marker in (0xE1, 0xE2):
            learn(facts, file.at(at + 2, size - 2))
        at += size
    kind, frame_segment = frame
    facts.gathered = kind not in SEQUENTIAL or file.at(at + 2, 1) != frame_segment[9:10]
    yield b"".join((*front, file.at(at - 2, size + 2)))
    if facts.gathered:
        check_scans(file, at + size, kind, frame_segment)
    yield range(at + size, file.size)


def next_marker(file: ImageBytes, at: int) -> tuple[int, int]:
    """The next marker, and where its contents begin; the end of the file if there is none."""
    file.count()
    size = 2  # Mostly, one follows the other; what lies between grows.
    while (size := min(size, file.size - at)) > 1:
        if found := MARKER.search(file.at(at, size)):
            return found[1][0], at + found.end()
        at += size - 1
        size = min(size * 8, PIECE)
    return END, file.size


def length(file: ImageBytes, at: int) -> int:
    """Length in bytes of the segment that begins there, including its length field."""
    (size,) = struct.unpack(">H", file.at(at, 2))
    if size < 2 or at + size > file.size:
        raise ValueError("parts of it are missing; it is damaged or cut off")
    return size


def kept(file: ImageBytes, marker: int, at: int, size: int) -> bool:
    """Whether a program's segment says what the colors mean."""
    names = [name for number, name in (JFIF, ADOBE) if number == marker]
    return any(size - 2 >= len(name) and file.at(at + 2, len(name)) == name for name in names)


def learn(facts: Facts, segment: bytes) -> None:
    """Learn from a segment that a camera or program added."""
    if segment.startswith(EXIF):
        facts.turned(in_exif(segment))
    elif segment.startswith(XMP):
        facts.turned(in_xmp(segment))
    elif segment.startswith(PROFILE):
        facts.profile = True


def check_scans(file: ImageBytes, at: int, kind: int, frame: bytes) -> None:
    """Raise ValueError where the scans that follow would take a decoder for long."""
    height, width = struct.unpack(">HH", frame[5:9]) if len(frame) > 9 else (0, 0)
    work = max(1, width * height) * (ARITHMETIC_WORK if kind in ARITHMETIC else 1)
    if sum(piece.count(SCANS) for piece in file.pieces(at, file.size)) < MOST_WORK // work:
        return  # No need to look where it ends, and what the others belong to.
    scans = 1
    while True:
        marker, at = next_marker(file, at)
        if marker == END:
            return
        if marker in ALONE:
            continue
        scans += marker == SCAN
        if scans * work > MOST_WORK:
            raise ValueError(
                f"it has more than {scans - 1} scans of {width} x {height} pixels, which take too "
                f"long; open it in an image editor and save it again"
            )
        at += length(file, at)
