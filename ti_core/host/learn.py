"""One training run on the host's models, from pictures to embedding."""

import gc
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management as memory
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ..concept.concept import Concept, check_words
from ..store.run_store import Resume, RunStore, StoreSettings
from ..training.latents import Latents, expected, shape_of
from ..training.loop import TrainingSettings
from ..training.preflight import Preflight, measured_step, preflight_line
from ..training.report import Outcome, training_report
from ..training.run import Keep, RunState
from ..training.stopping import StoppingRule
from ..training.validated_run import Ending, begin, run, why_ended
from ..training.watches import before
from ..word.embedding import Embedding
from .embedding_files import checkpoint_hash
from .models.borrow import BorrowSettings, borrowed
from .models.encode import encode_pictures
from .models.host_model import HostModel
from .models.text import check_fits
from .nearest_words import vocabularies
from .page.previews import Previews
from .run_key import run_key, run_store

log = logging.getLogger(__name__)

NEIGHBOURS = 3
STOPPED = "Stopped at step {step} by the user, and kept what was learned."
FULL = (
    "Stopped at step {step}: the memory of {device} does not suffice, even with parts of the model "
    "computed twice, one picture at a time, and intermediate results in main memory. Lower the "
    "resolution, or free memory (other models, other programs)."
)


@dataclass(frozen=True)
class LearnOptions:
    """How a run ends, what it gives, and where it is kept."""

    auto_stop: bool = True
    keep: Keep = "best"
    resume: Resume = "off"
    store: StoreSettings = StoreSettings()

    @property
    def ending(self) -> Ending:
        """When to stop, and what to measure then."""
        return Ending(StoppingRule() if self.auto_stop else None, self.keep == "average")


class Learned(NamedTuple):
    """What a run gives: the embedding, the loss of every step, and the report."""

    embedding: Embedding
    losses: list[float]
    report: str


def learn(
    model: ModelPatcher,
    clip: CLIP,
    vae: Any,
    concept: Concept,
    embedding: Embedding,
    settings: TrainingSettings,
    borrow: BorrowSettings,
    on_step: Callable[[RunState], None],
    options: LearnOptions = LearnOptions(),
    previews: Previews | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = log.warning,
) -> Learned:
    """Learn the embedding on MODEL, CLIP and VAE of a graph, which are afterwards as they were.

    `on_step` is called before the first step and after each one, `tell` with what the user should
    know meanwhile, `should_stop` after each step.
    """
    check_fits(embedding, clip)
    check_words(concept, embedding.placeholder)
    key = (
        ""
        if options.resume == "off"
        else run_key(model, clip, vae, concept, embedding, settings, borrow.precision)
    )
    with run_store(embedding.placeholder, key, options.store, options.resume) as store:
        session = Session(
            *(model, clip, concept, embedding, settings, options, store),
            *(on_step, previews, should_stop, tell),
        )
        with torch.inference_mode(False):  # What is learned is to be normal tensors.
            state = store.load(embedding.vectors)
        done = state.step if state else 0
        for note in store.notes:
            tell(note)
        if state is None or not why_ended(state, settings, options.ending):
            state = session.train(vae, borrow, state)
        notes = [*store.notes, *session.notes]
        if previews and previews.problem:
            notes.append(previews.problem)
        with torch.inference_mode(False):
            vectors = state.kept(options.keep)
        made = provenance(state, settings, options)
        learned = replace(embedding, vectors=vectors, provenance=made)
        outcome = Outcome(
            state,
            settings,
            options.keep,
            session.why or why_ended(state, settings, options.ending) or stopped(state),
            done,
            vocabularies(learned, clip, NEIGHBOURS),
            session.peak,
            str(store.folder) if store.lock else "",
            notes,
        )
    return Learned(learned, state.losses, training_report(concept, learned, outcome))


def stopped(state: RunState) -> str:
    """What the report says of a run that the user stopped."""
    return STOPPED.format(step=state.step)


@dataclass
class Session:
    """One run from where it is to its end, with whatever the memory allows."""

    model: ModelPatcher
    clip: CLIP
    concept: Concept
    embedding: Embedding
    settings: TrainingSettings
    options: LearnOptions
    store: RunStore
    on_step: Callable[[RunState], None]
    previews: Previews | None
    should_stop: Callable[[], bool]
    tell: Callable[[str], None]
    state: RunState | None = None
    notes: list[str] = field(default_factory=list)
    checkpointed: bool = False
    peak: int | None = None
    why: str = ""

    def train(self, vae: Any, borrow: BorrowSettings, state: RunState | None) -> RunState:
        """Go on from a state, or start; where the memory does not suffice, with the next remedy."""
        latents = encode_pictures(
            vae,
            self.model.model.latent_format,
            self.concept.crops,
            self.concept.latents,
            self.settings.seed,
        )
        check_latents(expected(latents[0]), self.model)
        self.state, lent = state, borrow
        while not self.attempt(latents, lent):
            release_memory()
            known = replace(lent, checkpointing="on") if self.checkpointed else lent
            remedy = next_remedy(known)
            if remedy is None:
                return self.give_up()
            lent, text = remedy
            self.note(f"The memory did not suffice. From step {self.step + 1} on, {text}.")
        assert self.state is not None  # An attempt that succeeds has made it.
        return self.state

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step if self.state else 0

    def note(self, text: str) -> None:
        """Tell the user now, and in the report."""
        self.notes.append(text)
        self.tell(text)

    def give_up(self) -> RunState:
        """The state, if anything was learned; else RuntimeError."""
        self.why = FULL.format(step=self.step, device=self.model.load_device)
        if self.state is None or self.step == 0:
            raise RuntimeError(self.why)
        return self.state

    def attempt(self, latents: Sequence[Latents], lent: BorrowSettings) -> bool:
        """Go on to the end, unless the memory is too small for it; then False."""
        largest = max((shape_of(one) for one in latents), key=math.prod)
        device = self.model.load_device
        reset_peak(device)
        try:
            with borrowed(self.model, self.clip, self.embedding, largest, lent) as frozen:
                self.checkpointed = frozen.checkpointed
                self.steps(frozen, latents)
        except Exception as error:
            if not out_of_memory(error):
                raise
            log.warning("Out of memory at step %d: %s", self.step + 1, error)
            return False
        finally:
            self.peak = peak(device)
        return True

    def steps(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """The run on borrowed models; whatever ends it, its state is stored."""
        if self.state is None:
            self.state = begin(frozen, self.embedding, self.settings)
            self.state.origin = origin(frozen, self.model)
            for text in before(self.settings, self.embedding.vectors, frozen.vocabulary_norms):
                self.tell(text)
        self.preflight(frozen, latents)
        try:
            for state in run(
                *(frozen, self.concept, latents, self.embedding, self.settings),
                *(self.options.ending, self.state, self.should_stop),
            ):
                self.on_step(state)
                if state.step % self.options.store.save_every == 0:
                    self.store.save(state)
                if self.previews and state.step % self.previews.every == 0:
                    with frozen.set_aside():
                        self.previews(state.step, state.vectors)
        finally:
            self.store.save(self.state)

    def preflight(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """Say what a step takes, and find out whether the memory suffices for the largest pictures
        before any step is done.
        """
        seconds = measured_step(frozen, self.concept, latents, self.embedding, self.settings)
        total: Any = memory.get_total_memory(frozen.device)
        found = Preflight(seconds, peak(frozen.device), total, frozen.checkpointed)
        self.tell(preflight_line(found, self.settings.schedule.steps - self.step))


def next_remedy(lent: BorrowSettings) -> tuple[BorrowSettings, str] | None:
    """What takes less memory than this did, and in words; None when nothing is left."""
    if lent.checkpointing != "on":
        text = "parts of the model are computed twice (checkpointing)"
        return replace(lent, checkpointing="on"), text
    if lent.rows > 1:
        rows = lent.rows // 2
        return replace(lent, rows=rows), f"{rows} pictures are denoised at a time"
    if not lent.offload:
        return replace(lent, offload=True), "intermediate results wait in main memory"
    return None


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is no memory left, on the device or in the computer."""
    return (
        memory.is_oom(error)
        or isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
    )


def release_memory() -> None:
    """Give all memory back that the host's models take."""
    gc.collect()
    memory.unload_all_models()
    memory.soft_empty_cache()


def reset_peak(device: torch.device) -> None:
    """Start to look for the peak of a device's memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """Bytes that were allocated on a device at the peak; None where nobody counts them."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def check_latents(latents: Tensor, model: ModelPatcher) -> None:
    """Raise ValueError if the VAE belongs to another kind of model."""
    wanted = model.model.latent_format.latent_channels
    if latents.shape[0] != wanted:
        raise ValueError(
            f"The VAE makes latents of {latents.shape[0]} channels, but the MODEL works on "
            f"{wanted}. Use the VAE that belongs to the MODEL."
        )


def provenance(
    state: RunState, settings: TrainingSettings, options: LearnOptions
) -> dict[str, object]:
    """How the embedding was made, for its file."""
    return {
        "method": type(settings.method).__name__.removesuffix("Settings").lower(),
        "settings": dict(vars(settings.method)),
        "learning_rate": [list(piece) for piece in settings.schedule.pieces],
        "schedule": settings.schedule.shape,
        "warmup": settings.schedule.warmup,
        "steps": state.step,
        "steps_planned": settings.schedule.steps,
        "kept": options.keep,
        "best_step": state.choice.step,
        "batch_size": settings.batch_size,
        "accumulation": settings.accumulation,
        "seed": settings.seed,
        **state.origin,
        "validation_loss": {
            "initialiser": state.initialiser_loss,
            "learned": state.kept_loss(options.keep),
        },
    }


def origin(frozen: HostModel, model: ModelPatcher) -> dict[str, str]:
    """What a run was trained on."""
    return {
        **base_model(model),
        "prediction": frozen.prediction,
        "compute_dtype": str(frozen.compute_dtype).removeprefix("torch."),
    }


def base_model(model: ModelPatcher) -> dict[str, str]:
    """File name and SHA-256 of the checkpoint, as far as the loader left it with the model, else
    the kind of model.
    """
    made_by = getattr(model, "cached_patcher_init", None)
    source = made_by[1][0] if made_by and made_by[1] else None
    if not isinstance(source, str) or not Path(source).is_file():
        return {"base_model": type(model.model).__name__}
    return {"base_model": Path(source).name, "base_model_hash": checkpoint_hash(Path(source))}
