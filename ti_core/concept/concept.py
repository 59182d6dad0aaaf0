"""The concept: pictures and captions, ready to train on."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from torch import Generator, Tensor

from ..draws import fraction, item_at, rounds
from .counted import counted
from .wording import Moment, Wording, lacks, worded

LatentChoice = Literal["deterministic", "once", "random"]
HELD_OUT = 5  # one picture in so many
FEWEST_TO_HOLD_OUT = 10
MOST_TURNS = 1_000_000


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


class Framing(NamedTuple):
    """How a crop was made: width and height of the picture before it was scaled, and the crop's
    left upper corner in the scaled picture, all in pixels.
    """

    width: int
    height: int
    left: int = 0
    top: int = 0


class Pick(NamedTuple):
    """A sample to train on: the number of a picture, of one of all crops, and of the round."""

    picture: int
    crop: int
    round: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it is trained on: crops `[h, w, 3]` in bytes, all of one size, and for each the
    weights `[h, w]` (None: all of it counts); a caption and how it is worded.

    `repeats` is how often a round shows it; what it was before it was fitted, and how each crop was
    made, is `found` and `framings`, if anyone knows. The name is for people; two may share one.
    """

    name: str
    crops: tuple[Tensor, ...]
    weights: tuple[Tensor | None, ...]
    caption: str
    wording: Wording
    repeats: int = 1
    found: Found | None = None
    framings: tuple[Framing, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its crops in pixels."""
        height, width = self.crops[0].shape[:2]
        return width, height

    def lacks(self, placeholder: str) -> bool:
        """Whether not all of its texts say the placeholder by themselves."""
        return lacks(self.caption, self.wording, placeholder)


class Turns(Sequence[int]):
    """Numbers of things, each as often as it is repeated, counted rather than listed."""

    def __init__(self, repeats: Sequence[int]):
        self.ends = list(accumulate(repeats))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < len(self):
            raise IndexError(place)
        return bisect_right(self.ends, place)


@dataclass(frozen=True, eq=False)
class Concept:
    """Pictures to learn a word from. `kind` is what the user chose to train with, for the report;
    `latents` is how the pictures are encoded.
    """

    pictures: tuple[Picture, ...]
    kind: str
    latents: LatentChoice = "deterministic"

    def __post_init__(self) -> None:
        if len(self.turns) > MOST_TURNS:
            raise ValueError(
                f"A round would show {len(self.turns)} pictures, each as often as it is repeated, "
                f"but at most {MOST_TURNS} are allowed. Lower the repeats."
            )

    @cached_property
    def crops(self) -> tuple[Tensor, ...]:
        """All crops `[h, w, 3]` in bytes, those of a picture next to each other."""
        return tuple(crop for picture in self.pictures for crop in picture.crops)

    @cached_property
    def weights(self) -> tuple[Tensor | None, ...]:
        """The weights `[h, w]` of all crops, None where all of a crop counts."""
        return tuple(weights for picture in self.pictures for weights in picture.weights)

    @cached_property
    def framings(self) -> tuple[Framing, ...]:
        """How all crops were made; pictures of which nobody knows were never larger."""
        return tuple(
            framing
            for one in self.pictures
            for framing in one.framings or [Framing(*one.size)] * len(one.crops)
        )

    @cached_property
    def places(self) -> tuple[range, ...]:
        """Where each picture's crops lie among all of them."""
        ends = accumulate(len(picture.crops) for picture in self.pictures)
        return tuple(
            range(end - len(picture.crops), end)
            for end, picture in zip(ends, self.pictures, strict=True)
        )

    @property
    def turns(self) -> "Turns":
        """Picture numbers of one round, each as often as it is repeated."""
        return Turns([picture.repeats for picture in self.pictures])

    def text(
        self,
        picture: int,
        placeholder: str,
        place: float = 0.0,
        moment: Moment | None = None,
        draws: Generator | None = None,
    ) -> str:
        """A text that a picture is trained with; see `worded`."""
        one = self.pictures[picture]
        return worded(one.caption, one.wording, placeholder, place, moment, draws)

    def lacking(self, placeholder: str) -> list[Picture]:
        """The pictures whose texts do not all say the placeholder by themselves."""
        return [picture for picture in self.pictures if picture.lacks(placeholder)]


def check_words(concept: Concept, placeholder: str) -> None:
    """Raise ValueError where a caption without the placeholder is not allowed."""
    refused = [one.name for one in concept.lacking(placeholder) if one.wording.missing == "error"]
    if refused:
        raise ValueError(
            f"The placeholder '{placeholder}' is missing from the captions of "
            f"{counted(len(refused), 'picture')}: {', '.join(refused[:10])}. Write it, {{}} or "
            f"[name] into them, or set 'missing' in Caption Options to 'add'."
        )


def joined_concepts(concepts: Sequence[Concept]) -> Concept:
    """Several concepts' pictures as one, each with its own wording, masks and repeats."""
    pictures = tuple(picture for one in concepts for picture in one.pictures)
    kinds = dict.fromkeys(one.kind for one in concepts)
    return Concept(pictures, " + ".join(kinds), common([one.latents for one in concepts]))


def common(choices: Sequence[LatentChoice]) -> LatentChoice:
    """The one way to encode that all concepts ask for."""
    if len(set(choices)) > 1:
        raise ValueError(
            f"The concepts to join use different latents ({', '.join(sorted(set(choices)))}). "
            f"Choose the same in every Picture Fit."
        )
    return choices[0]


def held_out(concept: Concept) -> range:
    """Numbers of the pictures that can be kept for validation alone: every fifth of ten or more,
    none of fewer, which are all needed to learn from.
    """
    count = len(concept.pictures)
    return range(HELD_OUT - 1, count if count >= FEWEST_TO_HOLD_OUT else 0, HELD_OUT)


def without(concept: Concept, left_out: Collection[int]) -> Concept:
    """The concept with some of its pictures, by their numbers, never in a round."""
    pictures = tuple(
        replace(picture, repeats=0) if number in left_out else picture
        for number, picture in enumerate(concept.pictures)
    )
    return replace(concept, pictures=pictures)


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
        own = concept.places[picture]
        crop = item_at(own, fraction(variants)) if len(own) > 1 else own[0]
        group = waiting[shapes[crop]]
        group.append(Pick(picture, crop, number))
        if len(group) == count:
            yield waiting.pop(shapes[crop])
