"""What a file holds, before a layout says what it means."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .budget import Budget

MAX_FILE = 2 << 30  # A LoRA of the largest models, with words in it, stays below.
MAX_JSON = 4 << 20
HELD = 1 << 20  # A file up to this size is read once and held.
NUMBERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
PLAIN = (str, int, float, type(None))
CHANGED = "The file has changed since it was written: {} Download it again."


class FileBytes:
    """The bytes of a file, by range, with the budget that reading draws on and the notes on what
    was noticed; the file is open only while it is read.
    """

    def __init__(self, path: Path):
        self.path = path
        self.length = path.stat().st_size
        self.budget = Budget()
        self.notes: list[str] = []
        self.held: bytes | None = None

    def at(self, start: int, size: int) -> bytes:
        """Some bytes of the file; ValueError where they would lie outside."""
        if start < 0 or size < 0 or start + size > self.length:
            raise ValueError("parts of it are missing; the file is damaged or cut off")
        self.budget.spend("bytes", size)
        if self.length > HELD:
            return self.read(start, size)
        if self.held is None:
            self.held = self.read(0, self.length)
        return self.held[start : start + size]

    def read(self, start: int, size: int) -> bytes:
        """Some bytes from the disk."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def note(self, text: str) -> None:
        """Tell something of the file, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True)
class Stored:
    """A tensor of a file: its shape, and a function that reads its values when they are wanted."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    budget: Budget

    def rows(self) -> Tensor:
        """The values as fp32 rows `[n, dim]`; ValueError unless they can be an embedding's."""
        count, width = (1, *self.shape)[-2:] if len(self.shape) in (1, 2) else (0, 0)
        if count <= 0 or width <= 0:
            raise ValueError(
                f"it holds a tensor of shape {list(self.shape)[:8]} instead of vectors [n, width]"
            )
        self.budget.spend("values", count * width)
        rows = self.read().float().reshape(count, width)
        if not rows.isfinite().all():
            raise ValueError("its vectors hold NaN or infinite values, so its training had failed")
        return rows


@dataclass(frozen=True)
class Contents:
    """Dicts and lists of `Stored` tensors and plain values, with the file's metadata."""

    data: object
    file: FileBytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_image: bool = False

    @property
    def tensors(self) -> dict[str, Stored]:
        """The tensors at the top level, by name; empty if there is anything else but these and
        plain values, such as a name and a number of steps.
        """
        if not isinstance(self.data, dict):
            return {}
        items = string_items(self.data)
        named = {name: kept for name, kept in items if not isinstance(kept, PLAIN)}
        tensors = {name: kept for name, kept in named.items() if isinstance(kept, Stored)}
        return tensors if len(tensors) == len(named) else {}


@dataclass(frozen=True)
class Draft:
    """One word as a layout finds it: tensors with what the file calls their encoders (None where
    only the width tells), and facts about how they were made. `beside` says that the file is that
    of something else, as of a LoRA; `file` is the one whose name counts, if it is not the file at
    hand; `outside` are the encoders for which the file has vectors that stand behind them.
    """

    name: str
    tensors: tuple[tuple[str | None, Stored], ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    beside: bool = False
    file: Path | None = None
    outside: frozenset[str | None] = frozenset()


def string_items(data: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """The entries of a dict whose keys are text."""
    return ((key, value) for key, value in data.items() if isinstance(key, str))


def tensor_of(data: bytes, kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Bytes as a tensor; ValueError unless there are just as many as the shape needs."""
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError("a tensor reaches beyond the values that are stored for it")
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)


def json_of(
    written: bytes,
    budget: Budget,
    hook: Callable[[dict[str, object]], object] | None = None,
) -> object:
    """The object of a JSON text, whose parts and entries are counted before it is made."""
    if len(written) > MAX_JSON:
        raise ValueError(f"its content takes {len(written)} bytes, more than an embedding's could")
    budget.spend("letters", len(written))
    quotes = written.count(b'"') - written.count(b'\\"')
    budget.spend("parts", quotes + written.count(b"[") + written.count(b"{"))
    budget.spend("entries", written.count(b","))
    try:
        return json.loads(written, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its content is damaged ({str(error)[:120]})") from error
