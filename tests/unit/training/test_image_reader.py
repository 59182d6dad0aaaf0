"""The frozen model reads what images show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor
from toy import ToyModel

from ti_core.concept.fragments import Fragments
from ti_core.training.batches import NotFinite
from ti_core.training.image_reader import CONFIRMING, Reader, ReadingSettings, better_by

FRAGMENTS = Fragments(
    "a photo of [size] {} [background] [position]",
    {
        "background": ("on grass", "on sand", "at night", "in snow"),
        "position": ("on the left", "on the right"),
        "size": ("small", "large"),
    },
)
SHOWN = [one for some in FRAGMENTS.slots.values() for one in some]


class Describing(ToyModel):
    """Predicts the image whose channels are the fragments that the caption has."""

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> list[Tensor]:
        self.seen += captions
        return [torch.tensor([float(one in text) for one in SHOWN]) for text in captions]

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        return torch.stack(list(conditioning))[:, :, None, None].expand_as(noisy)


def image(*shown: str) -> Tensor:
    """Latents `[c, 4, 4]` of an image that shows some of the fragments."""
    return torch.tensor([float(one in shown) for one in SHOWN])[:, None, None].expand(-1, 4, 4)


def reader(model: ToyModel | None = None, **settings: int) -> Reader:
    return Reader(model or Describing(), "my-cat", {}, FRAGMENTS, ReadingSettings(**settings))


@pytest.mark.parametrize("background", FRAGMENTS.slots["background"])
@pytest.mark.parametrize("size", FRAGMENTS.slots["size"])
def test_each_slot_gets_what_the_image_shows(background: str, size: str):
    found = reader().read(0, image(background, "on the left", size))
    assert found.fragments == {"background": background, "position": "on the left", "size": size}
    assert found.caption == f"a photo of {size} {{}} {background} on the left"


def test_what_is_not_among_the_candidates_is_left_out():
    found = reader().read(0, image("on the right"))
    assert found.fragments == {"background": "", "position": "on the right", "size": ""}
    assert found.caption == "a photo of {} on the right"


def test_the_model_sees_the_word_and_each_caption_is_encoded_once():
    one = reader()
    one.read(0, image("on sand"))
    seen = one.model.seen  # type: ignore[attr-defined]
    assert all("my-cat" in text and "{}" not in text for text in seen)
    assert len(seen) == len(set(seen))


def test_halving_costs_less_than_all_samples_for_all():
    shown = image("on sand")
    found = reader(samples=4, sweeps=1).read(0, shown)
    every = len(SHOWN) + 1  # and nothing
    assert found.passes < 4 * every
    # One sample for each, and two that compare what was chosen with nothing; the gain is of those.
    assert reader(samples=1, sweeps=1).read(0, shown).passes == every + 2 * CONFIRMING


def test_the_same_seed_and_number_read_the_same():
    shown = image("at night", "small")
    assert reader(seed=3).read(5, shown) == reader(seed=3).read(5, shown)


def test_a_loss_that_is_no_number_is_an_error():
    class Overflowing(Describing):
        def denoise(
            self,
            noisy: Tensor,
            sigma: Tensor,
            conditioning: Sequence[Tensor],
            crop_origins: Any = (),
        ) -> Tensor:
            return torch.full_like(noisy, torch.nan)

    with pytest.raises(NotFinite, match="dtype 'bf16'"):
        reader(Overflowing()).read(0, image("on sand"))


class Indifferent(ToyModel):
    """Its prediction depends on the caption, but not on what the image shows."""

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> list[Tensor]:
        draws = [torch.Generator().manual_seed(crc32(one.encode())) for one in captions]
        return [torch.randn(8, 4, 4, generator=one) for one in draws]

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        return noisy / 2 + torch.stack(list(conditioning)) * 0.05


def test_fragments_that_win_by_chance_are_left_out():
    kept = 0
    for number in range(20):
        noisy = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(number))
        found = reader(Indifferent()).read(number, noisy)
        kept += sum(map(bool, found.fragments.values()))
    assert kept <= 20 * len(FRAGMENTS.slots) // 4


def test_the_gain_is_the_share_of_the_loss_that_the_caption_takes_away():
    assert reader().read(0, image("on sand", "small")).gain == pytest.approx(1)
    assert reader().read(0, image()).gain == 0


def test_each_pass_can_be_interrupted():
    def interrupt() -> None:
        raise KeyboardInterrupt

    stopped = Reader(Describing(), "my-cat", {}, FRAGMENTS, ReadingSettings(), interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.read(0, image("on sand"))


@pytest.mark.parametrize(
    ("gains", "errors"),
    [([1.0, 1.0], math.inf), ([0.0, 0.0], 0.0), ([-2.0], -math.inf), ([1.0, 3.0], 2.0)],
)
def test_paired_differences_are_compared_with_their_spread(gains: list[float], errors: float):
    assert better_by(gains) == errors
