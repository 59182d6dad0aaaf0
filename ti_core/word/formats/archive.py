"""The zip archives that torch.save writes: read without decompression, within the file's bounds."""

import struct
import zlib
from typing import NamedTuple

from .budget import Budget
from .contents import CHANGED, FileBytes

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL_SIZE = 30
UNKNOWN = 0xFFFFFFFF
NO_CHECKSUM = 0  # torch writes that if it is told to compute none.


class Entry(NamedTuple):
    """Where the bytes of a file inside the archive lie, their CRC-32, and whether they lie there as
    they are.
    """

    header: int
    size: int
    checksum: int
    plain: bool


class Archive:
    """The entries of a zip archive; only stored ones, as torch writes them, can be read."""

    def __init__(self, file: FileBytes):
        self.file = file
        self.entries = dict(read_entries(self.directory(), file.budget))

    def directory(self) -> bytes:
        """The central directory, whose bounds stand in the last 22 bytes, or, in zip64, in a record
        that is named there.
        """
        signature, *_, size, start, comment = END.unpack(
            self.file.at(self.file.length - END.size, END.size)
        )
        if signature != b"PK\5\6" or comment:
            raise ValueError("it is cut off, or not an archive written by torch")
        if UNKNOWN in (size, start):
            before = self.file.length - END.size - LOCATOR64.size
            _, _, record, _ = LOCATOR64.unpack(self.file.at(before, LOCATOR64.size))
            *_, size, start = END64.unpack(self.file.at(record, END64.size))
        self.file.budget.spend("letters", size)
        return self.file.at(start, size)

    def read(self, name: str, start: int, size: int) -> bytes:
        """Some bytes of an entry; a checksum that does not fit is noted, if all of it is read."""
        if name not in self.entries:
            raise ValueError(f"the part '{name[:80]}' is missing")
        entry = self.entries[name]
        if not entry.plain:
            raise ValueError("it is compressed or damaged, and not an archive written by torch")
        if start < 0 or size < 0 or start + size > entry.size:
            raise ValueError("a tensor reaches beyond the values that are stored for it")
        lengths = struct.unpack("<2H", self.file.at(entry.header, LOCAL_SIZE)[-4:])
        data = self.file.at(entry.header + LOCAL_SIZE + sum(lengths) + start, size)
        if size == entry.size and zlib.crc32(data) != entry.checksum != NO_CHECKSUM:
            self.file.note(CHANGED.format("a checksum in it is that of other values."))
        return data


def read_entries(directory: bytes, budget: Budget) -> list[tuple[str, Entry]]:
    """Names and places of a central directory's entries."""
    found, at = [], 0
    while at + ENTRY.size <= len(directory):
        budget.spend("parts", 2)  # Its name and its place.
        fields = ENTRY.unpack_from(directory, at)
        method, checksum, stored, size, header = fields[4], *fields[7:10], fields[-1]
        name_size, extra_size, comment_size = fields[10:13]
        if fields[0] != b"PK\1\2":
            raise ValueError("it is damaged (its list of parts)")
        plain = method == 0 and stored == size and UNKNOWN not in (size, header)
        name = directory[at + ENTRY.size : at + ENTRY.size + name_size].decode(errors="replace")
        found.append((name, Entry(header, size, checksum, plain)))
        at += ENTRY.size + name_size + extra_size + comment_size
    return found
