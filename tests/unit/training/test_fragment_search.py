"""Fragments that lower a loss are found by halving."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ti_core.concept.fragments import Fragments
from ti_core.training.fragment_search import CONFIRMING, FragmentSearch, better_by

FRAGMENTS = Fragments(
    "a photo of {} [background] [position]",
    {
        "background": ("on grass", "on sand", "at night", "in snow"),
        "position": ("on the left", "on the right"),
    },
)
SHOWN = [one for some in FRAGMENTS.slots.values() for one in some]


class Asked:
    """Losses of captions for an image that shows some fragments, and what was asked for."""

    def __init__(self, *shown: str, harm: float = 1.0):
        self.shown, self.harm, self.calls = shown, harm, list[tuple[str, int]]()

    def __call__(self, captions: Sequence[str], sample: int) -> Tensor:
        self.calls += [(caption, sample) for caption in captions]
        return torch.tensor([self.loss(one) for one in captions], dtype=torch.double)

    def loss(self, caption: str) -> float:
        said = [one for one in SHOWN if one in caption]
        right = sum(one in self.shown for one in said)
        return 10.0 - right + self.harm * (len(said) - right)


def test_what_lowers_the_loss_is_found_and_nothing_else():
    search = FragmentSearch(FRAGMENTS, 2, Asked("on sand"))
    assert search.best() == {"background": "on sand", "position": ""}
    assert search.gain(search.best()) == pytest.approx(0.1)


def test_halving_costs_less_than_all_samples_for_all():
    every = len(SHOWN) + 1  # and nothing
    asked = Asked("on sand")
    FragmentSearch(FRAGMENTS, 4, asked, sweeps=1).best()
    assert len(asked.calls) < 4 * every
    # One sample for each, and two that compare what was chosen with nothing.
    asked = Asked("on sand")
    search = FragmentSearch(FRAGMENTS, 1, asked, sweeps=1)
    search.gain(search.best())
    assert len(asked.calls) == every + 2 * CONFIRMING


def test_a_loss_is_asked_for_once_and_only_where_there_are_samples():
    asked = Asked("in snow", "on the right")
    FragmentSearch(FRAGMENTS, 3, asked).best()
    assert len(asked.calls) == len(set(asked.calls))
    assert max(sample for _, sample in asked.calls) < FragmentSearch.needed(3)


def test_a_fragment_that_no_fresh_noise_confirms_is_left_out():
    class Lucky(Asked):
        def __call__(self, captions: Sequence[str], sample: int) -> Tensor:
            return super().__call__(captions, sample) if sample < 2 else torch.ones(len(captions))

    assert FragmentSearch(FRAGMENTS, 2, Lucky("at night")).best()["background"] == ""


@pytest.mark.parametrize(
    ("gains", "errors"),
    [([1.0, 1.0], math.inf), ([0.0, 0.0], 0.0), ([-2.0], -math.inf), ([1.0, 3.0], 2.0)],
)
def test_paired_differences_are_compared_with_their_spread(gains: list[float], errors: float):
    assert better_by(gains) == errors
