"""Errors outside the training itself, none of which may end it."""

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from torch import Tensor

from ..store.run_store import RunStore
from ..training.run import RunState
from .models.compatibility import is_interrupt

log = logging.getLogger(__name__)

Values = ParamSpec("Values")
Result = TypeVar("Result")
STORE = "The run could not be stored or resumed as usual"


class Faults:
    """Errors outside the training itself: each kind is logged and noted once, and none ends it."""

    def __init__(self, tell: Callable[[str], None] = lambda text: None):
        self.notes: list[str] = []
        self.tell = tell

    def note(self, what: str, error: BaseException) -> None:
        """Note that something failed."""
        why = str(error).partition("\n")[0] or type(error).__name__
        text = f"{what} ({why}). The training is not affected."
        if not any(note.startswith(f"{what} (") for note in self.notes):
            log.warning(text, exc_info=error)
            self.notes.append(text)
            self.tell(text)

    def harmless(
        self, call: Callable[Values, Result], otherwise: Result, what: str
    ) -> Callable[Values, Result]:
        """`call`, but returning `otherwise` if it fails; the host's Cancel passes through."""

        @wraps(call)
        def guarded(*values: Values.args, **named: Values.kwargs) -> Result:
            try:
                return call(*values, **named)
            except Exception as error:
                if is_interrupt(error):
                    raise
                self.note(what, error)
                return otherwise

        return guarded


class HarmlessStore:
    """The store of a run, of which no error ends the training. A context manager around it."""

    def __init__(self, store: RunStore, faults: Faults):
        self.own = store
        self.open = faults.harmless(store.__enter__, store, STORE)
        self.close = faults.harmless(store.__exit__, None, STORE)
        self.load = faults.harmless(store.load, None, STORE)
        self.words: Callable[[Mapping[str, Tensor], int], dict[int, dict[str, Tensor]]]
        self.words = faults.harmless(store.words, {}, STORE)
        self.probe = faults.harmless(store.probe, None, STORE)
        self.save: Callable[[RunState], None] = faults.harmless(store.save, None, STORE)
        self.findings = faults.harmless(store.findings, [], STORE)

    def __enter__(self) -> "HarmlessStore":
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(kind, error, trace)

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.own.folder

    @property
    def newest(self) -> int | None:
        """The step of the last checkpoint."""
        return self.own.newest

    @property
    def stores(self) -> bool:
        """Whether anything is stored at all."""
        return self.own.lock is not None
