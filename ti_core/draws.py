"""Random choices, each from a generator that the caller names."""

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import torch

Item = TypeVar("Item")


MASK = (1 << 32) - 1


class Stream(IntEnum):
    """The kinds of draws of a training step; others have streams of their own from 16 on."""

    ORDER = 0
    TEMPLATE = 1
    NOISE = 2
    LEVEL = 3
    CROP = 4
    WORDING = 5
    LATENTS = 6
    OFFSET = 7
    MODEL = 8
    BUCKET = 9


def generator(seed: int, stream: int, *place: int) -> torch.Generator:
    """A generator for one kind of draw, or for that at one place, such as a step: the same whatever
    else was drawn before. Streams of a seed, and places of a stream, are independent.
    """
    return torch.Generator().manual_seed(mixed(seed, stream, *place))


def mixed(seed: int, stream: int, *place: int) -> int:
    """The seed of a stream, or of a place in it."""
    found = seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D
    for number in place:
        found = seed_at(scrambled(found % (1 << 64)), number)
    return found % (1 << 63)


def seed_at(key: int, number: int) -> int:
    """64 bits for a number under a key of 64. No two numbers below 2^32 have the same lower half,
    which is all that torch's generator on the CPU takes of a seed.
    """
    lower = scrambled_half(scrambled_half((number ^ key) & MASK) ^ (key >> 32))
    return (scrambled(key ^ number) >> 32 << 32) | lower


def scrambled(number: int) -> int:
    """64 bits of which each depends on each of `number` (the finaliser of SplitMix64: Steele, Lea,
    Flood, OOPSLA 2014).
    """
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return number ^ (number >> 31)


def scrambled_half(number: int) -> int:
    """The same of 32 bits, another for each number (the finaliser of MurmurHash3)."""
    number = (number ^ (number >> 16)) * 0x85EBCA6B & MASK
    number = (number ^ (number >> 13)) * 0xC2B2AE35 & MASK
    return number ^ (number >> 16)


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
