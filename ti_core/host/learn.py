"""One training run on the host's models, from images to embedding."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from comfy.model_patcher import ModelPatcher

from ..concept.concept import Concept, check_words
from ..training.latents import Latents, shape_of
from ..training.loop import is_over
from ..training.report import ENDED, Outcome, training_report
from ..training.run import RunState
from ..training.settings import TrainingSettings
from ..word.embedding import Embedding
from .attempt import Attempt, Run
from .attempt import Models as Models
from .faults import STORE, Faults, HarmlessStore
from .graph_notes import graph_notes
from .models.borrow import BorrowSettings, check_kind
from .models.compatibility import interrupts_unmasked, is_interrupt
from .models.encode import check_latents, encode_images
from .models.memory import release_memory
from .models.text import check_fits
from .nearest_words import vocabularies
from .page.previews import Previews
from .provenance import learned_word
from .run_folders import run_store
from .run_key import NotReproducible, run_key
from .run_observer import Guarded, RunObserver, Unobserved
from .run_previews import RunPreviews

NEIGHBORS = 3
MOST_ROOM = 2.0  # Of what a step is estimated to take; whoever needs more has another problem.


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
    settings: TrainingSettings,
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
    if settings.resume != "off":
        key, why = key_or_reason(models, concept, embedding, settings, faults)
        settings = settings if key else replace(settings, resume="off")
    kept = run_store(embedding.placeholder, key, settings.resume, observer.tell)
    drawn = RunPreviews(previews, observer, faults)
    with interrupts_unmasked(), HarmlessStore(kept, faults) as store:
        run = Run(models, concept, embedding, settings, observer, drawn, store)
        if why:
            run.note(why)
        for text in graph_notes(models.model, models.clip, concept, embedding.placeholder):
            run.note(text)
        state = taken_up(run)
        step, peak = state.step if state else 0, None
        if state is None or not is_over(state, settings):
            state, peak = trained(run, state)
        with torch.inference_mode(False):
            word = learned_word(embedding, state, settings, key)
        told = report(run, word, state, step, peak, faults)
        return Learned(word, state.losses, told, is_over(state, settings))


def key_or_reason(
    models: Models,
    concept: Concept,
    embedding: Embedding,
    settings: TrainingSettings,
    faults: Faults,
) -> tuple[str, str]:
    """What the run is known by, or '' and what to tell of that; an error is noted as a fault."""
    try:
        return key_of_run(models, concept, embedding, settings), ""
    except NotReproducible as error:
        return "", str(error)
    except Exception as error:
        if is_interrupt(error):
            raise
        faults.note(STORE, error)
        return "", ""


def key_of_run(
    models: Models, concept: Concept, embedding: Embedding, settings: TrainingSettings
) -> str:
    """What the run is known by; see `run_key`."""
    return run_key(*models, concept, embedding, settings)


def taken_up(run: Run) -> RunState | None:
    """The state that is stored, of which the observer is told; None for a run that begins."""
    vectors, steps = run.embedding.vectors, run.settings.schedule.steps
    with torch.inference_mode(False):  # What is learned is to be normal tensors.
        state = run.store.load(vectors, steps)
    step = state.step if state else 0
    if state:
        run.observer.resumed(state, run.store.words(vectors, step))
    if run.store.stores:
        run.observer.stored_at(step, run.store.folder.name)
    return state


def trained(run: Run, state: RunState | None) -> tuple[RunState, int | None]:
    """Go on from a state to the end, or begin; each time that the memory does not suffice, with the
    next remedy. Gives also the peak of memory in bytes, None where nobody counts them. RuntimeError
    where the memory does not suffice for a single step.
    """
    settings = run.settings
    run.store.probe(run.embedding.vectors, settings.schedule.steps)
    latents = encoded(run)
    borrowing = BorrowSettings(
        rows=settings.batch_size,
        precision=settings.precision,
        checkpointing=settings.checkpointing,
        guidance=settings.objective.guidance,
    )
    while not (attempt := Attempt(run, latents, borrowing, state)).succeeds():
        release_memory()
        state = attempt.state
        remedy = next_remedy(
            replace(borrowing, checkpointing="on") if attempt.checkpointed else borrowing
        )
        if remedy is None:
            return given_up(run, state), attempt.peak
        borrowing, text = remedy
        run.note(f"There was not enough memory. From step {attempt.step + 1} on, {text}.")
    assert attempt.state is not None  # An attempt that succeeds has made it.
    return attempt.state, attempt.peak


def encoded(run: Run) -> list[Latents]:
    """Latents of the concept's crops; ValueError where the VAE is not that of the model."""
    model, _, vae = run.models
    run.observer.enter("encoding")
    latents = encode_images(
        vae,
        model.model.latent_format,
        run.concept.crops,
        run.concept.latents,
        run.settings.seed,
    )
    check_channels(latents, model)
    check_latents(latents, run.concept, vae)
    return latents


def given_up(run: Run, state: RunState | None) -> RunState:
    """The state, if anything was learned; else RuntimeError."""
    if state is None or state.step == 0:
        raise RuntimeError(ENDED["memory"].format(step=0))
    state.ended = "memory"
    run.store.save(state)
    return state


def report(
    run: Run, word: Embedding, state: RunState, taken_up_at: int, peak: int | None, faults: Faults
) -> str:
    """The report of a run that was taken up at a step, with all that was noted."""
    store = run.store
    notes = [*store.findings(), *faults.notes, *run.notes, *run.previews.findings()]
    outcome = Outcome(
        state,
        run.settings,
        taken_up_at,
        vocabularies(word, run.models.clip, NEIGHBORS),
        peak,
        str(store.folder) if store.newest == state.step else "",
        notes,
    )
    return training_report(run.concept, word, outcome)


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
