"""A loss that can be compared: fixed pictures, captions, noise and positions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .concept import Concept
from .training import Batch, FrozenModel, batch_loss, generator

VALIDATION_STREAM = 16


def validation_batches(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Tensor],
    placeholder: str,
    seed: int,
    samples: int,
    batch_size: int,
) -> list[Batch]:
    """Draw `samples` fixed samples once: pictures in turn, positions at the middles of equal strata
    of the schedule, the first caption of each picture.
    """
    draws = generator(seed, VALIDATION_STREAM)
    positions = ((torch.arange(samples) + 0.5) * len(model.sigmas) / samples).long()[
        torch.randperm(samples, generator=draws)
    ]
    drawn = []
    for part in torch.arange(samples).split(batch_size):
        chosen = [int(index) % len(latents) for index in part]
        clean = torch.stack([latents[index] for index in chosen])
        captions = tuple(concept.texts(index, placeholder)[0] for index in chosen)
        drawn.append(
            Batch(clean, torch.randn(clean.shape, generator=draws), positions[part], captions)
        )
    return drawn


@torch.no_grad()
def validation_loss(
    model: FrozenModel, drawn: Sequence[Batch], vectors: Mapping[str, Tensor]
) -> float:
    """Mean native loss over the fixed samples, without gradient."""
    return float(torch.cat([batch_loss(model, batch, vectors) for batch in drawn]).mean())
