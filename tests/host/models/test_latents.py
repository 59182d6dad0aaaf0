"""Latents that cannot be trained on are told with their image, before the first step."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small import concept, observer, settings, small_sd1, word
from torch import Tensor

from ti_core.concept.concept import Concept
from ti_core.host.learn import Models, learn
from ti_core.host.models.encode import check_latents
from ti_core.training.latents import Gaussian


class Vae:
    """Tells the precision that it computes in, as the host's does."""

    def __init__(self, kind: torch.dtype = torch.float16):
        self.vae_dtype = kind


def good(count: int = 3) -> list[Any]:
    return [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(count)]


def one_value(latents: Tensor, value: float) -> Tensor:
    changed = latents.clone()
    changed[1, 2, 3] = value
    return changed


WRONG = {
    "NaN everywhere": lambda one: torch.full_like(one, torch.nan),
    "one NaN": lambda one: one_value(one, torch.nan),
    "infinity": lambda one: one_value(one, torch.inf),
    "minus infinity": lambda one: one_value(one, -torch.inf),
    "zero everywhere": torch.zeros_like,
    "a distribution without a spread": lambda one: Gaussian(one, torch.full_like(one, torch.nan)),
    "a distribution without a mean": lambda one: Gaussian(one * torch.nan, one.abs()),
}


@pytest.mark.parametrize("bend", WRONG.values(), ids=list(WRONG))
def test_an_image_whose_latents_are_no_numbers_is_named_with_the_precision(bend: Any):
    latents = good()
    latents[1] = bend(latents[1])
    with pytest.raises(ValueError) as told:
        check_latents(latents, concept(), Vae())
    assert "1 image ('1.png') into " in str(told.value)
    assert "It runs in float16." in str(told.value)
    assert "--fp32-vae" in str(told.value)
    assert "2.png" not in str(told.value)


def test_a_vae_in_full_precision_is_not_told_to_be_run_in_it():
    latents = [*good(2), torch.full((4, 8, 8), torch.nan)]
    with pytest.raises(ValueError, match="It runs in float32. Use another VAE"):
        check_latents(latents, concept(), Vae(torch.float32))


def test_good_latents_and_those_of_an_image_of_one_color_are_taken():
    images = concept()
    check_latents(good(), images, Vae())
    gray = replace(images.images[1], crops=(torch.full((64, 64, 3), 0.5),))
    plain = Concept((images.images[0], gray, images.images[2]), "object")
    check_latents([good()[0], torch.zeros(4, 8, 8), good()[2]], plain, Vae())


def test_a_bad_crop_among_several_names_its_image_once():
    images = concept()
    crops = images.images[2].crops * 3
    several = replace(images.images[2], crops=crops, weights=(None,) * 3)
    nan = torch.full((4, 8, 8), torch.nan)
    with pytest.raises(ValueError, match=r"1 image \('2.png'\)"):
        check_latents([*good(), nan, nan], Concept((*images.images[:2], several), "object"), Vae())


def test_many_images_are_counted():
    nan = torch.full((4, 8, 8), torch.nan)
    with pytest.raises(ValueError, match=r"9 images \('0.png', .*'4.png' and 4 more\)"):
        check_latents([nan] * 9, concept(9), Vae())


def test_a_run_ends_before_its_first_step_where_the_vae_gives_nan(monkeypatch: pytest.MonkeyPatch):
    loaded = small_sd1()
    encode, calls = loaded.vae.encode, []

    def broken(images: Tensor) -> Tensor:
        calls.append(images)
        return encode(images) * (torch.nan if len(calls) == 2 else 1.0)

    monkeypatch.setattr(loaded.vae, "encode", broken)
    steps: list[int] = []
    watching = observer(on_step=lambda state: steps.append(state.step))
    with pytest.raises(ValueError, match="The VAE turns 1 image .* into NaN or infinity"):
        chosen = settings(3)
        learn(Models(*loaded), concept(), word(loaded.clip), chosen, watching)
    assert steps == []
