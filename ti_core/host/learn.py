"""One training run on the host's models, from pictures to embedding."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ..concept.concept import Concept, check_words
from ..concept.placeholder import weighted
from ..store.run_store import SAVE_EVERY, Resume, RunStore
from ..training.latents import Latents, shape_of
from ..training.loop import is_over, train
from ..training.preflight import Preflight, measured_step, preflight_line
from ..training.report import ENDED, Outcome, training_report
from ..training.run import Keep, RunState
from ..training.settings import TrainingSettings
from ..training.watches import doubtful_settings
from ..word.embedding import Embedding
from .models.borrow import BorrowSettings, borrowed, check_kind, empty_condition
from .models.encode import encode_pictures
from .models.host_model import HostModel
from .models.memory import out_of_memory, peak_memory, release_memory, reset_peak, total_memory
from .models.patches import without_effect
from .models.text import check_fits, without_weights
from .nearest_words import vocabularies
from .page.monitor import Phase, Vectors
from .page.previews import Previews
from .provenance import about, learned_word, origin
from .run_key import Undescribed, run_key, run_store

log = logging.getLogger(__name__)

NEIGHBOURS = 3
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


@dataclass(frozen=True)
class Audience:
    """Who watches a run: `on_step` is called before the first step and after each one, `tell` with
    what the user should know meanwhile, `should_stop` and `should_draw` after each step; `enter`
    with what the run does next, `take_up` with a stored state and the words of stored steps,
    `stored_at` with the step of each checkpoint and the run's name in the store. `about` is put
    into them.
    """

    on_step: Callable[[RunState], None] = lambda state: None
    tell: Callable[[str], None] = log.warning
    should_stop: Callable[[], bool] = lambda: False
    previews: Previews | None = None
    should_draw: Callable[[], bool] = lambda: False
    enter: Callable[[Phase], None] = lambda phase: None
    take_up: Callable[[RunState, Mapping[int, Vectors]], None] = lambda state, words: None
    stored_at: Callable[[int, str], None] = lambda step, name: None
    about: Mapping[str, str] = field(default_factory=dict)


class Learned(NamedTuple):
    """What a run gives: the embedding, the loss of every step, and the report."""

    embedding: Embedding
    losses: list[float]
    report: str


def learn(
    models: Models,
    concept: Concept,
    embedding: Embedding,
    settings: LearnSettings,
    audience: Audience = Audience(),
) -> Learned:
    """Learn the embedding on the models of a graph, which are afterwards as they were. Raises
    ValueError for what does not fit together, and RuntimeError where nothing can be learned.
    """
    check_fits(embedding, models.clip)
    check_kind(models.model)
    check_words(concept, embedding.placeholder)
    key, why = "", ""
    try:
        if settings.resume != "off":
            key = key_of_run(models, concept, embedding, settings)
    except Undescribed as error:
        settings, why = replace(settings, resume="off"), str(error)
    with run_store(embedding.placeholder, key, settings.resume, audience.tell) as store:
        session = Session(models, concept, embedding, settings, audience, store, key)
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
    audience: Audience
    store: RunStore
    key: str = ""
    state: RunState | None = None
    taken_up_at: int = 0
    notes: list[str] = field(default_factory=list)
    checkpointed: bool = False
    peak: int | None = None

    def go(self) -> RunState:
        """Go on from what is stored, or start; where the memory does not suffice, with the next
        remedy.
        """
        steps = self.settings.training.schedule.steps
        self.note_weights()
        self.note_patches()
        with torch.inference_mode(False):  # What is learned is to be normal tensors.
            self.state = self.store.load(self.embedding.vectors, steps)
        self.taken_up_at = self.step
        if self.state:
            words = self.store.words(self.embedding.vectors, self.step)
            self.audience.take_up(self.state, words)
            self.audience.stored_at(self.step, self.store.folder.name)
        if self.state and is_over(self.state, self.settings.training):
            return self.state
        self.store.probe(self.embedding.vectors, steps)
        model, _, vae = self.models
        self.audience.enter("encoding")
        latents = encode_pictures(
            vae,
            model.model.latent_format,
            self.concept.crops,
            self.concept.latents,
            self.settings.training.seed,
        )
        check_channels(latents, model)
        guidance = self.settings.training.objective.guidance
        lent = replace(self.settings.borrow, guidance=guidance)
        while not self.attempt(latents, lent):
            release_memory()
            remedy = next_remedy(replace(lent, checkpointing="on") if self.checkpointed else lent)
            if remedy is None:
                return self.give_up()
            lent, text = remedy
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
            self.audience.tell(text)

    def note_weights(self) -> None:
        """Note that captions give the word a weight which text encoders do not know."""
        word, count = self.embedding.placeholder, len(self.concept.pictures)
        if not any(weighted(self.concept.text(picture, word), word) for picture in range(count)):
            return
        deaf = without_weights(self.models.clip)
        if deaf:
            self.note(
                f"Captions give '{word}' a weight, whose brackets and figures are text to "
                f"{', '.join(deaf)}. Leave the weight out, and use strength in Apply Embedding "
                f"to CLIP."
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

    def attempt(self, latents: Sequence[Latents], lent: BorrowSettings) -> bool:
        """Go on to the end, unless the memory is too small for it; then False."""
        largest = max((shape_of(one) for one in latents), key=math.prod)
        model, clip, _ = self.models
        self.audience.enter("trying")
        reset_peak(model.load_device)
        try:
            with borrowed(model, clip, self.embedding, largest, lent) as frozen:
                self.checkpointed = frozen.checkpointed
                self.preflight(frozen, latents)
                self.steps(frozen, latents)
        except Exception as error:
            if not out_of_memory(error):
                raise
            log.warning("Out of memory at step %d: %s", self.step + 1, error)
            return False
        finally:
            self.peak = peak_memory(model.load_device)
        return True

    def preflight(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """Warn of settings that cannot work, say what a step takes, and find out whether the memory
        suffices for the largest pictures before any step is done.
        """
        training, vectors = self.settings.training, self.embedding.vectors
        if self.state is None:
            for text in doubtful_settings(training, vectors, frozen.vocabulary_norms):
                self.audience.tell(text)
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
        self.audience.tell(preflight_line(found, training.schedule.steps - self.step))
        if streaming:
            self.note(streaming)
        frozen.settle(found.peak)

    def steps(self, frozen: HostModel, latents: Sequence[Latents]) -> None:
        """The run on borrowed models; whatever ends it, its state is stored."""
        training, previews = self.settings.training, self.audience.previews
        self.audience.enter("measuring")
        run = train(frozen, self.concept, latents, self.embedding, training, self.state)
        sizes = [shape_of(one) for one in latents]
        known = origin(frozen, self.models.model, sizes, training.objective)
        try:
            for self.state in run:
                self.state.origin = self.state.origin or known
                self.state.about = about(self.embedding, training) | dict(self.audience.about)
                self.audience.on_step(self.state)
                if self.state.step % SAVE_EVERY == 0:
                    self.save(self.state)
                if previews:
                    self.draw(previews, frozen, self.state)
                if self.audience.should_stop():
                    self.state.ended = "user"
            if previews and self.state and previews.regular:
                with self.drawing(previews, frozen):
                    previews.finish(self.state, self.settings.keep)
        finally:
            if self.state:
                self.save(self.state)

    def save(self, state: RunState) -> None:
        """Store the run."""
        self.store.save(state)
        if self.store.newest == state.step:
            self.audience.stored_at(state.step, self.store.folder.name)

    def draw(self, previews: Previews, frozen: HostModel, state: RunState) -> None:
        """Draw the word, if it is due or somebody asks for it."""
        asked = self.audience.should_draw()
        if previews.due(state.step):
            with self.drawing(previews, frozen):
                previews(state.step, state.mean)
        elif asked:
            with self.drawing(previews, frozen):
                previews.ask(state.step, state.mean)

    @contextmanager
    def drawing(self, previews: Previews, frozen: HostModel) -> Iterator[None]:
        """Let the graph's own models be used for a picture."""
        self.audience.enter("drawing")
        before = previews.problem
        with frozen.set_aside():
            yield
        if previews.problem and not before:
            self.note(previews.problem)

    def learned(self, state: RunState) -> Learned:
        """The word as the run leaves it, with its recipe and the report."""
        keep = self.settings.keep
        with torch.inference_mode(False):
            word = learned_word(self.embedding, state, self.settings.training, keep, self.key)
        notes = [*self.store.findings(), *self.notes]
        outcome = Outcome(
            state,
            self.settings.training,
            keep,
            self.taken_up_at,
            vocabularies(word, self.models.clip, NEIGHBOURS),
            self.peak,
            str(self.store.folder) if self.store.newest == state.step else "",
            notes,
        )
        return Learned(word, state.losses, training_report(self.concept, word, outcome))


def next_remedy(lent: BorrowSettings) -> tuple[BorrowSettings, str] | None:
    """What takes less memory than this did, and in words; None when nothing is left."""
    if lent.checkpointing != "on":
        text = "parts of the model are computed twice (checkpointing)"
        return replace(lent, checkpointing="on"), text
    if lent.rows > 1:
        rows = lent.rows // 2
        text = "1 picture is" if rows == 1 else f"{rows} pictures are"
        return replace(lent, rows=rows), f"{text} denoised at a time"
    if not lent.offload:
        return replace(lent, offload=True), "intermediate results wait in main memory"
    if lent.room < MOST_ROOM:
        return replace(lent, room=1.5 * lent.room), "more of the weights wait in main memory"
    return None


def check_channels(latents: Sequence[Latents], model: ModelPatcher) -> None:
    """Raise ValueError if the VAE belongs to another kind of model."""
    found, wanted = shape_of(latents[0])[0], model.model.latent_format.latent_channels
    if found != wanted:
        raise ValueError(
            f"The VAE makes latents with {found} channels, but the model works on {wanted}. Use "
            f"the VAE that belongs to the model."
        )
