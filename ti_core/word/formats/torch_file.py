"""Files of torch.save (.pt, .bin, .ckpt), the zip archives of today and the plain files of before
torch 1.6.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .archive import Archive
from .contents import MAX_VALUES, Contents, FileBytes, Stored
from .pickles import Name, PickleReader

MAX_PICKLE = 2 << 20
PLAIN_MAGIC = 0x1950A86A20F9469CFC6C
PLAIN_START = b"\x80\x02\x8a\x0a"
COUNT_SIZE = 8
DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
}
WHOLE = {"LongStorage": 8, "IntStorage": 4, "ShortStorage": 2}  # Bytes per value.
Bytes = Callable[[int, int], bytes]


class TorchStorage:
    """The values behind tensors: `count` of a type, read from the file by byte range."""

    def __init__(self, kind: Name, key: str, count: int, read: Bytes):
        if (type(kind), type(key), type(count)) != (Name, str, int):
            raise ValueError("its pickle describes a tensor's values wrongly")
        self.dtype = DTYPES.get(kind.attribute)
        self.item_size = self.dtype.itemsize if self.dtype else WHOLE.get(kind.attribute, 1)
        self.count = count
        self.read = read


def read_torch_file(path: Path) -> Contents:
    """What torch.save has written."""
    file = FileBytes(path)
    plain = file.at(0, min(file.length, len(PLAIN_START))) == PLAIN_START
    return Contents((read_plain if plain else read_archive)(file), path.stem)


def read_archive(file: FileBytes) -> object:
    """The object of a zip archive."""
    archive = Archive(file)
    pickle = next((name for name in archive.entries if name.endswith("data.pkl")), None)
    if pickle is None or archive.entries[pickle].size > MAX_PICKLE:
        raise ValueError("it is an archive without a pickle of an embedding's size")
    root = pickle.removesuffix("data.pkl")

    def storage(kind: Name, key: str, location: str, count: int, *more: Any) -> TorchStorage:
        return TorchStorage(
            kind, key, count, lambda at, size: archive.read(f"{root}data/{key}", at, size)
        )

    data = archive.read(pickle, 0, archive.entries[pickle].size)
    return PickleReader(storage, stored_tensor).read(io.BytesIO(data))


def read_plain(file: FileBytes) -> object:
    """The object of a file from before torch 1.6: three pickles about the writer, the object's, one
    with the storages' keys, and the storages, each behind its number of values.
    """
    starts: dict[str, int] = {}
    kinds: dict[str, TorchStorage] = {}

    def storage(kind: Name, key: str, location: str, count: int, *more: Any) -> TorchStorage:
        made = TorchStorage(kind, key, count, lambda at, size: file.at(starts[key] + at, size))
        return kinds.setdefault(key, made)

    stream = io.BytesIO(file.at(0, min(file.length, MAX_PICKLE)))
    magic, *_, data, keys = (PickleReader(storage, stored_tensor).read(stream) for _ in range(5))
    listed = isinstance(keys, list) and all(type(key) is str and key in kinds for key in keys)
    if magic != PLAIN_MAGIC or not listed:
        raise ValueError("it is not a file written by torch")
    at = stream.tell()
    for key in keys:
        (count,) = struct.unpack("<q", file.at(at, COUNT_SIZE))
        starts[key] = at + COUNT_SIZE
        at = starts[key] + max(count, 0) * kinds[key].item_size
    return data


def stored_tensor(storage: TorchStorage, offset: int, size: Any, stride: Any, *more: Any) -> Stored:
    """A tensor as torch describes it: from `offset` on, `stride` apart, within its storage."""
    numbers = [offset, *size, *stride]
    if not all(type(number) is int and number >= 0 for number in numbers) or (
        len(size) != len(stride)
    ):
        raise ValueError("a tensor has a negative or damaged shape")
    return Stored(tuple(size), lambda: read_values(storage, offset, tuple(size), tuple(stride)))


def read_values(
    storage: TorchStorage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    """Read a tensor's values, at most `MAX_VALUES` of them and of those that lie between."""
    if storage.dtype is None:
        raise ValueError("a tensor holds whole numbers instead of vectors")
    span = 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if span > MAX_VALUES or offset + span > storage.count:
        raise ValueError("a tensor reaches beyond the values that are stored for it")
    data = bytearray(storage.read(offset * storage.item_size, span * storage.item_size))
    return torch.frombuffer(data, dtype=storage.dtype).as_strided(size, stride).clone()
