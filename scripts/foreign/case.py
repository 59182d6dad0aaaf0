"""A file that a foreign tool is given, and what may come of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor


class Case(NamedTuple):
    """The files of one word, alone in a folder, and the widths of a model's text encoders by our
    keys.
    """

    files: list[Path]
    widths: dict[str, int]
    word: str

    @property
    def folder(self) -> str:
        """Where the files lie."""
        return str(self.files[0].parent)

    def is_for(self, *keys: str) -> bool:
        """Whether the model has these text encoders and no other."""
        return set(keys) == set(self.widths)


class ImageInfo(NamedTuple):
    """Vectors by encoder key, as the tool puts them before its text encoders; and how it was asked,
    where it needs more than the file.
    """

    vectors: Mapping[str, Tensor]
    asked: str = ""


class Refused(Exception):
    """The tool does not take the file; the message has its own words."""


class NoPlace(Exception):
    """The tool has no embeddings for such models."""


Load = Callable[[Case], ImageInfo]


def modules_of(checkout: Path, *names: str) -> list[Any]:
    """Modules of a checkout."""
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return [importlib.import_module(name) for name in names]
