"""An image file as a decoder should see it."""

import io
import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ....concept.file_kinds import FORMATS
from ..ordinary_files import is_file
from .avif_parts import avif_parts
from .bmp_parts import bmp_parts
from .gif_parts import gif_parts
from .image_bytes import Facts, ImageBytes, Part, Parts
from .jpeg_parts import jpeg_parts
from .png_parts import png_parts
from .tiff_parts import tiff_parts
from .turning import LONGEST, in_exif, in_xmp
from .webp_parts import webp_parts

LARGEST_FILE = 512 << 20  # bytes
MOST_SIDE = 1 << 16  # pixels; a decoder keeps an address for each row
BUFFER = 1 << 16
LONGEST_START = 16
# How each of the formats that are read begins, and what is made of it.
KINDS: dict[str, tuple[re.Pattern[bytes], Parts]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), png_parts),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), jpeg_parts),
    "WEBP": (re.compile(rb"RIFF....WEBP", re.DOTALL), webp_parts),
    "BMP": (re.compile(rb"BM"), bmp_parts),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), tiff_parts),
    "GIF": (re.compile(rb"GIF8[79]a"), gif_parts),
    "AVIF": (re.compile(rb"....ftyp(?:avi[fs]|mif1|msf1)", re.DOTALL), avif_parts),
}


class ImageStream(io.RawIOBase):
    """The parts of a file that make pixels, as one stream. They are located only when they are
    read, so that finding the size takes no time.
    """

    def __init__(self, file: ImageBytes, parts: Iterator[Part]):
        super().__init__()
        self.file, self.more = file, parts
        self.parts: list[Part] = []
        self.starts: list[int] = []
        self.known = 0  # bytes of the parts so far
        self.place = 0

    def look(self, end: int) -> None:
        """Find parts up to a place."""
        while self.known < end and (part := next(self.more, None)) is not None:
            if len(part):
                self.parts.append(part)
                self.starts.append(self.known)
                self.known += len(part)

    def look_to_end(self) -> None:
        """Find all parts."""
        while (known := self.known) or not self.parts:
            self.look(known + 1)
            if self.known == known:
                return

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        if whence == io.SEEK_END:
            self.look_to_end()
        self.place = offset + {io.SEEK_CUR: self.place, io.SEEK_END: self.known}.get(whence, 0)
        return self.place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it."""
        self.look(self.place + 1)
        if self.place >= self.known:
            return 0
        number = bisect_right(self.starts, self.place) - 1
        start = self.place - self.starts[number]
        found = self.parts[number][start : start + len(buffer)]
        if isinstance(found, range):
            found = self.file.at(found.start, len(found))
        buffer[: len(found)] = found
        self.place += len(found)
        return len(found)

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on, or all of them, joined without a second copy."""
        if size < 0:
            self.look_to_end()
            size = self.known - self.place
        held = io.BytesIO(bytes(max(size, 0)))
        done = 0
        with held.getbuffer() as view:
            while done < size and (n := self.readinto(view[done : done + BUFFER])):
                done += n
        held.truncate(done)
        return held.getvalue()


@contextmanager
def opened_image(path: Path) -> Iterator[tuple[Image.Image, Facts, ImageStream]]:
    """An image as Pillow opens it, given only the parts that make pixels; ValueError if the file
    is not an image.
    """
    if not is_file(path):
        raise ValueError("it is not a regular file")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    with path.open("rb", BUFFER) as file:
        kind, parts = kind_of(file.read(LONGEST_START))
        facts, source = Facts(), ImageBytes(file, size)
        stream = ImageStream(source, parts(source, facts))
        # A TIFF is handed on in one piece; the others are read in small ones.
        given: Any = stream if kind == "TIFF" else io.BufferedReader(stream, BUFFER)
        with Image.open(given, formats=(kind,)) as opened:
            check_sides(opened)
            learn(opened, facts)
            yield opened, facts, stream


def kind_of(start: bytes) -> tuple[str, Parts]:
    """The format of a file by its first bytes."""
    for kind in FORMATS:
        pattern, parts = KINDS[kind]
        if pattern.match(start):
            return kind, parts
    raise UnidentifiedImageError


def check_sides(opened: Image.Image) -> None:
    """Refuse an image that is wider or higher than a decoder should be given."""
    width, height = opened.size
    if min(width, height) < 1 or max(width, height) > MOST_SIDE:
        raise ValueError(
            f"it is {width} x {height} pixels, but each side must have 1 to {MOST_SIDE}; crop it"
        )


def learn(opened: Image.Image, facts: Facts) -> None:
    """Learn what only Pillow can find in files whose parts are not examined."""
    facts.profile |= bool(opened.info.get("icc_profile"))
    facts.several |= getattr(opened, "n_frames", 1) > 1
    facts.turned(in_exif(opened.info.get("exif", b"")[:LONGEST]))
    facts.turned(in_xmp(opened.info.get("xmp", b"")[:LONGEST]))
