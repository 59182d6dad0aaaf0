"""The parts of the small worlds' models that are made from toyworld's."""

from random import Random

import torch
from comfy.latent_formats import Flux
from comfy.taesd.taesd import TAESD

from toyworld import assembly
from toyworld.descent import under
from toyworld.scenes import images
from toyworld.worlds import FLOWWORLD


def test_the_vae_with_16_channels_shows_what_toyworlds_shows():
    state = assembly.unpacked(assembly.WEIGHTS)
    narrow, wide = TAESD(), TAESD(latent_channels=16)
    narrow.load_state_dict(under(state, assembly.VAE))
    wide.load_state_dict(assembly.wide_vae(state))
    draws = Random(1)
    shown = images(FLOWWORLD, [FLOWWORLD.random_scene(draws) for _ in range(4)]) * 2 - 1
    latents = wide.encode(shown)
    assert torch.allclose(wide.decode(latents), narrow.decode(narrow.encode(shown)), atol=1e-3)
    seen = Flux().process_in(latents)
    assert torch.allclose(seen[:, :4], seen[:, 4:8], atol=1e-5)
    assert 0.4 < float(seen.std()) < 0.6  # half of unit spread: four copies have the noise of one
