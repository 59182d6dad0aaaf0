"""What the host's tests train on: small models, a concept, latents, a word, settings."""

from typing import Any

import torch
from comfy.sd import CLIP
from torch import Tensor

from ti_core.concept.concept import Concept
from ti_core.host.models.text import create_embedding
from ti_core.training.loop import TrainingSettings
from ti_core.training.optimisers import SphericalSettings
from ti_core.training.schedule import schedule
from ti_core.word.embedding import Embedding


def concept(count: int = 3, size: int = 64) -> Concept:
    """Pictures of coloured noise."""
    draws = torch.Generator().manual_seed(3)
    pictures = tuple(torch.rand(size, size, 3, generator=draws) for _ in range(count))
    return Concept(pictures, tuple(f"{number}.png" for number in range(count)), "object")


def word(clip: CLIP, vectors: int = 2) -> Embedding:
    """An untrained word."""
    return create_embedding(clip, "my-cat", "cat", vectors)


def latents(count: int = 3, channels: int = 4) -> list[Tensor]:
    """Latents at unit scale, normal tensors."""
    with torch.inference_mode(False):
        draws = torch.Generator().manual_seed(4)
        return [torch.randn(channels, 8, 8, generator=draws) for _ in range(count)]


def settings(steps: int = 3, rate: str = "0.05", **changes: Any) -> TrainingSettings:
    """A short training."""
    chosen = {"method": SphericalSettings(), "batch_size": 2, "seed": 7, **changes}
    return TrainingSettings(schedule(rate, steps, "constant"), **chosen)
