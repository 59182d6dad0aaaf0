"""Empty modules in place of what is heavy in a foreign tool, while its loading code is imported."""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Anything(ABCMeta):
    """A class that has every name, can be called with anything, and can be a base beside others."""

    def __getattr__(cls, name: str) -> Any:
        return anything(name)


class Blank(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        return anything(name)


def anything(name: str) -> Any:
    """What an empty module gives for a name."""
    if name.startswith("__"):
        raise AttributeError(name)
    body = {
        "__init__": lambda *values, **options: None,
        "__call__": lambda itself, decorated=None, *values, **options: decorated,
        "__getattr__": lambda itself, wanted: anything(wanted),
    }
    return Anything(name, (), body)


class StandIns(MetaPathFinder, Loader):
    """Gives an empty module for each of some names, and for what lies below them, but not for those
    that are kept; with the contents that are set for it.
    """

    def __init__(self, names: Sequence[str], kept: Sequence[str], contents: Mapping[str, Any]):
        self.names, self.kept, self.contents = names, kept, contents

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if not below(fullname, self.names) or below(fullname, self.kept):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Blank(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.contents.get(module.__name__, {}))


def below(name: str, roots: Sequence[str]) -> bool:
    """Whether a module is one of some, or lies inside one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def replace(
    *names: str, kept: Sequence[str] = (), contents: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Have these modules, and those below them, imported as empty ones, but for those that are
    kept; `contents` says what stands in some of them.
    """
    sys.meta_path.insert(0, StandIns([*names, *(contents or {})], kept, contents or {}))
