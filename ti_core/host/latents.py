"""Pictures to latents, once."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor


def encode_pictures(vae: Any, latent_format: Any, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Latents `[c, ...]`, fp32 on the CPU, of pictures `[h, w, 3]` in 0..1, scaled as the diffusion
    model takes them; leaves the global RNG as it was.
    """
    latents = []
    with torch.random.fork_rng():
        for picture in pictures:
            throw_exception_if_processing_interrupted()
            with torch.inference_mode():
                encoded = latent_format.process_in(vae.encode(picture[None]))[0]
            with torch.inference_mode(False):
                latents.append(encoded.to("cpu", torch.float32, copy=True))
    return latents
