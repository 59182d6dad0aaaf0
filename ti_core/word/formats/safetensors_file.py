"""Safetensors files: a JSON header with the places of the tensors, and their values behind it."""

import hashlib
import re
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .contents import CHANGED, Contents, FileBytes, Stored, json_of, tensor_of
from .recipe import HASH

LENGTH = 8
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
}
METADATA = "__metadata__"
DAMAGED = "its safetensors header is damaged"
DIGEST = re.compile(r"(?:0x)?([0-9a-f]{64})", re.IGNORECASE)
PIECE = 1 << 20
MAX_HASHED = 16 << 20


def is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a header that a file can have, and the header."""
    return start[LENGTH : LENGTH + 1] == b"{" and start[LENGTH - 3 : LENGTH] == b"\0\0\0"


class Place(NamedTuple):
    """Where the values of a tensor lie, behind the header, and what they are."""

    start: int
    end: int
    kind: str
    shape: tuple[int, ...]


def read_safetensors(file: FileBytes) -> Contents:
    """Names and metadata of a safetensors file; the values are read when they are wanted."""
    size = int.from_bytes(file.at(0, LENGTH), "little")
    header = json_of(file.at(LENGTH, size), file.budget)
    if not isinstance(header, dict):
        raise ValueError(DAMAGED)
    metadata = header.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(type(text) is str for text in metadata.values()):
        raise ValueError(f"{DAMAGED} (its metadata is not text)")
    places = {name: place_of(entry) for name, entry in header.items()}
    values = LENGTH + size
    check_order(places.values(), file.length - values)
    check_hash(file, values, sorted(places.values()), metadata)
    tensors = {name: stored(file, values, place) for name, place in places.items()}
    return Contents(tensors, file, metadata)


def place_of(entry: Any) -> Place:
    """The place that a header's entry tells; ValueError where it tells none."""
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    kind, shape, ends = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if isinstance(kind, str) and isinstance(shape, list) and isinstance(ends, list):
        if len(ends) == 2 and all(map(is_count, [*shape, *ends])):
            return Place(ends[0], ends[1], kind, tuple(shape))
    raise ValueError(f"{DAMAGED} (a tensor's type, shape or place)")


def is_count(number: object) -> bool:
    """Whether it is a whole number from 0 on."""
    return type(number) is int and number >= 0


def check_order(places: Collection[Place], size: int) -> None:
    """Raise ValueError unless the tensors lie one behind the other and fill the file."""
    wanted = max((place.end for place in places), default=0)
    if wanted > size:
        raise ValueError(
            f"it is cut off: {wanted - size} of the {wanted} bytes of its values are missing"
        )
    spans = [(0, 0), *sorted((place.start, place.end) for place in places), (size, size)]
    if any(end != start for (_, end), (start, _) in pairwise(spans)):
        raise ValueError("parts of it are missing or overlap; the file is damaged")


def stored(file: FileBytes, values: int, place: Place) -> Stored:
    """A tensor, unread."""
    return Stored(place.shape, lambda: read_tensor(file, values, place), file.budget)


def read_tensor(file: FileBytes, values: int, place: Place) -> Tensor:
    """The values of a tensor."""
    if place.kind not in DTYPES:
        raise ValueError(f"it holds numbers of the type {place.kind[:20]} instead of vectors")
    data = file.at(values + place.start, place.end - place.start)
    return tensor_of(data, DTYPES[place.kind], place.shape)


def check_hash(
    file: FileBytes, values: int, places: list[Place], metadata: Mapping[str, str]
) -> None:
    """Note where the values are not those of the hash in the metadata. It is that of the file
    behind its header, or of the tensors in the order that the trainer had them in, as kohya's
    scripts take it: with two tensors, that may be the other one.
    """
    stored_hash = DIGEST.fullmatch(metadata.get(HASH, ""))
    if stored_hash is None:
        return
    if file.length - values > MAX_HASHED:
        file.note(f"The hash in the file was not checked: it has over {MAX_HASHED} bytes.")
    elif all(
        digest(file, values, order) != stored_hash[1].lower() for order in (places, places[::-1])
    ):
        file.note(CHANGED.format("the hash in its metadata is that of other values."))


def digest(file: FileBytes, values: int, places: list[Place]) -> str:
    """SHA-256 of tensors, one after the other."""
    found = hashlib.sha256()
    for place in places:
        for at in range(place.start, place.end, PIECE):
            found.update(file.at(values + at, min(PIECE, place.end - at)))
    return found.hexdigest()
