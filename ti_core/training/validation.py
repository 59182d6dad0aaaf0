"""A loss that can be compared: fixed pictures, captions, noise and positions."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..concept.concept import Concept, held_out
from ..concept.masks import stacked_weights
from ..draws import generator
from .batches import Batch, NotFinite, batch_loss, latent_masks
from .frozen_model import FrozenModel
from .latents import Latents, expected, shape_of
from .settings import TrainingSettings

VALIDATION_STREAM = 16
VALIDATION_SEED = 0  # The same for all runs, so that runs of different seeds can be compared.
SAMPLES = 16  # Not measured against other numbers.
# A sample costs a forward pass here, and about three times that in training; all validations
# together are to cost less than a tenth of the time, the first and the last one included.
FORWARD_SHARE = 1 / 3
COST_SHARE = 0.08


def fixed_samples(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    settings: TrainingSettings,
) -> list[Batch]:
    """What a run is validated on: all of its pictures, or those that are held out."""
    among = held_out(concept) if settings.hold_out else ()
    return validation_batches(
        model, concept, latents, placeholder, SAMPLES, settings.batch_size, among
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
) -> list[Batch]:
    """Draw `samples` fixed samples once: pictures in turn (of `among`, if any are given), positions
    at the middles of equal strata of the schedule, the first crop and the first text of each
    picture, nothing dropped from it.
    """
    draws = generator(seed, VALIDATION_STREAM)
    positions = ((torch.arange(samples) + 0.5) * len(model.sigmas) / samples).long()[
        torch.randperm(samples, generator=draws)
    ]
    weights, drawn = latent_masks(concept, latents), []
    choice = among or range(len(concept.pictures))
    pictures = [choice[sample % len(choice)] for sample in range(samples)]
    for part in of_one_shape(
        [shape_of(latents[concept.places[p][0]]) for p in pictures], batch_size
    ):
        chosen = [pictures[sample] for sample in part]
        crops = [concept.places[picture][0] for picture in chosen]
        clean = torch.stack([expected(latents[crop]) for crop in crops])
        captions = tuple(concept.text(picture, placeholder) for picture in chosen)
        noise = torch.randn(clean.shape, generator=draws)
        counts = stacked_weights([weights[crop] for crop in crops])
        drawn.append(Batch(clean, noise, positions[torch.tensor(part)], captions, counts))
    return drawn


def of_one_shape(shapes: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """Places of the samples, in groups of one shape and at most `batch_size`."""
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        for start in range(0, len(places), batch_size):
            yield places[start : start + batch_size]


@torch.no_grad()
def validation_loss(
    model: FrozenModel, drawn: Sequence[Batch], vectors: Mapping[str, Tensor]
) -> float:
    """Mean native loss over the fixed samples, without gradient; NotFinite if it is no number."""
    parts = [part for batch in drawn for part in batch.parts(model.rows)]
    loss = float(torch.cat([batch_loss(model, part, vectors) for part in parts]).mean())
    if not math.isfinite(loss):
        raise NotFinite(
            f"The validation loss is {loss}. The model overflows in this precision. Choose "
            f"precision 'bf16' or 'fp32', or a lower learning rate."
        )
    return loss


def validation_every(samples: int, step_samples: int) -> int:
    """Steps from one validation to the next, by what they cost, for `step_samples` a step; a pure
    function of the settings, because a clock would make runs differ.
    """
    return math.ceil(samples * FORWARD_SHARE / (COST_SHARE * step_samples))
