"""What a step sees: pictures, captions, noise and noise levels, drawn from generators of their
own.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..concept.concept import Concept, Framing, held_out, picks, without
from ..concept.masks import latent_weights, stacked_weights
from ..concept.wording import Moment
from ..draws import fraction, generator
from .frozen_model import FrozenModel
from .latents import Latents, sampled, shape_of
from .noise_levels import stratified
from .objective import Objective, emphasis, native_loss
from .settings import TrainingSettings


class NotFinite(RuntimeError):
    """A loss, a gradient or a vector became NaN or infinite."""


class Batch(NamedTuple):
    """Samples that are denoised together: latents and noise `[b, ...]`, positions in the schedule
    `[b]`, captions, how much each latent counts `[b, 1, ...]` (None where all count 1), and how
    the pictures were cut.
    """

    latents: Tensor
    noise: Tensor
    positions: Tensor
    captions: tuple[str, ...]
    weights: Tensor | None = None
    framings: tuple[Framing, ...] = ()

    def parts(self, rows: int) -> list["Batch"]:
        """The batch in parts of at most `rows` samples."""
        starts = range(0, len(self.captions), rows)
        return [
            Batch(*(None if held is None else held[start : start + rows] for held in self))  # type: ignore[arg-type]
            for start in starts
        ]


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
    orders, templates, noises, places, crops, words, looks, offsets = (
        generator(settings.seed, stream) for stream in range(8)
    )
    objective = settings.objective
    shapes, weights = [shape_of(one) for one in latents], latent_masks(concept, latents)
    shown = without(concept, held_out(concept)) if settings.hold_out else concept
    chosen = picks(shown, shapes, settings.batch_size, (orders, crops))
    for step in itertools.count():
        shares = stratified(settings.batch_size * settings.accumulation, places)
        for part in shares.split(settings.batch_size):
            group = next(chosen)
            clean = torch.stack([sampled(latents[pick.crop], looks) for pick in group])
            noise = torch.randn(clean.shape, generator=noises)
            if objective.offset_noise:
                noise += objective.offset_noise * offset_like(noise, offsets)
            place = fraction(templates)
            captions = tuple(
                concept.text(pick.picture, placeholder, place, Moment(step, pick.round), words)
                for pick in group
            )
            counts = stacked_weights([weights[pick.crop] for pick in group])
            framings = tuple(concept.framings[pick.crop] for pick in group)
            positions = positions_at(model, objective, clean, part)
            batch = Batch(clean, noise, positions, captions, counts, framings)
            yield emphasised(model, objective, batch)


def offset_like(noise: Tensor, draws: torch.Generator) -> Tensor:
    """One value for each channel of each sample of noise `[b, c, ...]` (offset noise, Guttenberg,
    crosslabs.org, 2023).
    """
    return torch.randn(*noise.shape[:2], *(1 for _ in noise.shape[2:]), generator=draws)


def positions_at(
    model: FrozenModel, objective: Objective, latents: Tensor, shares: Tensor
) -> Tensor:
    """Where in the schedule these shares `[b]` of all noise levels lie, for latents `[b, ...]`."""
    levels = objective.levels(model.usual_levels(latents.shape[1:]))
    return levels.positions(shares, len(model.sigmas))


def emphasised(model: FrozenModel, objective: Objective, batch: Batch) -> Batch:
    """The batch with each sample weighted by its noise level."""
    if objective.weighting == "none":
        return batch
    sigma = model.sigmas[batch.positions]
    kind = (model.prediction, model.sigma_data, objective.weighting, objective.gamma)
    factor = emphasis(sigma, *kind).view(-1, *(1 for _ in batch.latents.shape[1:]))
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
    x0 = model.denoise(noisy, sigma, conditioning, batch.framings)
    weights = None if batch.weights is None else batch.weights.to(x0.device)
    return native_loss(
        x0,
        batch.latents.to(x0.device),
        sigma.to(x0.device),
        model.prediction,
        model.sigma_data,
        weights,
    )
