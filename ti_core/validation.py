"""A loss that can be compared: fixed pictures, captions, noise and positions."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from .concept import Concept
from .draws import generator
from .latents import Latents, expected, shape_of
from .masks import stacked_weights
from .training import Batch, FrozenModel, batch_loss, weights_of

VALIDATION_STREAM = 16


def validation_batches(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    seed: int,
    samples: int,
    batch_size: int,
) -> list[Batch]:
    """Draw `samples` fixed samples once: pictures in turn, positions at the middles of equal strata
    of the schedule, the first crop and the first text of each picture, nothing dropped from it.
    """
    draws = generator(seed, VALIDATION_STREAM)
    positions = ((torch.arange(samples) + 0.5) * len(model.sigmas) / samples).long()[
        torch.randperm(samples, generator=draws)
    ]
    weights, drawn = weights_of(concept, latents), []
    pictures = [sample % len(concept.names) for sample in range(samples)]
    for part in of_one_shape(
        [shape_of(latents[concept.crops[p][0]]) for p in pictures], batch_size
    ):
        chosen = [pictures[sample] for sample in part]
        crops = [concept.crops[picture][0] for picture in chosen]
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
    """Mean native loss over the fixed samples, without gradient."""
    return float(torch.cat([batch_loss(model, batch, vectors) for batch in drawn]).mean())
