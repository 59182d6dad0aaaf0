"""The training loop, and what it needs of a frozen model."""

import itertools
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..concept.concept import Concept, check_words, held_out, picks, without
from ..concept.masks import latent_weights, stacked_weights
from ..concept.wording import Moment
from ..draws import fraction, generator
from ..word.embedding import Embedding
from .frozen_model import FrozenModel
from .latents import Latents, sampled, shape_of
from .objective import native_loss, stratified
from .optimisers import FreeSettings, Method, SphericalSettings, gradient_norm, method
from .schedule import Schedule

log = logging.getLogger(__name__)


class NotFinite(RuntimeError):
    """A loss, a gradient or a vector became NaN or infinite."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how to train; `schedule` knows the number of steps. `hold_out` keeps some
    pictures for validation alone, where there are enough.
    """

    schedule: Schedule
    method: SphericalSettings | FreeSettings
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 0
    hold_out: bool = False


class Batch(NamedTuple):
    """Samples that are denoised together: latents and noise `[b, ...]`, positions in the schedule
    `[b]`, captions, and how much each latent counts `[b, 1, ...]`, None where all count 1.
    """

    latents: Tensor
    noise: Tensor
    positions: Tensor
    captions: tuple[str, ...]
    weights: Tensor | None = None

    def parts(self, rows: int) -> list["Batch"]:
        """The batch in parts of at most `rows` samples."""
        starts = range(0, len(self.captions), rows)
        return [
            Batch(*(None if held is None else held[start : start + rows] for held in self))  # type: ignore[arg-type]
            for start in starts
        ]


class Start(NamedTuple):
    """Where a training goes on: steps done, draws used up (a step that failed has used its own),
    vectors and memory of the method, loss scale, and a factor on the learning rate.
    """

    step: int
    drawn: int
    vectors: Mapping[str, Tensor]
    memory: Mapping[str, Tensor]
    loss_scale: float
    rate_factor: float


class StepReport(NamedTuple):
    """What one optimiser step did; `vectors` are copies of the live ones after it, `norms` their
    mean norm per encoder key, `memory` and `loss_scale` what the next step needs besides them.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    norms: Mapping[str, float]
    vectors: Mapping[str, Tensor]
    memory: Mapping[str, Tensor]
    loss_scale: float
    seconds: float


def train(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    embedding: Embedding,
    settings: TrainingSettings,
    start: Start | None = None,
) -> Iterator[StepReport]:
    """Learn the embedding's vectors on `latents` (one `[c, ...]` per crop of the concept, as the
    model takes them), a report per step, from the beginning or from `start`.

    Raises ValueError for captions that are not allowed, RuntimeError when the gradient or the
    loss cannot be right, and NotFinite when one of them or a vector is not finite. On a CPU the
    same arguments give the same vectors, bit for bit, however often the run was broken off.
    """
    check_words(concept, embedding.placeholder)
    mover = method(settings.method, embedding.vectors, model.vocabulary_norms)
    draws = batches(model, concept, latents, embedding.placeholder, settings)
    first, scale, factor = 0, model.loss_scale, 1.0
    if start is not None:
        mover.restore(start.vectors, start.memory)
        first, scale, factor = start.step, start.loss_scale, start.rate_factor
        skip(draws, start.drawn * settings.accumulation)
    for step in range(first, settings.schedule.steps):
        started = time.perf_counter()
        group = [next(draws) for _ in range(settings.accumulation)]
        loss, scale = gradient(model, mover, group, scale)
        check_step(step, loss, mover.vectors)
        norm, rate = gradient_norm(mover.vectors.values()), factor * settings.schedule(step)
        mover.step(rate)
        learned = {key: rows.detach().clone() for key, rows in mover.vectors.items()}
        check_vectors(step, learned)
        norms = {key: float(rows.norm(dim=-1).mean()) for key, rows in learned.items()}
        seconds = time.perf_counter() - started
        yield StepReport(step + 1, loss, rate, norm, norms, learned, mover.memory(), scale, seconds)


def skip(draws: Iterator[Batch], count: int) -> None:
    """Draw what a broken-off run has drawn already, so that the next draw is the one that it would
    have made (a millisecond or so a step, which took a hundred times that to train).
    """
    for _ in range(count):
        next(draws)


def batches(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    settings: TrainingSettings,
) -> Iterator[Batch]:
    """Endless batches: pictures of one size in shuffled rounds, a caption drawn for each sample,
    noise and a schedule position.

    Positions are stratified over all samples of an optimiser step. A batch shares the template, so
    that with templates alone the text encoder runs once. Each kind of draw has a generator of its
    own, so that one does not shift another.
    """
    orders, templates, noises, places, crops, words, looks = (
        generator(settings.seed, stream) for stream in range(7)
    )
    shapes, weights = [shape_of(one) for one in latents], weights_of(concept, latents)
    shown = without(concept, held_out(concept)) if settings.hold_out else concept
    chosen = picks(shown, shapes, settings.batch_size, (orders, crops))
    for step in itertools.count():
        positions = stratified(
            settings.batch_size * settings.accumulation, len(model.sigmas), places
        )
        for part in positions.split(settings.batch_size):
            group = next(chosen)
            clean = torch.stack([sampled(latents[pick.crop], looks) for pick in group])
            noise = torch.randn(clean.shape, generator=noises)
            place = fraction(templates)
            captions = tuple(
                concept.text(pick.picture, placeholder, place, Moment(step, pick.round), words)
                for pick in group
            )
            counts = stacked_weights([weights[pick.crop] for pick in group])
            yield Batch(clean, noise, part, captions, counts)


def weights_of(concept: Concept, latents: Sequence[Latents]) -> list[Tensor | None]:
    """Weights of each crop at the size of its latents, None where it has no mask."""
    return [
        None if mask is None else latent_weights(mask, shape_of(latent))
        for mask, latent in zip(concept.weights, latents, strict=True)
    ]


def gradient(
    model: FrozenModel, mover: Method, group: Sequence[Batch], scale: float
) -> tuple[float, float]:
    """Put the mean loss gradient of the batches on the live vectors; return the loss and the loss
    scale that kept the gradient finite.
    """
    while True:
        for rows in mover.vectors.values():
            rows.grad = None
        losses = []
        for batch in group:
            for part in batch.parts(model.rows):
                share = len(part.captions) / (len(batch.captions) * len(group))
                with model.differentiable():
                    loss = batch_loss(model, part, mover.vectors)
                    (loss.mean() * (scale * share)).backward()
                losses.append(loss.detach())
        gradients = [rows.grad for rows in mover.vectors.values() if rows.grad is not None]
        for grad in gradients:
            grad /= scale
        if scale <= 1.0 or all(bool(grad.isfinite().all()) for grad in gradients):
            return float(torch.cat(losses).mean()), scale
        scale /= 2.0
        log.info("The fp16 gradient overflowed; the loss scale is now %g.", scale)


def batch_loss(model: FrozenModel, batch: Batch, vectors: Mapping[str, Tensor]) -> Tensor:
    """Native loss of every sample of a batch `[b]`."""
    sigma = model.sigmas[batch.positions].to(batch.latents)
    conditioning = model.encode(batch.captions, vectors)
    noisy = model.add_noise(batch.latents, batch.noise, sigma)
    x0 = model.denoise(noisy, sigma, conditioning)
    weights = None if batch.weights is None else batch.weights.to(x0.device)
    return native_loss(
        x0,
        batch.latents.to(x0.device),
        sigma.to(x0.device),
        model.prediction,
        model.sigma_data,
        weights,
    )


def check_step(step: int, loss: float, vectors: Mapping[str, Tensor]) -> None:
    """Raise RuntimeError with the likely cause when a step cannot be right: no finite loss, no
    finite gradient (NotFinite), or at first a row without any gradient.
    """
    if not math.isfinite(loss):
        raise NotFinite(
            f"The loss of step {step + 1} is {loss}. The model overflows in this precision: choose "
            f"precision 'bf16' or 'fp32', or check that the VAE belongs to the model."
        )
    for key, rows in vectors.items():
        grad = rows.grad
        if grad is None:
            raise RuntimeError(
                f"No gradient reached the {key} vectors. An attention kernel without backward "
                f"(Sage, Flash) or a node that detaches the conditioning is the likely cause."
            )
        if not bool(grad.isfinite().all()):
            raise NotFinite(
                f"The gradient of the {key} vectors at step {step + 1} is not finite. Choose "
                f"precision 'bf16' or 'fp32', or a lower learning rate."
            )
        silent = [
            index + 1 for index in range(len(rows)) if step == 0 and not bool(grad[index].any())
        ]
        if silent:
            raise RuntimeError(
                f"No gradient reached row {silent} of {len(rows)} of the {key} vectors in the "
                f"first step. Either the caption was cut before them "
                "(use fewer vectors or shorter captions), or the model does not listen to this "
                "encoder."
            )


def check_vectors(step: int, vectors: Mapping[str, Tensor]) -> None:
    """Raise NotFinite when a step has moved a vector beyond all numbers."""
    for key, rows in vectors.items():
        if not bool(rows.isfinite().all()):
            raise NotFinite(
                f"Step {step + 1} moved the {key} vectors to values that are not finite. Choose a "
                f"lower learning rate."
            )
