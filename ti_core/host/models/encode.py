"""Pictures to latents, once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from comfy.ldm.models.autoencoder import DiagonalGaussianRegularizer
from comfy.ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor, nn

from ...concept.concept import LatentChoice
from ...concept.pixels import in_floats
from ...draws import generator
from ...training.latents import Gaussian, Latents, sampled

LATENT_STREAM = 24


def encode_pictures(
    vae: Any,
    latent_format: Any,
    pictures: Sequence[Tensor],
    choice: LatentChoice = "deterministic",
    seed: int = 0,
) -> list[Latents]:
    """Latents `[c, ...]`, fp32 on the CPU, of pictures `[h, w, 3]` in bytes or 0..1, scaled as the
    diffusion model takes them; leaves the global RNG as it was.

    'deterministic' takes the host's own, 'once' draws one sample from the VAE's distribution,
    'random' keeps the distribution.
    """
    draws = generator(seed, LATENT_STREAM)
    latents: list[Latents] = []
    with torch.random.fork_rng():
        for picture in pictures:
            throw_exception_if_processing_interrupted()
            if choice == "deterministic":
                latents.append(own(latent_format.process_in(encoded(vae, picture))[0]))
                continue
            found = distribution(vae, latent_format, picture)
            latents.append(found if choice == "random" else sampled(found, draws))
    return latents


def encoded(vae: Any, picture: Tensor) -> Tensor:
    """The host's latents of a picture, as the VAE scales them `[1, c, ...]`."""
    with torch.inference_mode():
        return vae.encode(in_floats(picture)[None])


def own(latents: Tensor) -> Tensor:
    """A normal tensor, fp32 on the CPU."""
    with torch.inference_mode(False):
        return latents.to("cpu", torch.float32, copy=True)


def distribution(vae: Any, latent_format: Any, picture: Tensor) -> Gaussian:
    """Mean and spread of a picture's latents as the diffusion model takes them; the scaling is
    linear, so that the spread is the way from the mean to one spread beside it.
    """
    with moments_kept(vae):
        mean, spread = encoded(vae, picture).float().chunk(2, dim=1)
    with torch.inference_mode():
        middle = latent_format.process_in(mean)
        beside = latent_format.process_in(mean + spread)
    return Gaussian(own(middle[0]), own((beside - middle)[0].abs()))


class Moments(nn.Module):
    """Stands in for the VAE's regularisation, and keeps mean and spread `[b, 2c, h, w]`."""

    def forward(self, parameters: Tensor) -> tuple[Tensor, None]:
        found = DiagonalGaussianDistribution(parameters)
        return torch.cat((found.mean, found.std), dim=1), None


@contextmanager
def moments_kept(vae: Any) -> Iterator[None]:
    """Let `vae.encode` give the whole distribution instead of its middle (core
    ldm/models/autoencoder.py:23).
    """
    network = vae.first_stage_model
    regularization = getattr(network, "regularization", None)
    if (
        not isinstance(regularization, DiagonalGaussianRegularizer)
        or getattr(network, "bn", None) is not None
    ):
        raise ValueError(
            f"This VAE ({type(network).__name__}) gives no distribution to sample latents from. "
            f"Set 'latents' in Picture Fit to 'deterministic'."
        )
    network.regularization = Moments()
    try:
        yield
    finally:
        network.regularization = regularization
