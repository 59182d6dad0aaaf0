"""Images to latents, once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from comfy.ldm.models.autoencoder import DiagonalGaussianRegularizer
from comfy.ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor, nn

from ...concept.concept import Concept, LatentChoice
from ...concept.counted import counted
from ...concept.pixels import in_floats
from ...draws import generator
from ...quoted import quoted
from ...training.latents import Gaussian, Latents, expected, sampled

LATENT_STREAM = 24
MOST_NAMED = 5  # images in an error


def encode_images(
    vae: Any,
    latent_format: Any,
    images: Sequence[Tensor],
    choice: LatentChoice = "deterministic",
    seed: int = 0,
) -> list[Latents]:
    """Latents `[c, ...]`, fp32 on the CPU, of images `[h, w, 3]` in bytes or 0..1, scaled as the
    diffusion model takes them; leaves the global RNG as it was.

    'deterministic' takes the host's own, 'once' draws one sample from the VAE's distribution,
    'random' keeps the distribution.
    """
    draws = generator(seed, LATENT_STREAM)
    latents: list[Latents] = []
    with torch.random.fork_rng():
        for image in images:
            throw_exception_if_processing_interrupted()
            if choice == "deterministic":
                latents.append(on_cpu(latent_format.process_in(encoded(vae, image))[0]))
                continue
            found = distribution(vae, latent_format, image)
            latents.append(found if choice == "random" else sampled(found, draws))
    return latents


def check_latents(latents: Sequence[Latents], concept: Concept, vae: Any) -> None:
    """Raise ValueError that names the images of which the VAE makes no numbers (NaN, infinity),
    or the same one everywhere although the image is not of one color.
    """
    crops = concept.crops
    wrong = {
        one.name: place
        for one, own_crops in zip(concept.images, concept.places, strict=True)
        for place in own_crops
        if not usable(latents[place], crops[place])
    }
    if not wrong:
        return
    first = expected(latents[next(iter(wrong.values()))])
    what = "the same number everywhere" if first.isfinite().all() else "NaN or infinity"
    names = ", ".join(list(map(quoted, wrong))[:MOST_NAMED])
    more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    raise ValueError(
        f"The VAE turns {counted(len(wrong), 'image')} ({names}{more}) into {what}. It runs in "
        f"{precision_of(vae)}. {remedy_for(vae)}"
    )


def usable(latents: Latents, image: Tensor) -> bool:
    """Whether latents are numbers, and say something of an image that has something to say."""
    parts = latents if isinstance(latents, Gaussian) else (latents,)
    if not all(bool(part.isfinite().all()) for part in parts):
        return False
    found = expected(latents)
    return found.numel() < 2 or bool(found.max() > found.min()) or is_flat(image)


def is_flat(image: Tensor) -> bool:
    """Whether an image `[h, w, 3]` has one color."""
    return bool((image == image[:1, :1]).all())


def precision_of(vae: Any) -> str:
    """The numbers that a VAE computes in, as `float16`."""
    return str(getattr(vae, "vae_dtype", "its own precision")).removeprefix("torch.")


def remedy_for(vae: Any) -> str:
    """What helps against latents that are no numbers."""
    if getattr(vae, "vae_dtype", None) == torch.float32:
        return "Use another VAE: this one, or its file, is damaged."
    return (
        "Start ComfyUI with --fp32-vae (or --bf16-vae), or use a VAE made for this precision, "
        "such as sdxl-vae-fp16-fix for SDXL."
    )


def encoded(vae: Any, image: Tensor) -> Tensor:
    """The host's latents of an image, as the VAE scales them `[1, c, ...]`."""
    with torch.inference_mode():
        return vae.encode(in_floats(image)[None])


def on_cpu(latents: Tensor) -> Tensor:
    """A normal tensor, fp32 on the CPU."""
    with torch.inference_mode(False):
        return latents.to("cpu", torch.float32, copy=True)


def distribution(vae: Any, latent_format: Any, image: Tensor) -> Gaussian:
    """Mean and spread of an image's latents as the diffusion model takes them; the scaling is
    linear, so that the spread is the way from the mean to one spread beside it.
    """
    with moments_kept(vae):
        mean, spread = encoded(vae, image).float().chunk(2, dim=1)
    with torch.inference_mode():
        middle = latent_format.process_in(mean)
        one_spread_off = latent_format.process_in(mean + spread)
    return Gaussian(on_cpu(middle[0]), on_cpu((one_spread_off - middle)[0].abs()))


class Moments(nn.Module):
    """Stands in for the VAE's regularization, and keeps mean and spread `[b, 2c, h, w]`."""

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
            f"This VAE ({type(network).__name__}) returns no distribution to sample latents from. "
            f"Set 'latents' in Crop & Buckets to 'deterministic'."
        )
    network.regularization = Moments()
    try:
        yield
    finally:
        network.regularization = regularization
