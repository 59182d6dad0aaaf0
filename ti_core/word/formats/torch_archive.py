"""Writes files as older versions of torch.save did, and nothing that was added since: AUTOMATIC1111
refuses an archive that contains more than `data.pkl`, `version` and the values, and a pickle with
other names.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

ROOT = "archive"
VERSION = b"3\n"
PROTOCOL = 2
STORAGES = {torch.float32: torch.FloatStorage, torch.float16: torch.HalfStorage}
UNIX = 3  # What made the archive: the same on every system, as the date of each entry is.


class Values(NamedTuple):
    """A tensor's values as the pickle refers to them: by their number in the archive."""

    tensor: Tensor
    number: int


class TensorPickler(pickle.Pickler):
    """Pickles dicts, texts, numbers and tensors; their values go into `values`."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, PROTOCOL)
        self.values: list[Tensor] = []

    def reducer_override(self, obj: Any) -> Any:
        """How the pickle rebuilds a tensor from its values, as in torch."""
        if not isinstance(obj, Tensor):
            return NotImplemented
        self.values.append(obj)
        values = Values(obj, len(self.values) - 1)
        shape, steps = tuple(obj.shape), obj.stride()
        return _rebuild_tensor_v2, (values, 0, shape, steps, False, OrderedDict())

    def persistent_id(self, obj: Any) -> Any:
        """The reference that the pickle holds instead of values."""
        if type(obj) is not Values:
            return None
        kind = STORAGES[obj.tensor.dtype]
        return "storage", kind, str(obj.number), "cpu", obj.tensor.numel()


def archive_bytes(data: object) -> bytes:
    """A torch file of the contiguous CPU tensors in `data`; the bytes are the same each time."""
    pickled = io.BytesIO()
    pickler = TensorPickler(pickled)
    pickler.dump(data)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        put(archive, "data.pkl", pickled.getvalue())
        for number, values in enumerate(pickler.values):
            put(archive, f"data/{number}", values.numpy().tobytes())
        put(archive, "version", VERSION)
    return whole.getvalue()


def put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """One entry, without the time and the system of its writing."""
    entry = zipfile.ZipInfo(f"{ROOT}/{name}")
    entry.create_system = UNIX
    archive.writestr(entry, content)
