"""A loss that can be compared: fixed images, captions, noise and positions."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..concept.concept import Concept, held_out
from ..concept.masks import stacked_weights
from ..draws import generator
from .batches import Batch, NotFinite, latent_masks, loss_with, timesteps_at, with_loss_weights
from .frozen_model import FrozenModel
from .latents import Latents, expected, shape_of
from .noise_levels import quantiles
from .objective import USUAL, Objective
from .settings import TrainingSettings

VALIDATION_STREAM = 16
VALIDATION_SEED = 0  # The same for all runs, so that runs of different seeds can be compared.
SAMPLES = 12
# A sample costs a forward pass here, and about three times that in training. All validations of a
# run of 400 steps, the first and the last one included, cost a tenth of its time.
FORWARD_SHARE = 1 / 3
COST_SHARE = 0.05
FIRST = 5  # steps; from there on at twice as many steps each time, until `validation_every`


def fixed_samples(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    settings: TrainingSettings,
) -> list[Batch]:
    """What a run is validated on: all of its images, or those that are held out."""
    among = held_out(concept) if settings.hold_out else ()
    batch, objective = settings.batch_size, settings.objective
    return validation_batches(
        model, concept, latents, placeholder, SAMPLES, batch, among, objective=objective
    )


def validation_batches(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    samples: int,
    batch_size: int,
    among: Sequence[int] = (),
    seed: int = VALIDATION_SEED,
    objective: Objective = USUAL,
) -> list[Batch]:
    """Draw `samples` fixed samples once: images in turn (of `among`, if any are given), positions
    at equal quantiles of the noise levels, the first crop and the first text of each image,
    nothing dropped from it, and noise without offset.
    """
    draws = generator(seed, VALIDATION_STREAM)
    at_quantiles = quantiles(samples)[torch.randperm(samples, generator=draws)]
    weights, drawn = latent_masks(concept, latents), []
    choice = among or range(len(concept.images))
    images = [choice[sample % len(choice)] for sample in range(samples)]
    for part in of_one_shape([shape_of(latents[concept.places[p][0]]) for p in images], batch_size):
        chosen = [images[sample] for sample in part]
        crops = [concept.places[image][0] for image in chosen]
        clean = torch.stack([expected(latents[crop]) for crop in crops])
        captions = tuple(concept.text(image, placeholder) for image in chosen)
        noise = torch.randn(clean.shape, generator=draws)
        counts = stacked_weights([weights[crop] for crop in crops])
        crop_origins = tuple(concept.crop_origins[crop] for crop in crops)
        positions = timesteps_at(model, objective, clean, at_quantiles[torch.tensor(part)])
        batch = Batch(clean, noise, positions, captions, counts, crop_origins)
        drawn.append(with_loss_weights(model, objective, batch))
    return drawn


def of_one_shape(shapes: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """Places of the samples, in groups of one shape and at most `batch_size`."""
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        for start in range(0, len(places), batch_size):
            yield places[start : start + batch_size]


def validation_loss(
    model: FrozenModel, drawn: Sequence[Batch], vectors: Mapping[str, Tensor]
) -> float:
    """Mean of the validation's losses."""
    return float(validation_losses(model, drawn, vectors).mean())


@torch.no_grad()
def validation_losses(
    model: FrozenModel, drawn: Sequence[Batch], vectors: Mapping[str, Tensor]
) -> Tensor:
    """Native losses `[n]` of the fixed samples, without gradient, each caption encoded once;
    NotFinite if one is no number.
    """
    parts = [part for batch in drawn for part in batch.parts(model.rows)]
    captions = dict.fromkeys(caption for part in parts for caption in part.captions)
    conditioning = {caption: model.encode([caption], vectors)[0] for caption in captions}
    losses = [
        loss_with(model, part, [conditioning[one] for one in part.captions]) for part in parts
    ]
    found = torch.cat(losses).cpu().double()
    if not bool(found.isfinite().all()):
        raise NotFinite(
            f"The validation loss is {float(found.mean())}. The model overflows in this precision. "
            f"Choose dtype 'bf16' or 'fp32', or a lower learning rate."
        )
    return found


def due(step: int, settings: TrainingSettings) -> bool:
    """Whether a run is validated after that step: often at first, then by what a validation costs.
    A pure function of the settings, because a clock would make runs differ.
    """
    every = validation_every(settings.batch_size * settings.accumulation)
    return step % every == 0 or step in doublings(every)


def validation_every(step_samples: int) -> int:
    """Steps from one validation to the next late in a run, for `step_samples` a step."""
    affordable = SAMPLES * FORWARD_SHARE / (COST_SHARE * step_samples)
    return next(steps for steps in doublings() if steps >= affordable)


def doublings(end: float = math.inf) -> Iterator[int]:
    """The first step that is validated, and then twice as many each time, below `end`."""
    step = FIRST
    while step < end:
        yield step
        step *= 2
