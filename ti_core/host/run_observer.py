"""Who watches a run: the monitor on the page, or nobody."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ..training.run import RunState
from .faults import Faults
from .page.monitor import Phase, Vectors

log = logging.getLogger(__name__)

PAGE = "The page could not show the training"
CALLS = (
    *("on_step", "tell", "enter", "resumed", "stored_at", "previewed"),
    *("should_stop", "should_preview"),
)


class RunObserver(Protocol):
    """What `learn` calls during a run. `about` is stored in its checkpoints."""

    about: Mapping[str, str]

    def on_step(self, state: RunState) -> None:
        """The state before the first step, and after each step."""

    def tell(self, text: str) -> None:
        """A message for the user."""

    def enter(self, phase: Phase) -> None:
        """The run begins another phase."""

    def resumed(self, state: RunState, words: Mapping[int, Vectors]) -> None:
        """The run starts from a stored state; `words` are the vectors of its stored steps."""

    def stored_at(self, step: int, name: str) -> None:
        """A checkpoint of that step is stored (0: none yet), in the run's folder of that name."""

    def previewed(self, problem: str) -> None:
        """A preview is finished, or failed with that problem."""

    def should_stop(self) -> bool:
        """Whether to stop after this step."""
        ...

    def should_preview(self) -> bool:
        """Whether to generate a preview after this step."""
        ...


class Unobserved:
    """Observes nothing and logs messages; a base for observers that need only some of the calls."""

    about: Mapping[str, str] = {}

    def on_step(self, state: RunState) -> None: ...

    def tell(self, text: str) -> None:
        log.warning(text)

    def enter(self, phase: Phase) -> None: ...

    def resumed(self, state: RunState, words: Mapping[int, Vectors]) -> None: ...

    def stored_at(self, step: int, name: str) -> None: ...

    def previewed(self, problem: str) -> None: ...

    def should_stop(self) -> bool:
        return False

    def should_preview(self) -> bool:
        return False


class Guarded(Unobserved):
    """An observer whose errors do not end the training: they are noted in `faults`."""

    def __init__(self, observer: RunObserver, faults: Faults):
        self.about = observer.about
        for name in CALLS:
            call: Any = faults.harmless(getattr(observer, name), None, PAGE)
            setattr(self, name, call)
        faults.tell = self.tell
