"""Chooses the images of each batch: every round shows all of them, in a new order."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ..draws import Stream, fraction, generator, item_at
from .concept import Concept, RepeatedIndices

KEPT = 8  # orders of rounds, which neighboring batches share


class SamplePick(NamedTuple):
    """A sample to train on: the number of its image, of its crop among all crops, and of the
    round.
    """

    image: int
    crop: int
    round: int


class Bucket(NamedTuple):
    """Images whose latents have the same shape, and how many turns each has in a round."""

    images: tuple[int, ...]
    turns: RepeatedIndices


class Rounds:
    """Endless groups of `count` samples whose latents have the same shape (`shapes` has those of
    all crops). Each group depends on its number alone.

    A round gives every image its turns. Each bucket forms a group from every `count` turns and
    keeps the rest for the next round, so that no image is shown more often than another. The
    order of the images in a bucket is random, and so is the order of the groups in a round.
    """

    def __init__(
        self, concept: Concept, shapes: Sequence[tuple[int, ...]], count: int, seed: int
    ) -> None:
        self.concept, self.count, self.seed = concept, count, seed
        self.buckets = buckets_of(concept, shapes)
        self.turns = [len(bucket.turns) for bucket in self.buckets]

    def group(self, number: int) -> list[SamplePick]:
        """The samples of a group."""
        bucket, before = self.find(number)
        crops = generator(self.seed, Stream.CROP, number)
        first = before * self.count
        return [self.pick(bucket, turn, crops) for turn in range(first, first + self.count)]

    def find(self, number: int) -> tuple[int, int]:
        """The bucket of a group, and how many groups of this bucket come before it."""
        buckets = len(self.buckets)
        most = (number + buckets + 1) * self.count // sum(self.turns) + 1
        now = bisect_right(range(most + 1), number, key=lambda rounds: sum(self.filled(rounds))) - 1
        before, after = self.filled(now), self.filled(now + 1)
        fresh = tuple(late - early for early, late in zip(before, after, strict=True))
        order, place = mixed_groups(self.seed, now, fresh), number - sum(before)
        bucket = int(order[place])
        return bucket, before[bucket] + int((order[:place] == bucket).sum())

    def filled(self, rounds: int) -> list[int]:
        """The groups that each bucket fills in so many rounds."""
        return [rounds * turns // self.count for turns in self.turns]

    def pick(self, bucket: int, turn: int, crops: Generator) -> SamplePick:
        """The image whose turn it is in a bucket, and one of its crops."""
        number, place = divmod(turn, self.turns[bucket])
        images, turns = self.buckets[bucket]
        order = mixed_turns(self.seed, bucket, number, self.turns[bucket])
        image = images[turns[int(order[place])]]
        own = self.concept.places[image]
        crop = item_at(own, fraction(crops)) if len(own) > 1 else own[0]
        return SamplePick(image, crop, number)


def buckets_of(concept: Concept, shapes: Sequence[tuple[int, ...]]) -> list[Bucket]:
    """The images that have turns, by the shape of their latents."""
    found: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(concept.images):
        if image.repeats:
            found.setdefault(shapes[concept.places[number][0]], []).append(number)
    repeats = [image.repeats for image in concept.images]
    return [
        Bucket(tuple(held), RepeatedIndices([repeats[one] for one in held]))
        for held in found.values()
    ]


@lru_cache(maxsize=KEPT)
def mixed_turns(seed: int, bucket: int, round: int, turns: int) -> Tensor:
    """The turns `[turns]` of a bucket in a round, in random order."""
    return torch.randperm(turns, generator=generator(seed, Stream.ORDER, round, bucket))


@lru_cache(maxsize=KEPT)
def mixed_groups(seed: int, round: int, counts: tuple[int, ...]) -> Tensor:
    """The buckets of the groups of a round, `counts` of each, in random order `[sum of counts]`."""
    labels = torch.repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator(seed, Stream.BUCKET, round))]
