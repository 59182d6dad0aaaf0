"""Files of torch.save (.pt, .bin, .ckpt), the zip archives of today and the plain files of before
torch 1.6.
"""

import io
import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .archive import Archive
from .budget import Budget
from .contents import Contents, FileBytes, Stored, tensor_of
from .mistaken import Mistaken, said_of_archive
from .pickles import Name, PickleReader

MAX_PICKLE = 2 << 20
MAX_AXES = 4
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


def read_torch_file(file: FileBytes) -> Contents:
    """What torch.save has written."""
    plain = file.at(0, min(file.length, len(PLAIN_START))) == PLAIN_START
    return Contents((read_plain if plain else read_archive)(file), file)


def read_archive(file: FileBytes) -> object:
    """The object of a zip archive."""
    archive = Archive(file)
    pickle = next((name for name in archive.entries if name.endswith("data.pkl")), None)
    if pickle is None:
        raise Mistaken(said_of_archive(list(archive.entries)))
    if archive.entries[pickle].size > MAX_PICKLE:
        raise Mistaken(
            "it describes more tensors than an embedding: it is a model. Choose another file"
        )
    root = pickle.removesuffix("data.pkl")

    def storage(kind: Name, key: str, location: str, count: int, *more: Any) -> TorchStorage:
        return TorchStorage(
            kind, key, count, lambda *span: archive.read(f"{root}data/{key}", *span)
        )

    data = archive.read(pickle, 0, archive.entries[pickle].size)
    file.budget.spend("letters", len(data))
    return PickleReader(storage, partial(stored_tensor, file.budget), file.budget).read(
        io.BytesIO(data)
    )


def read_plain(file: FileBytes) -> object:
    """The object of a file from before torch 1.6: three pickles about the writer, the object's, one
    with the storages' keys, and the storages, each behind its number of values.
    """
    starts: dict[str, int] = {}
    kinds: dict[str, TorchStorage] = {}

    def values(key: str, at: int, size: int) -> bytes:
        if key not in starts:
            raise ValueError("the values of a tensor are missing; the file is damaged or cut off")
        return file.at(starts[key] + at, size)

    def storage(kind: Name, key: str, location: str, count: int, *more: Any) -> TorchStorage:
        made = TorchStorage(kind, key, count, partial(values, key))
        return kinds.setdefault(key, made)

    stream = io.BytesIO(file.at(0, min(file.length, MAX_PICKLE)))
    reader = PickleReader(storage, partial(stored_tensor, file.budget), file.budget)
    magic, *_, data, keys = (reader.read(stream) for _ in range(5))
    file.budget.spend("letters", stream.tell())
    listed = isinstance(keys, list) and all(type(key) is str and key in kinds for key in keys)
    if magic != PLAIN_MAGIC or not listed or len(set(keys)) < len(keys):
        raise ValueError("it is not a file written by torch")
    at = stream.tell()
    for key in keys:
        (count,) = struct.unpack("<q", file.at(at, COUNT_SIZE))
        if count != kinds[key].count:
            raise ValueError("a tensor's values are not as many as its pickle says")
        starts[key] = at + COUNT_SIZE
        at = starts[key] + count * kinds[key].item_size
    return data


def stored_tensor(
    budget: Budget, storage: TorchStorage, offset: int, size: Any, stride: Any, *more: Any
) -> Stored:
    """A tensor as torch describes it: from `offset` on within its storage."""
    if type(storage) is not TorchStorage or not type(size) is type(stride) is tuple:
        raise ValueError("its pickle describes a tensor wrongly")
    if not len(size) == len(stride) <= MAX_AXES or not all(
        type(number) is int and number >= 0 for number in (offset, *size, *stride)
    ):
        raise ValueError("a tensor has a negative or damaged shape")
    return Stored(size, lambda: read_values(storage, offset, size, stride), budget)


def read_values(
    storage: TorchStorage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    """A tensor's values, as many as are stored for it."""
    if storage.dtype is None:
        raise ValueError("a tensor holds whole numbers instead of vectors")
    if not is_contiguous(size, stride):
        raise ValueError("the values of a tensor do not lie one behind the other")
    count = math.prod(size)
    if offset + count > storage.count:
        raise ValueError("a tensor reaches beyond the values that are stored for it")
    data = storage.read(offset * storage.item_size, count * storage.item_size)
    return tensor_of(data, storage.dtype, size)


def is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether values lie one behind the other; the step of an axis of one says nothing."""
    steps = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
    return all(
        count == 1 or step == wanted
        for count, step, wanted in zip(size, stride, steps, strict=True)
    )
