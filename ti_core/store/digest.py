"""A digest of plain values that is the same in every process."""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


class Digest:
    """SHA-256 of plain values: the same for equal values, in every process."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def add(self, value: object) -> None:
        """Take in numbers, texts, tensors, and mappings, sequences and dataclasses of these."""
        if isinstance(value, Tensor):
            self.tagged(f"tensor {value.dtype} {tuple(value.shape)}", raw_bytes(value))
        elif isinstance(value, Mapping):
            self.several("mapping", [(name, value[name]) for name in sorted(value)])
        elif is_dataclass(value) and not isinstance(value, type):
            self.several(type(value).__name__, [getattr(value, one.name) for one in fields(value)])
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            self.several("sequence", value)
        elif value is None or isinstance(value, bool | int | float | str | bytes):
            self.tagged(type(value).__name__, repr(value).encode())
        else:
            raise TypeError(f"No digest of a {type(value).__name__}.")

    def several(self, kind: str, values: Sequence[object]) -> None:
        """Take in values that belong together."""
        self.tagged(kind, struct.pack("<Q", len(values)))
        for value in values:
            self.add(value)

    def tagged(self, kind: str, data: bytes | memoryview) -> None:
        """Take in bytes, with what they are and how many."""
        self.hash.update(f"{kind}:{len(data)}:".encode())
        self.hash.update(data)


def digest_of(*values: object) -> str:
    """SHA-256 of values, in hexadecimal digits."""
    digest = Digest()
    digest.several("values", values)
    return digest.hash.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as they lie in memory."""
    array: Any = bytes_of(tensor.detach().to("cpu")).numpy()
    return memoryview(array) if tensor.numel() else memoryview(b"")


def bytes_of(tensor: Tensor) -> Tensor:
    """The same as a tensor, where the tensor is."""
    flat = tensor.contiguous().reshape(-1)
    if len(flat) == 1:  # Contiguous to torch, whatever its stride.
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)
