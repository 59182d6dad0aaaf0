"""Random draws that depend on their place alone, and on nothing that neighbors share."""

import itertools

import pytest
import torch
from torch import Tensor

from ti_core.draws import Stream, fraction, generator, mixed, seed_at

PLACES = 4000
# No correlation of so many independent pairs is larger in a million trials.
LARGEST = 5.0 / PLACES**0.5


def first(seed: int, stream: int, *place: int) -> float:
    return fraction(generator(seed, stream, *place))


def correlation(one: Tensor, other: Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1]))


def along(seed: int, stream: int, start: int = 0) -> Tensor:
    """The first numbers of a stream's places `[n]`."""
    return torch.tensor([first(seed, stream, start + place) for place in range(PLACES)])


def test_neighboring_places_streams_and_seeds_draw_independently():
    base = along(7, Stream.NOISE)
    others = {
        "the next place": along(7, Stream.NOISE, 1),
        "a hundred places on": along(7, Stream.NOISE, 100),
        "the next stream": along(7, Stream.LEVEL),
        "the next seed": along(8, Stream.NOISE),
        "a seed with another high bit": along(7 + (1 << 32), Stream.NOISE),
    }
    found = {name: correlation(base, other) for name, other in others.items()}
    assert max(found.values()) < LARGEST, found


def test_first_draws_are_spread_evenly():
    """Over the places of a stream, over streams, and over seeds: chi-square of 20 parts."""
    series = [
        along(0, Stream.ORDER),
        torch.tensor([first(0, stream, 3) for stream in range(PLACES)]),
        torch.tensor([first(seed, Stream.ORDER, 3) for seed in range(PLACES)]),
    ]
    for numbers in series:
        counts = torch.histc(numbers, 20, 0, 1)
        expected = PLACES / 20
        assert float(((counts - expected) ** 2 / expected).sum()) < 60  # p < 1e-5 of more


def test_noise_of_neighboring_places_is_uncorrelated_in_every_latent():
    drawn = torch.stack(
        [torch.randn(1000, generator=generator(3, Stream.NOISE, place)) for place in range(60)]
    )
    apart = torch.corrcoef(drawn) - torch.eye(60)
    assert float(apart.abs().max()) < 6 / 1000**0.5


@pytest.mark.parametrize("key", [0, 1, 2**63, 0x0123456789ABCDEF])
def test_no_two_places_of_a_stream_share_a_seed_of_torch(key: int):
    """Which is the lower half of what it is given, on a CPU."""
    lower = {seed_at(key, place) & 0xFFFFFFFF for place in range(100_000)}
    assert len(lower) == 100_000


def test_seeds_are_what_torch_takes_and_all_of_them_counts():
    corners = (0, 1, 5, 2**31, 2**32, 2**40, 2**63 - 1, 2**64 - 1)
    seeds = [
        mixed(seed, stream, place)
        for seed, stream, place in itertools.product(corners, (0, 1, 2**32), (0, 1, 2**31))
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == len(seeds)


def test_a_place_in_a_place_is_another_one():
    found = {mixed(1, 2, *place) for place in [(), (0,), (0, 0), (0, 1), (1, 0), (1,), (1, 1)]}
    assert len(found) == 7


def test_draws_without_a_place_are_those_of_before():
    """By them runs of different releases are validated on the same noise."""
    assert mixed(0, 16) == (16 * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) % (1 << 63)
    assert first(0, 16) == pytest.approx(0.05687457323074341, abs=1e-7)
