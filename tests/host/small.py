"""What the host's tests train on: small models, a concept, latents, a word, settings."""

from typing import Any

import torch
from comfy.sd import CLIP
from small_models import Loaded as Loaded
from small_models import load_checkpoint as load_checkpoint
from small_models import small_chroma as small_chroma
from small_models import small_flux as small_flux
from small_models import small_qwen_image as small_qwen_image
from small_models import small_sd1 as small_sd1
from small_models import small_sd2 as small_sd2
from small_models import small_sd3 as small_sd3
from small_models import small_sdxl as small_sdxl
from small_models import small_zimage as small_zimage
from torch import Tensor

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, ConceptImage
from ti_core.concept.templates import TEMPLATES
from ti_core.host.models.text import create_embedding
from ti_core.host.run_observer import Unobserved
from ti_core.training.optimizers import SphericalSettings
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings
from ti_core.word.embedding import Embedding


def concept(count: int = 3, size: int = 64) -> Concept:
    """Images of colored noise."""
    draws = torch.Generator().manual_seed(3)
    crops = [torch.rand(size, size, 3, generator=draws) for _ in range(count)]
    caption_settings = CaptionSettings(TEMPLATES["object"])
    images = (
        ConceptImage(f"{n}.png", (crop,), (None,), "", caption_settings)
        for n, crop in enumerate(crops)
    )
    return Concept(tuple(images), "object")


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


def observer(**calls: Any) -> Unobserved:
    """An observer that calls these functions, by the names of its methods."""
    made = Unobserved()
    for name, call in calls.items():
        assert hasattr(made, name), name
        setattr(made, name, call)
    return made
