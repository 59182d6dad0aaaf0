"""A tiny frozen model for the engine's tests: linear text encoder and denoiser, four sigmas."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, ConceptImage
from ti_core.concept.templates import TEMPLATES
from ti_core.training.batches import Batch, Batches
from ti_core.training.loop import train
from ti_core.training.noise_levels import NoiseLevels
from ti_core.training.objective import Prediction
from ti_core.training.optimizers import SphericalSettings
from ti_core.training.run import RunState
from ti_core.training.schedule import Shape, schedule
from ti_core.training.settings import TrainingSettings
from ti_core.word.embedding import Embedding

WIDTH = 6


class ToyModel:
    """Predicts the noise as what is noisy minus an image that the caption's vectors describe."""

    prediction: Prediction = "eps"
    sigma_data = 1.0
    loss_scale = 1.0
    rows = 64

    def __init__(self, channels: int = 3):
        draws = torch.Generator().manual_seed(0)
        self.sigmas = torch.tensor([0.1, 0.5, 1.0, 2.0])
        self.table = torch.randn(WIDTH, channels, generator=draws)
        self.vocabulary_norms = {"clip_l": 0.4}
        self.seen: list[str] = []

    def usual_levels(self, shape: Sequence[int]) -> NoiseLevels:
        return NoiseLevels()

    @contextmanager
    def differentiable(self, seed: int = 0) -> Iterator[None]:
        yield

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> list[Tensor]:
        self.seen += captions
        return [vectors["clip_l"].sum(0) @ self.table for _ in captions]

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return latents + noise * sigma.view(-1, 1, 1, 1)

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        return 0.5 * noisy + torch.stack(list(conditioning))[:, :, None, None]


def concept(count: int = 3) -> tuple[Concept, list[Tensor]]:
    """Images of one color each, and latents to match."""
    draws = torch.Generator().manual_seed(1)
    latents = [torch.rand(3, 4, 4, generator=draws) for _ in range(count)]
    images = tuple(latent.movedim(0, -1) for latent in latents)
    return plain_concept(images), latents


def image(*crops: Tensor, **changes: Any) -> ConceptImage:
    """An image of plain crops, all of which counts; with a caption that is its text, without one
    the sentences for objects.
    """
    plain = {
        "name": "0.png",
        "weights": (None,) * len(crops),
        "caption": "",
        "caption_settings": CaptionSettings()
        if "caption" in changes
        else CaptionSettings(TEMPLATES["object"]),
    }
    return ConceptImage(crops=crops, **{**plain, **changes})


def plain_concept(crops: Sequence[Tensor], captions: Sequence[str] = (), **changes: Any) -> Concept:
    """A concept of one image for each crop, with its caption if there are any; what is changed
    is the same for all.
    """
    own = [{"caption": caption} for caption in captions] or [{}] * len(crops)
    images = (
        image(crop, name=f"{number}.png", **caption, **changes)
        for number, (crop, caption) in enumerate(zip(crops, own, strict=True))
    )
    return Concept(tuple(images), "captions" if captions else "object")


def word(rows: int = 2) -> Embedding:
    """An untrained word."""
    vectors = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(2))
    return Embedding("my-cat", "cat", {"clip_l": vectors}, {"clip_l": vectors})


def settings(
    steps: int = 40, rate: str = "0.05", shape: Shape = "cosine", **changes: Any
) -> TrainingSettings:
    """Settings of a short run that does all of its steps."""
    chosen = {"method": SphericalSettings(), "batch_size": 2, "seed": 5, "rule": None, **changes}
    return TrainingSettings(schedule(rate, steps, shape), **chosen)


def batches(*given: Any) -> Iterator[Batch]:
    """The batches of a run, from its first step on."""
    return iter(Batches(*given))


def ran(
    chosen: TrainingSettings,
    state: RunState | None = None,
    until: int | None = None,
    model: ToyModel | None = None,
    made: Embedding | None = None,
) -> RunState:
    """The state at the end, or when it is broken off at a step."""
    images, latents = concept()
    run = train(model or ToyModel(), images, latents, made or word(), chosen, state)
    now = next(run)
    while now.step != until and next(run, None):
        pass
    return now
