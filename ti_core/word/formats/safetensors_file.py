"""Safetensors files, read tensor by tensor."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .contents import Contents, Stored

MAX_HEADER = 4 << 20


def read_safetensors(path: Path) -> Contents:
    """Names and metadata of a safetensors file; the library checks that tensors lie inside."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER:
        raise ValueError(f"its header claims {header} bytes, more than an embedding's could take")
    try:
        with safe_open(path, "pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"its safetensors header is damaged ({error})") from error
    data = {
        name: Stored(shape, lambda n=name: read_tensor(path, n)) for name, shape in shapes.items()
    }
    return Contents(data, path.stem, metadata)


def read_tensor(path: Path, name: str) -> Tensor:
    """One tensor of the file."""
    with safe_open(path, "pt") as opened:
        return opened.get_tensor(name).clone()  # The clone does not keep the file mapped.
