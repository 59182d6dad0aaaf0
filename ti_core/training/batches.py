"""What a step sees: images, captions, noise and noise levels, drawn from generators of their
own.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..concept.caption_settings import TrainingPosition
from ..concept.concept import Concept, CropOrigin, held_out, without
from ..concept.masks import latent_weights, stacked_weights
from ..concept.rounds import Rounds
from ..draws import Stream, fraction, generator
from .frozen_model import FrozenModel
from .latents import Latents, sampled, shape_of
from .noise_levels import stratified
from .objective import Objective, loss_weight, native_loss
from .settings import TrainingSettings


class NotFinite(RuntimeError):
    """A loss, a gradient or a vector became NaN or infinite."""


class Batch(NamedTuple):
    """Samples that are denoised together: latents and noise `[b, ...]`, positions in the schedule
    `[b]`, captions, how much each latent counts `[b, 1, ...]` (None where all count 1), and how
    the images were cut.
    """

    latents: Tensor
    noise: Tensor
    positions: Tensor
    captions: tuple[str, ...]
    weights: Tensor | None = None
    crop_origins: tuple[CropOrigin, ...] = ()

    def parts(self, rows: int) -> list["Batch"]:
        """The batch in parts of at most `rows` samples."""
        starts = range(0, len(self.captions), rows)
        return [
            Batch(*(None if held is None else held[start : start + rows] for held in self))  # type: ignore[arg-type]
            for start in starts
        ]


class Batches:
    """The batches of all optimizer steps: images of one size in shuffled rounds, a caption drawn
    for each sample, noise and a schedule position.

    A step depends on its number alone, so that a run is taken up at any step without drawing what
    came before. Each kind of draw has generators of its own, so that one does not shift another.
    """

    def __init__(
        self,
        model: FrozenModel,
        concept: Concept,
        latents: Sequence[Latents],
        placeholder: str,
        settings: TrainingSettings,
    ) -> None:
        self.model, self.concept, self.latents = model, concept, latents
        self.placeholder, self.settings = placeholder, settings
        shown = without(concept, held_out(concept)) if settings.hold_out else concept
        shapes = [shape_of(one) for one in latents]
        self.rounds = Rounds(shown, shapes, settings.batch_size, settings.seed)
        self.weights = latent_masks(concept, latents)

    def of_step(self, step: int) -> list[Batch]:
        """The batches of a step, from 0; positions are stratified over all of their samples."""
        size, count = self.settings.batch_size, self.settings.accumulation
        at_quantiles = stratified(size * count, self.draws(Stream.LEVEL, step))
        parts = enumerate(at_quantiles.split(size), step * count)
        return [self.batch(step, number, part) for number, part in parts]

    def __iter__(self) -> Iterator[Batch]:
        """All batches, from the first step on."""
        return itertools.chain.from_iterable(map(self.of_step, itertools.count()))

    def batch(self, step: int, number: int, at_quantiles: Tensor) -> Batch:
        """The batch with a number among all, at quantiles `[b]` of the noise levels. Its samples
        have one template, so that with templates alone the text encoder runs once.
        """
        group, objective = self.rounds.group(number), self.settings.objective
        looks, words = self.draws(Stream.LATENTS, number), self.draws(Stream.WORDING, number)
        clean = torch.stack([sampled(self.latents[pick.crop], looks) for pick in group])
        noise = torch.randn(clean.shape, generator=self.draws(Stream.NOISE, number))
        if objective.offset_noise:
            offset = offset_like(noise, self.draws(Stream.OFFSET, number))
            noise += objective.offset_noise * offset
        place = fraction(self.draws(Stream.TEMPLATE, number))
        captions = tuple(
            self.concept.text(
                pick.image, self.placeholder, place, TrainingPosition(step, pick.round), words
            )
            for pick in group
        )
        counts = stacked_weights([self.weights[pick.crop] for pick in group])
        crop_origins = tuple(self.concept.crop_origins[pick.crop] for pick in group)
        positions = timesteps_at(self.model, objective, clean, at_quantiles)
        batch = Batch(clean, noise, positions, captions, counts, crop_origins)
        return with_loss_weights(self.model, objective, batch)

    def draws(self, stream: Stream, place: int) -> torch.Generator:
        """The generator of one kind of draw at a step or a batch."""
        return generator(self.settings.seed, stream, place)


def offset_like(noise: Tensor, draws: torch.Generator) -> Tensor:
    """One value for each channel of each sample of noise `[b, c, ...]` (offset noise, Guttenberg,
    crosslabs.org, 2023).
    """
    return torch.randn(*noise.shape[:2], *(1 for _ in noise.shape[2:]), generator=draws)


def timesteps_at(
    model: FrozenModel, objective: Objective, latents: Tensor, at_quantiles: Tensor
) -> Tensor:
    """Timesteps at quantiles `[b]` of the noise levels, for latents `[b, ...]`."""
    levels = objective.levels(model.usual_levels(latents.shape[1:]))
    return levels.positions(at_quantiles, len(model.sigmas))


def with_loss_weights(model: FrozenModel, objective: Objective, batch: Batch) -> Batch:
    """The batch with each sample weighted by its noise level."""
    if objective.weighting == "none":
        return batch
    sigma = model.sigmas[batch.positions]
    kind = (model.prediction, model.sigma_data, objective.weighting, objective.gamma)
    factor = loss_weight(sigma, *kind).view(-1, *(1 for _ in batch.latents.shape[1:]))
    return batch._replace(weights=factor if batch.weights is None else batch.weights * factor)


def latent_masks(concept: Concept, latents: Sequence[Latents]) -> list[Tensor | None]:
    """Weights of each crop at the size of its latents, None where it has no mask."""
    return [
        None if mask is None else latent_weights(mask, shape_of(latent))
        for mask, latent in zip(concept.weights, latents, strict=True)
    ]


def batch_loss(model: FrozenModel, batch: Batch, vectors: Mapping[str, Tensor]) -> Tensor:
    """Native loss of every sample of a batch `[b]`."""
    return loss_with(model, batch, model.encode(batch.captions, vectors))


def loss_with(model: FrozenModel, batch: Batch, conditioning: Sequence[Any]) -> Tensor:
    """Native loss of every sample of a batch `[b]`, conditioned on its captions one by one."""
    sigma = model.sigmas[batch.positions].to(batch.latents)
    noisy = model.add_noise(batch.latents, batch.noise, sigma)
    x0 = model.denoise(noisy, sigma, conditioning, batch.crop_origins)
    weights = None if batch.weights is None else batch.weights.to(x0.device)
    return native_loss(
        x0,
        batch.latents.to(x0.device),
        sigma.to(x0.device),
        model.prediction,
        model.sigma_data,
        weights,
    )
