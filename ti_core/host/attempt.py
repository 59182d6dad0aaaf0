"""An attempt at a run: a training on models that are borrowed in one way, as far as the memory
suffices.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ..concept.concept import Concept
from ..store.run_store import SAVE_EVERY
from ..training.health_checks import check_move, settings_warnings
from ..training.latents import Latents, shape_of
from ..training.loop import train
from ..training.preflight import Preflight, measured_step, preflight_line
from ..training.run import RunState
from ..training.settings import TrainingSettings
from ..word.embedding import Embedding
from .faults import HarmlessStore
from .models.borrow import BorrowSettings, borrowed
from .models.compatibility import is_interrupt
from .models.host_model import HostModel
from .models.memory import out_of_memory, peak_memory, reset_peak, total_memory
from .provenance import about, origin
from .run_observer import RunObserver
from .run_previews import RunPreviews

log = logging.getLogger(__name__)


class Models(NamedTuple):
    """MODEL, CLIP and VAE of a graph."""

    model: ModelPatcher
    clip: CLIP
    vae: Any


@dataclass(frozen=True)
class Run:
    """What all attempts at a run share: what is learned on what and how, who watches it, where it
    is stored, and what is noted on the way.
    """

    models: Models
    concept: Concept
    embedding: Embedding
    settings: TrainingSettings
    observer: RunObserver
    previews: RunPreviews
    store: HarmlessStore
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell the user now, and in the report, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.observer.tell(text)

    def save(self, state: RunState) -> None:
        """Store a state of the run."""
        self.store.save(state)
        if self.store.newest == state.step:
            self.observer.stored_at(state.step, self.store.folder.name)


@dataclass
class Attempt:
    """A run from `state` on (None: from the beginning), on `latents` of the concept's crops and on
    models that are borrowed by `borrowing`. Afterwards `state` is where it has come to,
    `checkpointed` whether parts of the model were computed twice, and `peak` the bytes of memory
    that it took, None where nobody counts them.
    """

    run: Run
    latents: Sequence[Latents]
    borrowing: BorrowSettings
    state: RunState | None
    checkpointed: bool = False
    peak: int | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step if self.state else 0

    def succeeds(self) -> bool:
        """Go on to the end, unless the memory is too small for it; then False."""
        largest = max((shape_of(one) for one in self.latents), key=math.prod)
        model, clip, _ = self.run.models
        self.run.observer.enter("trying")
        reset_peak(model.load_device)
        try:
            with borrowed(model, clip, self.run.embedding, largest, self.borrowing) as frozen:
                self.checkpointed = frozen.checkpointed
                self.preflight(frozen)
                self.train(frozen)
        except Exception as error:
            if is_interrupt(error) or not out_of_memory(error):
                raise
            log.warning("Out of memory at step %d: %s", self.step + 1, error)
            return False
        finally:
            self.peak = peak_memory(model.load_device)
        return True

    def preflight(self, frozen: HostModel) -> None:
        """Warn of settings that cannot work, say what a step takes, and find out whether the memory
        suffices for the largest images before any step is done.
        """
        run, word = self.run, self.run.embedding
        settings, vectors = run.settings, word.vectors
        if self.state is None:
            check_move(settings, vectors, frozen.vocabulary_norms)
            for text in settings_warnings(settings, vectors, frozen.vocabulary_norms):
                run.observer.tell(text)
        else:
            vectors = self.state.vectors
        frozen.watch_streaming()
        seconds = measured_step(
            frozen, run.concept, self.latents, word.placeholder, vectors, settings, run.note
        )
        frozen.check_streaming()
        parts = math.ceil(settings.batch_size / frozen.rows) * settings.accumulation
        streaming = frozen.streamed.per_step(parts)
        found = Preflight(
            seconds, peak_memory(frozen.device), total_memory(frozen.device), frozen.checkpointed
        )
        run.observer.tell(preflight_line(found, settings.schedule.steps - self.step))
        if streaming:
            run.note(streaming)
        frozen.settle(found.peak)

    def train(self, frozen: HostModel) -> None:
        """Train on borrowed models; whatever ends it, its state is stored."""
        run, settings = self.run, self.run.settings
        run.observer.enter("measuring")
        states = train(frozen, run.concept, self.latents, run.embedding, settings, self.state)
        sizes = [shape_of(one) for one in self.latents]
        known = origin(frozen, run.models.model, sizes, settings.objective)
        try:
            for self.state in states:
                self.state.origin = self.state.origin or known
                self.state.about = about(run.embedding, settings) | dict(run.observer.about)
                run.observer.on_step(self.state)
                throw_exception_if_processing_interrupted()
                if self.state.step % SAVE_EVERY == 0:
                    run.save(self.state)
                run.previews.draw(frozen, self.state)
                if run.observer.should_stop():
                    self.state.ended = "user"
            if self.state:
                run.previews.finish(frozen, self.state, settings.keep)
        finally:
            if self.state:
                run.save(self.state)
