"""The bytes of an image file by range, and facts about the file found on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

Part: TypeAlias = bytes | range  # What is put in, or where it lies in the file.

MOST_PARTS = 1 << 16  # chunks, markers, blocks or strips of a file
PIECE = 1 << 20  # bytes looked through at a time


@dataclass
class Facts:
    """Facts from the parts of a file that are not pixels: how the camera was held (EXIF's number),
    whether there is a color profile, whether more frames or pages follow, and whether the decoder
    holds the whole image until its last scan.
    """

    orientation: int = 0
    profile: bool = False
    several: bool = False
    gathered: bool = False

    def turned(self, orientation: int) -> None:
        """Keep the first orientation that a file gives."""
        self.orientation = self.orientation or orientation


class ImageBytes:
    """An open file that counts its parts as they are read."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size, self.parts = file, size, 0

    def at(self, start: int, size: int) -> bytes:
        """Bytes of the file; ValueError if they would lie outside it."""
        self.file.seek(start)
        found = self.file.read(size) if start + size <= self.size else b""
        if len(found) < size:
            raise ValueError("parts of it are missing; it is damaged or cut off")
        return found

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, a piece at a time."""
        for at in range(start, end, PIECE):
            yield self.at(at, min(PIECE, end - at))

    def count(self, parts: int = 1, most: int = MOST_PARTS) -> None:
        """Raise ValueError for a file of more parts than an image has."""
        self.parts += parts
        if self.parts > most:
            raise ValueError(
                f"it has more than {most} parts, which no camera or program writes; open it in an "
                f"image editor and save it again"
            )


Parts: TypeAlias = Callable[[ImageBytes, Facts], Iterator[Part]]
