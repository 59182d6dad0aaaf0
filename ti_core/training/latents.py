"""What the VAE says of an image: one set of latents, or a distribution to draw from."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Gaussian(NamedTuple):
    """Mean and standard deviation of an image's latents `[c, ...]`."""

    mean: Tensor
    spread: Tensor


Latents = Tensor | Gaussian


def expected(latents: Latents) -> Tensor:
    """The likeliest latents `[c, ...]`."""
    return latents.mean if isinstance(latents, Gaussian) else latents


def sampled(latents: Latents, draws: Generator) -> Tensor:
    """Latents `[c, ...]` to train on, drawn anew from a distribution."""
    if not isinstance(latents, Gaussian):
        return latents
    return latents.mean + latents.spread * torch.randn(latents.mean.shape, generator=draws)


def shape_of(latents: Latents) -> tuple[int, ...]:
    """Shape of an image's latents."""
    return tuple(expected(latents).shape)
