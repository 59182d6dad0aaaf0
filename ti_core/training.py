"""The training loop, and what it needs of a frozen model."""

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .concept import Concept, check_words, picks
from .draws import fraction, generator
from .embedding import Embedding
from .latents import Latents, sampled, shape_of
from .masks import latent_weights, stacked_weights
from .objective import Prediction, native_loss, stratified
from .optimisers import FreeSettings, Method, SphericalSettings, gradient_norm, method
from .schedule import Schedule
from .wording import Moment

log = logging.getLogger(__name__)


class FrozenModel(Protocol):
    """A frozen diffusion model with its text encoders: captions in, conditioning out; noisy latents
    and conditioning in, x0 out.
    """

    @property
    def sigmas(self) -> Tensor:
        """The schedule that the model was trained on, ascending `[t]`."""
        ...

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        ...

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data that the schedule assumes."""
        ...

    @property
    def loss_scale(self) -> float:
        """Factor on the loss that keeps fp16 gradients from vanishing; 1 in other precisions."""
        ...

    @property
    def vocabulary_norms(self) -> Mapping[str, float]:
        """Mean norm of the vocabulary's vectors, per encoder key."""
        ...

    def differentiable(self) -> AbstractContextManager[None]:
        """Let gradients flow through the frozen weights inside the block."""
        ...

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> Any:
        """Conditioning of the captions, in which the placeholder stands for `vectors` `[n, dim]`
        per encoder key.
        """
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Noisy latents `[b, ...]` at `sigma` `[b]`."""
        ...

    def denoise(self, noisy: Tensor, sigma: Tensor, conditioning: Any) -> Tensor:
        """Predicted x0 `[b, ...]`; each sample sees its own caption."""
        ...


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how to train; `schedule` knows the number of steps."""

    schedule: Schedule
    method: SphericalSettings | FreeSettings
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 0


class Batch(NamedTuple):
    """Samples that are denoised together: latents and noise `[b, ...]`, positions in the schedule
    `[b]`, captions, and how much each latent counts `[b, 1, ...]`, None where all count 1.
    """

    latents: Tensor
    noise: Tensor
    positions: Tensor
    captions: tuple[str, ...]
    weights: Tensor | None = None


class StepReport(NamedTuple):
    """What one optimiser step did; `vectors` are copies of the live ones after it, `norms` their
    mean norm per encoder key.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    norms: Mapping[str, float]
    vectors: Mapping[str, Tensor]
    seconds: float


def train(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    embedding: Embedding,
    settings: TrainingSettings,
) -> Iterator[StepReport]:
    """Learn the embedding's vectors on `latents` (one `[c, ...]` per crop of the concept, as the
    model takes them), a report per step.

    Raises ValueError for captions that are not allowed, and RuntimeError when the gradient or the
    loss cannot be right. On a CPU the same arguments give the same vectors, bit for bit.
    """
    check_words(concept, embedding.placeholder)
    mover = method(settings.method, embedding.vectors, model.vocabulary_norms)
    draws = batches(model, concept, latents, embedding.placeholder, settings)
    scale = model.loss_scale
    for step in range(settings.schedule.steps):
        started = time.perf_counter()
        group = [next(draws) for _ in range(settings.accumulation)]
        loss, scale = gradient(model, mover, group, scale)
        check_step(step, loss, mover.vectors)
        norm, rate = gradient_norm(mover.vectors.values()), settings.schedule(step)
        mover.step(rate)
        learned = {key: rows.detach().clone() for key, rows in mover.vectors.items()}
        norms = {key: float(rows.norm(dim=-1).mean()) for key, rows in learned.items()}
        yield StepReport(step + 1, loss, rate, norm, norms, learned, time.perf_counter() - started)


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
    chosen = picks(concept, shapes, settings.batch_size, (orders, crops))
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
    masks = [concept.mask(crop) for crop in range(len(latents))]
    return [
        None if mask is None else latent_weights(mask, shape_of(latent))
        for mask, latent in zip(masks, latents, strict=True)
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
            with model.differentiable():
                loss = batch_loss(model, batch, mover.vectors)
                (loss.mean() * (scale / len(group))).backward()
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
    finite gradient, or at first a row without any gradient.
    """
    if not torch.isfinite(torch.tensor(loss)):
        raise RuntimeError(
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
            raise RuntimeError(
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
