"""The concept: pictures and captions, ready to train on."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from ..draws import fraction, item_at, rounds
from .templates import TEMPLATES, Kind
from .wording import Moment, Wording, lacks, worded

LatentChoice = Literal["deterministic", "once", "random"]
HELD_OUT = 5  # one picture in so many
FEWEST_TO_HOLD_OUT = 10


class Found(NamedTuple):
    """What a picture was before it was fitted: size in pixels, what its reading had to say, where
    its caption came from, how much of it the crop leaves out (0..1), and its look in 64 bits.
    """

    width: int
    height: int
    notes: tuple[str, ...] = ()
    caption_from: str = ""
    lost: float = 0.0
    look: int = 0


class Pick(NamedTuple):
    """A sample to train on: which picture, which of all crops, in which round."""

    picture: int
    crop: int
    round: int


@dataclass(frozen=True)
class Concept:
    """Crops `[h, w, 3]` in 0..1, and of each picture its name and caption.

    A picture has one crop, or `variants` of one size that lie next to each other in `pictures`;
    `masks` has the weights `[h, w]` of each crop, or None. What is left empty takes its default: no
    captions, no masks, the wording of `kind`, once in each round, one crop each.
    """

    pictures: tuple[Tensor, ...]
    names: tuple[str, ...]
    kind: Kind
    captions: tuple[str, ...] = ()
    masks: tuple[Tensor | None, ...] = ()
    wordings: tuple[Wording, ...] = ()
    repeats: tuple[int, ...] = ()
    variants: tuple[int, ...] = ()
    found: tuple[Found, ...] = ()
    latents: LatentChoice = "deterministic"

    @cached_property
    def crops(self) -> tuple[range, ...]:
        """Places in `pictures` of each picture's crops."""
        counts = self.variants or (1,) * len(self.names)
        ends = torch.tensor(counts).cumsum(0).tolist()
        return tuple(range(end - count, end) for end, count in zip(ends, counts, strict=True))

    @property
    def turns(self) -> list[int]:
        """Picture numbers of one round, each as often as it is repeated."""
        repeats = self.repeats or (1,) * len(self.names)
        return [number for number, count in enumerate(repeats) for _ in range(count)]

    def wording(self, picture: int) -> Wording:
        """How a picture's samples are worded."""
        return self.wordings[picture] if self.wordings else Wording(TEMPLATES[self.kind])

    def caption(self, picture: int) -> str:
        """A picture's own caption, empty if it has none."""
        return self.captions[picture] if self.captions else ""

    def mask(self, crop: int) -> Tensor | None:
        """Weights of a crop, None without a mask."""
        return self.masks[crop] if self.masks else None

    def text(
        self,
        picture: int,
        placeholder: str,
        place: float = 0.0,
        moment: Moment | None = None,
        draws: Generator | None = None,
    ) -> str:
        """A text that the picture is trained with; see `worded`."""
        wording = self.wording(picture)
        return worded(self.caption(picture), wording, placeholder, place, moment, draws)

    def lacking(self, placeholder: str) -> list[str]:
        """Names of the pictures whose texts do not all say the placeholder by themselves."""
        return [
            name
            for number, name in enumerate(self.names)
            if lacks(self.caption(number), self.wording(number), placeholder)
        ]


def check_words(concept: Concept, placeholder: str) -> None:
    """Raise ValueError where a caption without the placeholder is not allowed."""
    strict = {name for n, name in enumerate(concept.names) if concept.wording(n).missing == "error"}
    lacking = [name for name in concept.lacking(placeholder) if name in strict]
    if lacking:
        raise ValueError(
            f"The placeholder '{placeholder}' is missing from the captions of {len(lacking)} "
            f"pictures: {', '.join(lacking[:10])}. Write it, {{}} or [name] into them, or set "
            f"'missing' in Caption Options to 'add'."
        )


def joined(concepts: Sequence[Concept]) -> Concept:
    """Several concepts' pictures as one, each with its own wording, masks and repeats."""
    every = [one for one in concepts for _ in one.names]
    return Concept(
        pictures=tuple(crop for one in concepts for crop in one.pictures),
        names=tuple(name for one in concepts for name in one.names),
        kind=concepts[0].kind,
        captions=tuple(one.caption(n) for one in concepts for n in range(len(one.names))),
        masks=tuple(one.mask(n) for one in concepts for n in range(len(one.pictures))),
        wordings=tuple(one.wording(n) for one in concepts for n in range(len(one.names))),
        repeats=tuple(one.turns.count(n) for one in concepts for n in range(len(one.names))),
        variants=tuple(len(crops) for one in concepts for crops in one.crops),
        found=tuple(found for one in concepts for found in one.found)
        if all(one.found for one in concepts)
        else (),
        latents=common([one.latents for one in every]),
    )


def common(choices: Sequence[LatentChoice]) -> LatentChoice:
    """The one way to encode that all concepts ask for."""
    if len(set(choices)) > 1:
        raise ValueError(
            f"The concepts to join ask for different latents ({', '.join(sorted(set(choices)))}). "
            f"Choose the same in every Picture Fit."
        )
    return choices[0]


def held_out(concept: Concept) -> range:
    """Numbers of the pictures that can be kept for validation alone: every fifth of ten or more,
    none of fewer, which are all needed to learn from.
    """
    enough = len(concept.names) >= FEWEST_TO_HOLD_OUT
    return range(HELD_OUT - 1, len(concept.names) if enough else 0, HELD_OUT)


def without(concept: Concept, pictures: Collection[int]) -> Concept:
    """The concept with some of its pictures never in a round."""
    counts = concept.repeats or (1,) * len(concept.names)
    kept = (0 if number in pictures else count for number, count in enumerate(counts))
    return replace(concept, repeats=tuple(kept))


def captions_for(text: str, count: int) -> tuple[str, ...]:
    """One caption per picture from lines of text: one line for each, or a single line for all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        return tuple(lines * count)
    if len(lines) != count:
        raise ValueError(
            f"There are {len(lines)} captions for {count} pictures. Write one line per picture (in "
            f"the order of the report), or a single line for all of them."
        )
    return tuple(lines)


def picks(
    concept: Concept, shapes: Sequence[tuple[int, ...]], count: int, draws: Sequence[Generator]
) -> Iterator[list[Pick]]:
    """Endless groups of `count` samples whose latents have one shape (`shapes` are those of all
    crops): every picture in each round, in an order from the first generator; which crop of it,
    from the second.

    A group waits until its shape has enough samples, so that no picture is shown more often than
    another.
    """
    order, variants = draws
    waiting: defaultdict[tuple[int, ...], list[Pick]] = defaultdict(list)
    for number, picture in rounds(concept.turns, order):
        crops = concept.crops[picture]
        crop = item_at(crops, fraction(variants)) if len(crops) > 1 else crops[0]
        group = waiting[shapes[crop]]
        group.append(Pick(picture, crop, number))
        if len(group) == count:
            yield waiting.pop(shapes[crop])
