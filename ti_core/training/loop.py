"""The training loop: steps that are validated, undone where they fail, and end when nothing more
is learned.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..concept.concept import Concept, check_words
from ..draws import Stream, mixed
from ..word.embedding import Embedding
from .batches import Batch, Batches, NotFinite, batch_loss
from .frozen_model import FrozenModel
from .latents import Latents
from .optimizers import Optimizer, leaf, make_optimizer
from .run import MAX_ROLLBACKS, Ended, RunState, copies
from .settings import TrainingSettings
from .stopping import has_converged
from .validation import due, fixed_samples, validation_loss, validation_losses

log = logging.getLogger(__name__)

# After an overflow the loss scale grows back by 2 every so many steps: one failed attempt in a
# hundred costs 1 %. Not measured on a device.
SCALE_GROWS_EVERY = 100


def train(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    embedding: Embedding,
    settings: TrainingSettings,
    state: RunState | None = None,
) -> Iterator[RunState]:
    """Learn the embedding's vectors on `latents` (one `[c, ...]` per crop of the concept, as the
    model takes them), from the beginning or from a `state`. Yields the state before the first step
    and after each one; it is consistent whenever this is broken off, and whoever gets it may end
    the run by setting `ended`.

    A step that gives NaN or infinity is undone: the run goes on from the best vectors with half the
    learning rate, `MAX_ROLLBACKS` times at most. First steps that are validated as worse than the
    start are taken back, and a quarter of the learning rate goes on from there. Raises ValueError
    for captions that are not allowed, RuntimeError when no gradient reaches an encoder, and
    NotFinite if not even the first step can be made. On a CPU the same arguments give the same
    vectors, bit for bit, however often the run was broken off.
    """
    check_words(concept, embedding.placeholder)
    optimizer = make_optimizer(settings.method, embedding.vectors, model.vocabulary_norms)
    state = state or begun(optimizer, model.loss_scale)
    optimizer.restore(state.vectors, state.memory)
    state.ended = ""

    fixed = fixed_samples(model, concept, latents, embedding.placeholder, settings)
    measure_start(model, fixed, embedding, state)

    draws = Batches(model, concept, latents, embedding.placeholder, settings)

    moving = False
    while not state.ended:
        try:
            if moving:
                take_step(model, optimizer, draws, fixed, state, settings)
            if due(state.step, settings) and not state.validated:
                state.validate(validation_losses(model, fixed, state.mean))
                if state.has_overshot:
                    state.take_back()
                    optimizer.restore(state.vectors, state.memory)
        except NotFinite as error:
            if state.step == 0:
                raise
            state.roll_back(str(error))
            optimizer.restore(state.vectors, state.memory)
        moving = True
        yield state
        state.ended = state.ended or end_of(state, settings)
        state.planned = settings.schedule.steps
    measure_end(model, fixed, state)


def take_step(
    model: FrozenModel,
    optimizer: Optimizer,
    draws: Batches,
    fixed: Sequence[Batch],
    state: RunState,
    settings: TrainingSettings,
) -> None:
    """One optimizer step: draw, differentiate, move, and take it over into the state. What a step
    has seen that gives no numbers, is not drawn again.
    """
    started, drawn = time.perf_counter(), state.drawn
    group = draws.of_step(drawn)
    scale = state.loss_scale
    if state.step % SCALE_GROWS_EVERY == 0:
        scale = min(2 * scale, model.loss_scale)
    seed = mixed(settings.seed, Stream.MODEL, drawn)
    rate = state.rate_factor * settings.schedule(state.step)
    try:
        loss, scale = gradient(model, optimizer.vectors, group, scale, seed)
        check_gradient(state.step, optimizer.vectors)
        if state.step == 0:
            rows_without_gradient(model, optimizer.vectors, fixed)
        optimizer.step(rate)
        learned, memory = copies(optimizer.vectors), optimizer.memory()
        check_vectors(state.step, learned)
    except NotFinite:
        state.drawn = drawn + 1
        raise
    state.advance(
        loss, rate, learned, optimizer.mean(state.mean, state.averaging_weight), memory, scale
    )
    state.seconds += time.perf_counter() - started


def gradient(
    model: FrozenModel,
    vectors: Mapping[str, Tensor],
    group: Sequence[Batch],
    scale: float,
    seed: int = 0,
) -> tuple[float, float]:
    """Put the mean loss gradient of the batches on live vectors; return the loss, and the loss
    scale that kept the gradient finite. What the model itself draws comes from `seed`.
    """
    while True:
        for rows in vectors.values():
            rows.grad = None
        losses = []
        for batch in group:
            for part in batch.parts(model.rows):
                share = len(part.captions) / (len(batch.captions) * len(group))
                with model.differentiable(seed):
                    loss = batch_loss(model, part, vectors)
                    if not loss.requires_grad:
                        raise RuntimeError(no_gradient("the"))
                    (loss.mean() * (scale * share)).backward()
                losses.append(loss.detach())
        loss = float(torch.cat(losses).mean())
        if not math.isfinite(loss):
            raise NotFinite(
                f"The loss is {loss}. The model overflows in this precision. Choose dtype "
                f"'bf16' or 'fp32', or check that the VAE belongs to the model."
            )
        gradients = [rows.grad for rows in vectors.values() if rows.grad is not None]
        for grad in gradients:
            grad /= scale
        if scale <= 1.0 or all(bool(grad.isfinite().all()) for grad in gradients):
            return loss, scale
        scale /= 2.0
        log.info("The fp16 gradient overflowed; the loss scale is now %g.", scale)


# What can go wrong in a step


def no_gradient(which: str) -> str:
    """The likely cause of a step without gradient."""
    return (
        f"No gradient reached {which} vectors. The likely cause is an attention kernel without a "
        f"backward pass (Sage, Flash), or a node that detaches the conditioning. Remove such "
        f"patches from the model for training."
    )


def check_gradient(step: int, vectors: Mapping[str, Tensor]) -> None:
    """Raise RuntimeError with the likely cause where no gradient has reached an encoder, NotFinite
    where it is no number.
    """
    for key, rows in vectors.items():
        grad = rows.grad
        if grad is None:
            raise RuntimeError(no_gradient(f"the {key}"))
        if not bool(grad.norm().isfinite()):  # Nor is one that is bounded by such a norm.
            raise NotFinite(
                f"The gradient of the {key} vectors at step {step + 1} is not finite. Choose "
                f"dtype 'bf16' or 'fp32', or a lower learning rate."
            )


def rows_without_gradient(
    model: FrozenModel, vectors: Mapping[str, Tensor], fixed: Sequence[Batch]
) -> dict[str, list[int]]:
    """Which rows, counted from 1, neither the gradient that lies on the vectors has reached nor
    that of any caption of the validation, per encoder key; RuntimeError where these are all.

    Flux hears CLIP through the first chunk of a prompt alone: a longer caption may leave it silent.
    """
    without_gradient = {key: rows_of_zero_gradient(rows) for key, rows in vectors.items()}
    live = {key: leaf(rows) for key, rows in vectors.items()}
    for part in one_of_each_caption(fixed):
        if not any(bool(rows.any()) for rows in without_gradient.values()):
            break
        gradient(model, live, [part], model.loss_scale)
        without_gradient = {
            key: rows & rows_of_zero_gradient(live[key]) for key, rows in without_gradient.items()
        }
    if all(bool(rows.all()) for rows in without_gradient.values()):
        raise RuntimeError(no_gradient("the"))
    return {
        key: [number for number, row in enumerate(rows.tolist(), 1) if row]
        for key, rows in without_gradient.items()
        if bool(rows.any())
    }


def rows_of_zero_gradient(rows: Tensor) -> Tensor:
    """Which rows `[n]` of vectors `[n, dim]` their gradient has not reached."""
    assert rows.grad is not None  # The loop has checked it.
    return ~rows.grad.any(dim=-1)


def one_of_each_caption(fixed: Sequence[Batch]) -> list[Batch]:
    """A single sample of the validation for each of its captions."""
    parts = [part for batch in fixed for part in batch.parts(1)]
    return list({part.captions: part for part in reversed(parts)}.values())


def check_vectors(step: int, vectors: Mapping[str, Tensor]) -> None:
    """Raise NotFinite when a step has moved a vector beyond all numbers."""
    for key, rows in vectors.items():
        if not bool(rows.isfinite().all()):
            raise NotFinite(
                f"Step {step + 1} moved the {key} vectors to values that are not finite. Choose a "
                f"lower learning rate."
            )


# How a run begins and ends


def is_over(state: RunState, settings: TrainingSettings) -> bool:
    """Whether the same run, asked for again, has nothing left to do: it has made its steps, and
    what the user ended with a word to keep stays ended until another number of steps is asked for.
    """
    stays = state.ended == "user" and state.planned == settings.schedule.steps
    return bool(state.ended and state.step) and (stays or bool(end_of(state, settings)))


def begun(optimizer: Optimizer, loss_scale: float) -> RunState:
    """A run before its first step."""
    first, mean, best = (copies(optimizer.vectors) for _ in range(3))
    return RunState(first, mean, best, loss_scale)


def measure_start(
    model: FrozenModel, fixed: Sequence[Batch], embedding: Embedding, state: RunState
) -> None:
    """Measure the vectors that the run starts with, and the 100 % line: a word that was trained
    before starts below it.
    """
    if not state.validations:
        state.validate(validation_losses(model, fixed, state.vectors))
    if state.initializer_loss is None:
        trained = embedding.has_origin and any(
            not rows.equal(embedding.initial[key]) for key, rows in embedding.vectors.items()
        )
        state.initializer_loss = (
            validation_loss(model, fixed, embedding.initial)
            if trained
            else state.validations[0].loss
        )


def measure_end(model: FrozenModel, fixed: Sequence[Batch], state: RunState) -> None:
    """Validate the last mean; a run that is broken off here has not ended."""
    if state.validated or state.closing or state.closing_trouble:
        return
    try:
        state.close(validation_losses(model, fixed, state.mean))
    except NotFinite as error:
        state.closing_trouble = str(error)
    except BaseException:
        state.ended = ""
        raise


def end_of(state: RunState, settings: TrainingSettings) -> Ended:
    """Why a run is at its end; nothing if it can go on."""
    if state.rollbacks > MAX_ROLLBACKS:
        return "not finite"
    if state.step >= settings.schedule.steps:
        return "steps"
    rule = settings.rule
    return "rule" if rule and state.validated and has_converged(state.validations, rule) else ""
