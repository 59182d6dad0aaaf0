"""The previews of a run: when they are drawn, and what is told of those that fail."""

from collections.abc import Callable

from ..training.run import Keep, RunState
from .faults import Faults
from .models.host_model import HostModel
from .page.previews import PREVIEWS, Previews, problem_of
from .run_observer import RunObserver


class RunPreviews:
    """Draws the word with the graph's own models between two steps of a training on them, if there
    is anything to draw it with; `missed` is why it could not be drawn, by the step.
    """

    def __init__(self, previews: Previews | None, observer: RunObserver, faults: Faults):
        self.own, self.observer = previews, observer
        self.due = faults.harmless(previews.due, False, PREVIEWS) if previews else None
        self.missed: dict[int, str] = {}

    def draw(self, frozen: HostModel, state: RunState) -> None:
        """Draw the word after a step, if it is due or somebody asks for it."""
        asked = self.observer.should_preview()
        if self.own is None or self.due is None:
            if asked:
                self.observer.previewed(f"{PREVIEWS} of this model.")
            return
        due = self.due(state.step)
        if due or asked:
            draw = self.own if due else self.own.ask
            self.drawn(frozen, self.own, state, lambda: draw(state.step, state.mean))

    def finish(self, frozen: HostModel, state: RunState, keep: Keep) -> None:
        """Draw the word that the run gives, where it was drawn in turn."""
        previews = self.own
        if previews and previews.regular:
            self.drawn(frozen, previews, state, lambda: previews.finish(state, keep))

    def drawn(
        self, frozen: HostModel, previews: Previews, state: RunState, draw: Callable[[], None]
    ) -> None:
        """Let the graph's own models be used for an image, and tell what came of it."""
        self.observer.enter("drawing")
        previews.problem = None
        with frozen.set_aside():
            problem = problem_of(draw, state.step) or previews.problem
        if problem:
            if not self.missed:
                self.observer.tell(problem)
            self.missed[state.step] = problem
        self.observer.previewed(problem or "")

    def findings(self) -> list[str]:
        """What the report says of previews that could not be drawn."""
        texts = list(self.missed.values())
        if len(texts) > 1:
            last = list(self.missed)[-1]
            texts[0] += f" {len(texts) - 1} more failed as well, the last at step {last}."
        return texts[:1]
