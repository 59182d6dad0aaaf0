"""What a file holds, before a layout says what it means."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

# An embedding of 75 vectors for every encoder of the largest models stays far below this.
MAX_VALUES = 1 << 22


class FileBytes:
    """The bytes of a file, by range; the file is open only while it is read."""

    def __init__(self, path: Path):
        self.path = path
        self.length = path.stat().st_size

    def at(self, start: int, size: int) -> bytes:
        """Some bytes of the file; ValueError where they would lie outside."""
        if start < 0 or size < 0 or start + size > self.length:
            raise ValueError("parts of it are missing; the file is damaged or cut off")
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)


@dataclass(frozen=True)
class Stored:
    """A tensor of a file: its shape, and a function that reads its values when they are wanted."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    def rows(self) -> Tensor:
        """The values as fp32 rows `[n, dim]`; ValueError unless they can be an embedding's."""
        count, width = (1, *self.shape)[-2:] if len(self.shape) in (1, 2) else (0, 0)
        if not 0 < count * width <= MAX_VALUES:
            raise ValueError(
                f"it holds a tensor of shape {list(self.shape)[:8]} instead of vectors [n, width] "
                f"with at most {MAX_VALUES} values"
            )
        read = self.read()
        if not read.is_floating_point():
            raise ValueError("it holds whole numbers instead of vectors")
        rows = read.float().reshape(count, width)
        if not rows.isfinite().all():
            raise ValueError("its vectors hold NaN or infinite values, so its training had failed")
        return rows


@dataclass(frozen=True)
class Contents:
    """Dicts and lists of `Stored` tensors and plain values, with the file's metadata and stem."""

    data: object
    stem: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Stored]:
        """The tensors at the top level, by name; empty if there is anything else but tensors."""
        if not isinstance(self.data, dict):
            return {}
        named = dict(string_items(self.data))
        tensors = {name: kept for name, kept in named.items() if isinstance(kept, Stored)}
        return tensors if len(tensors) == len(named) else {}


@dataclass(frozen=True)
class Draft:
    """One word as a layout finds it: tensors with their encoder keys (None where only the width
    tells), and facts about how they were made.
    """

    name: str
    tensors: tuple[tuple[str | None, Stored], ...]
    facts: Mapping[str, object] = field(default_factory=dict)


def string_items(data: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """The entries of a dict whose keys are text."""
    return ((key, value) for key, value in data.items() if isinstance(key, str))
