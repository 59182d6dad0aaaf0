"""One training run on the host's models, from images to embedding."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ..concept.concept import Concept, check_words
from ..concept.placeholder import fold, weighted
from ..store.run_store import SAVE_EVERY, Resume
from ..training.health_checks import check_move, settings_warnings
from ..training.latents import Latents, shape_of
from ..training.loop import is_over, train
from ..training.preflight import Preflight, measured_step, preflight_line
from ..training.report import ENDED, Outcome, training_report
from ..training.run import Keep, RunState
from ..training.settings import TrainingSettings
from ..word.embedding import Embedding
from .faults import STORE, Faults, HarmlessStore
from .models.borrow import BorrowSettings, borrowed, check_kind, empty_condition
from .models.compatibility import interrupts_unmasked, is_interrupt
from .models.encode import check_latents, encode_images
from .models.host_model import HostModel
from .models.memory import out_of_memory, peak_memory, release_memory, reset_peak, total_memory
from .models.overlay import known_words
from .models.patches import without_effect
from .models.text import check_fits, without_weights
from .nearest_words import vocabularies
from .page.previews import PREVIEWS, Previews, problem_of
from .provenance import about, learned_word, origin
from .run_key import NotReproducible, run_key, run_store
from .run_observer import Guarded, RunObserver, Unobserved

log = logging.getLogger(__name__)

NEIGHBORS = 3
MOST_ROOM = 2.0  # Of what a step is estimated to take; whoever needs more has another problem.


class Models(NamedTuple):
    """MODEL, CLIP and VAE of a graph."""

    model: ModelPatcher
    clip: CLIP
    vae: Any


@dataclass(frozen=True)
class LearnSettings:
    """How to train, how to run the borrowed models, what to keep of it, and whether to go on where
    an earlier run was broken off.
    """

    training: TrainingSettings
    borrow: BorrowSettings
    keep: Keep = "best"
    resume: Resume = "off"


class Learned(NamedTuple):
    """What a run gives: the embedding, the loss of every step, the report, and whether the same
    run, asked for again, has nothing left to do.
    """

    embedding: Embedding
    losses: list[float]
    report: str
    over: bool = True


def learn(
    models: Models,
    concept: Concept,
    embedding: Embedding,
    settings: LearnSettings,
    observer: RunObserver | None = None,
    previews: Previews | None = None,
) -> Learned:
    """Learn the embedding on the models of a graph, which are afterwards as they were. Raises
    ValueError for what does not fit together, and RuntimeError where nothing can be learned. No
    error of the observer, the previews or the store ends it, and the host's Cancel always does.
    """
    faults = Faults()
    observer = Guarded(observer or Unobserved(), faults)
    check_fits(embedding, models.clip)
    check_kind(models.model)
    check_words(concept, embedding.placeholder)
    key, why = "", ""
    try:
        if settings.resume != "off":
            key = key_of_run(models, concept, embedding, settings)
    except NotReproducible as error:
        settings, why = replace(settings, resume="off"), str(error)
    except Exception as error:
        if is_interrupt(error):
            raise
        settings = replace(settings, resume="off")
        faults.note(STORE, error)
    kept = run_store(embedding.placeholder, key, settings.resume, observer.tell)
    with interrupts_unmasked(), HarmlessStore(kept, faults) as store:
        session = Session(
            models, concept, embedding, settings, observer, previews, store, faults, key
        )
        if why:
            session.note(why)
        state = session.go()
        return session.learned(state)


def key_of_run(
    models: Models, concept: Concept, embedding: Embedding, settings: LearnSettings
) -> str:
    """What the run is known by; see `run_key`."""
    return run_key(*models, concept, embedding, settings.training, settings.borrow.precision)


@dataclass
class Session:
    """One run from where it is to its end, with whatever the memory allows."""

    models: Models
    concept: Concept
    embedding: Embedding
    settings: LearnSettings
    observer: RunObserver
    previews: Previews | None
    store: HarmlessStore
    faults: Faults
    key: str = ""
    state: RunState | None = None
    taken_up_at: int = 0
    notes: list[str] = field(default_factory=list)
    missed: dict[int, str] = field(default_factory=dict)  # previews, and why they failed
    checkpointed: bool = False
    peak: int | None = None

    def go(self) -> RunState:
        """Go on from what is stored, or start; where the memory does not suffice, with the next
        remedy.
        """
        steps = self.settings.training.schedule.steps
        self.note_weights()
        self.note_known_word()
        self.note_patches()
        with torch.inference_mode(False):  # What is learned is to be normal tensors.
            self.state = self.store.load(self.embedding.vectors, steps)
        self.taken_up_at = self.step
        if self.state:
            words = self.store.words(self.embedding.vectors, self.step)
            self.observer.resumed(self.state, words)
        if self.store.stores:
            self.observer.stored_at(self.step, self.store.folder.name)
        if self.state and is_over(self.state, self.settings.training):
            return self.state
        self.store.probe(self.embedding.vectors, steps)
        model, _, vae = self.models
        self.observer.enter("encoding")
        latents = encode_images(
            vae,
            model.model.latent_format,
            self.concept.crops,
            self.concept.latents,
            self.settings.training.seed,
        )
        check_channels(latents, model)
        check_latents(latents, self.concept, vae)
        guidance = self.settings.training.objective.guidance
        borrowing = replace(self.settings.borrow, guidance=guidance)
        while not self.attempt(latents, borrowing):
            release_memory()
            remedy = next_remedy(
                replace(borrowing, checkpointing="on") if self.checkpointed else borrowing
            )
            if remedy is None:
                return self.give_up()
            borrowing, text = remedy
            self.note(f"There was not enough memory. From step {self.step + 1} on, {text}.")
        assert self.state is not None  # An attempt that succeeds has made it.
        return self.state

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step if self.state else 0

    def note(self, text: str) -> None:
        """Tell the user now, and in the report, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.observer.tell(text)

    def note_weights(self) -> None:
        """Note that captions give the word a weight which text encoders do not know."""
        word, count = self.embedding.placeholder, len(self.concept.images)
        if not any(weighted(self.concept.text(image, word), word) for image in range(count)):
            return
        unweighted = without_weights(self.models.clip)
        if unweighted:
            self.note(
                f"Captions give '{word}' a weight, but prompt weights are plain text to "
                f"{', '.join(unweighted)}. Leave the weight out, and use strength in Apply "
                f"Embedding to CLIP."
            )

    def note_known_word(self) -> None:
        """Note that the CLIP knows another word of that name already."""
        word = self.embedding.placeholder
        if fold(word) in known_words(self.models.clip.tokenizer):
            self.note(
                f"A word '{word}' is already applied to this CLIP. The trained word replaces it; "
                f"connect the CLIP from before Apply Embedding to CLIP, or choose another trigger "
                f"word."
            )

    def note_patches(self) -> None:
        """Note which patches of the model do nothing in training, and what it does not hear."""
        idle, empty = without_effect(self.models.model), empty_condition(self.models.model)
        if empty:
            self.note(empty)
        if idle:
            self.note(
                f"These patches of the model have no effect in training, because they act on "
                f"guidance, on a whole sampling, or on speed alone: {', '.join(idle)}."
            )

    def give_up(self) -> RunState:
        """The state, if anything was learned; else RuntimeError."""
        if self.state is None or self.step == 0:
            raise RuntimeError(ENDED["memory"].format(step=0))
        self.state.ended = "memory"
        self.store.save(self.state)
        return self.state

    def attempt(self, latents: Sequence[Latents], borrowing: BorrowSettings) -> bool:
        """Go on to the end, unless the memory is too small for it; then False."""
        largest = max((shape_of(one) for one in latents), key=math.prod)
        model, clip, _ = self.models
        self.observer.enter("trying")
        reset_peak(model.load_device)
        try:
            with borrowed(model, clip, self.embedding, largest, borrowing) as frozen:
                self.checkpointed = frozen.checkpointed
                self.preflight(frozen, latents)
                self.steps(frozen, latents)
        except Exception as error:
            if is_interrupt(error) or not out_of_memory(error):
                raise
            log.warning("Out of memory at step %d: %s", self.step + 1, error)
            return False
        finally:
            self.peak = peak_memory(model.load_device)
        return True

    def preflight(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """Warn of settings that cannot work, say what a step takes, and find out whether the memory
        suffices for the largest images before any step is done.
        """
        training, vectors = self.settings.training, self.embedding.vectors
        if self.state is None:
            check_move(training, vectors, frozen.vocabulary_norms)
            for text in settings_warnings(training, vectors, frozen.vocabulary_norms):
                self.observer.tell(text)
        else:
            vectors = self.state.vectors
        frozen.watch_streaming()
        seconds = measured_step(
            *(frozen, self.concept, latents, self.embedding.placeholder, vectors, training),
            self.note,
        )
        frozen.check_streaming()
        parts = math.ceil(training.batch_size / frozen.rows) * training.accumulation
        streaming = frozen.streamed.per_step(parts)
        found = Preflight(
            seconds, peak_memory(frozen.device), total_memory(frozen.device), frozen.checkpointed
        )
        self.observer.tell(preflight_line(found, training.schedule.steps - self.step))
        if streaming:
            self.note(streaming)
        frozen.settle(found.peak)

    def steps(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """The run on borrowed models; whatever ends it, its state is stored."""
        training, previews = self.settings.training, self.previews
        self.observer.enter("measuring")
        run = train(frozen, self.concept, latents, self.embedding, training, self.state)
        sizes = [shape_of(one) for one in latents]
        known = origin(frozen, self.models.model, sizes, training.objective)
        try:
            for self.state in run:
                self.state.origin = self.state.origin or known
                self.state.about = about(self.embedding, training) | dict(self.observer.about)
                self.observer.on_step(self.state)
                throw_exception_if_processing_interrupted()
                if self.state.step % SAVE_EVERY == 0:
                    self.save(self.state)
                self.draw(frozen, self.state)
                if self.observer.should_stop():
                    self.state.ended = "user"
            if previews and self.state and previews.regular:
                last, keep = self.state, self.settings.keep
                self.drawn(frozen, previews, lambda: previews.finish(last, keep))
        finally:
            if self.state:
                self.save(self.state)

    def save(self, state: RunState) -> None:
        """Store the run."""
        self.store.save(state)
        if self.store.newest == state.step:
            self.observer.stored_at(state.step, self.store.folder.name)

    def draw(self, frozen: HostModel, state: RunState) -> None:
        """Draw the word, if it is due or somebody asks for it."""
        asked, previews = self.observer.should_preview(), self.previews
        if previews is None:
            if asked:
                self.observer.previewed(f"{PREVIEWS} of this model.")
            return
        due = self.faults.harmless(previews.due, False, PREVIEWS)(state.step)
        if due or asked:
            draw = previews if due else previews.ask
            self.drawn(frozen, previews, lambda: draw(state.step, state.mean))

    def drawn(self, frozen: HostModel, previews: Previews, draw: Callable[[], None]) -> None:
        """Let the graph's own models be used for an image, and tell what came of it."""
        self.observer.enter("drawing")
        previews.problem = None
        with frozen.set_aside():
            problem = problem_of(draw, self.step) or previews.problem
        if problem:
            if not self.missed:
                self.observer.tell(problem)
            self.missed[self.step] = problem
        self.observer.previewed(problem or "")

    def learned(self, state: RunState) -> Learned:
        """The word as the run leaves it, with its recipe and the report."""
        keep = self.settings.keep
        with torch.inference_mode(False):
            word = learned_word(self.embedding, state, self.settings.training, keep, self.key)
        findings = self.store.findings()
        notes = [*findings, *self.faults.notes, *self.notes, *missed_previews(self.missed)]
        outcome = Outcome(
            state,
            self.settings.training,
            keep,
            self.taken_up_at,
            vocabularies(word, self.models.clip, NEIGHBORS),
            self.peak,
            str(self.store.folder) if self.store.newest == state.step else "",
            notes,
        )
        report = training_report(self.concept, word, outcome)
        return Learned(word, state.losses, report, is_over(state, self.settings.training))


def missed_previews(missed: Mapping[int, str]) -> list[str]:
    """What the report says of previews that could not be drawn."""
    texts = list(missed.values())
    if len(texts) > 1:
        texts[0] += f" {len(texts) - 1} more failed as well, the last at step {list(missed)[-1]}."
    return texts[:1]


def next_remedy(borrowing: BorrowSettings) -> tuple[BorrowSettings, str] | None:
    """What takes less memory than this did, and in words; None when nothing is left."""
    if borrowing.checkpointing != "on":
        return replace(borrowing, checkpointing="on"), "gradient checkpointing is on"
    if borrowing.rows > 1:
        rows = borrowing.rows // 2
        return replace(borrowing, rows=rows), f"the micro-batch is {rows}"
    if not borrowing.offload:
        return replace(borrowing, offload=True), "activations are kept in main memory"
    if borrowing.room < MOST_ROOM:
        more = replace(borrowing, room=1.5 * borrowing.room)
        return more, "more of the weights stay in main memory"
    return None


def check_channels(latents: Sequence[Latents], model: ModelPatcher) -> None:
    """Raise ValueError if the VAE belongs to another kind of model."""
    found, wanted = shape_of(latents[0])[0], model.model.latent_format.latent_channels
    if found != wanted:
        raise ValueError(
            f"The VAE produces {found}-channel latents; the model expects {wanted}. Use "
            f"the VAE that belongs to the model."
        )
