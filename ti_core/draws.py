"""Random choices, each from a generator that the caller names."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")


def generator(seed: int, stream: int) -> torch.Generator:
    """A generator for one kind of draw; streams of a seed are independent."""
    return torch.Generator().manual_seed(mixed(seed, stream))


def mixed(seed: int, stream: int) -> int:
    """The seed of a stream."""
    return (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) % (
        1 << 63
    )


def fraction(draws: torch.Generator) -> float:
    """A number in 0..1, 1 excluded."""
    return float(torch.rand((), generator=draws))


def between(low: float, high: float, draws: torch.Generator) -> float:
    """A number between two others."""
    return low + (high - low) * fraction(draws)


def item_at(items: Sequence[Item], place: float) -> Item:
    """The item at `place` in 0..1 of a sequence."""
    return items[min(int(place * len(items)), len(items) - 1)]


def in_random_order(items: Sequence[Item], draws: torch.Generator) -> list[Item]:
    """The items, shuffled."""
    return [items[place] for place in torch.randperm(len(items), generator=draws).tolist()]


def rounds(items: Sequence[Item], draws: torch.Generator) -> Iterator[tuple[int, Item]]:
    """Endless items with the number of their round: every item once in each round, each round in a
    new order.
    """
    number = 0
    while True:
        for place in torch.randperm(len(items), generator=draws):
            yield number, items[int(place)]
        number += 1
