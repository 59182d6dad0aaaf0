"""The concept: images and captions, ready to train on."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from torch import Generator, Tensor

from ..quoted import quoted
from .caption_settings import CaptionSettings, TrainingPosition, lacks, sample_text
from .counted import counted
from .placeholder import Said, other_spelling

LatentChoice = Literal["deterministic", "once", "random"]
HELD_OUT = 5  # one image in so many
FEWEST_TO_HOLD_OUT = 10
LARGEST_EPOCH = 1_000_000


class ImageInfo(NamedTuple):
    """What an image was before it was fitted: size in pixels, what its reading had to say, where
    its caption came from, how much of it the crop leaves out (0..1), and its look in 64 bits.
    """

    width: int
    height: int
    notes: tuple[str, ...] = ()
    caption_from: str = ""
    lost: float = 0.0
    look: int = 0


class CropOrigin(NamedTuple):
    """How a crop was made: width and height of the image before it was scaled, and the crop's
    left upper corner in the scaled image, all in pixels.
    """

    width: int
    height: int
    left: int = 0
    top: int = 0


@dataclass(frozen=True, eq=False)
class ConceptImage:
    """An image as it is trained on: crops `[h, w, 3]` in bytes, all of one size, and for each the
    weights `[h, w]` (None: all of it counts); a caption and how it is worded.

    `repeats` is how often a round shows it; what it was before it was fitted, and how each crop was
    made, is `found` and `crop_origins`, if anyone knows. The name is for people; two may share one.
    """

    name: str
    crops: tuple[Tensor, ...]
    weights: tuple[Tensor | None, ...]
    caption: str
    caption_settings: CaptionSettings
    repeats: int = 1
    found: ImageInfo | None = None
    crop_origins: tuple[CropOrigin, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its crops in pixels."""
        height, width = self.crops[0].shape[:2]
        return width, height

    def lacks(self, placeholder: str) -> bool:
        """Whether not all of its texts say the placeholder by themselves."""
        return lacks(self.caption, self.caption_settings, placeholder)


class RepeatedIndices(Sequence[int]):
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
    """Images to learn a word from. `kind` is what the user chose to train with, for the report;
    `latents` is how the images are encoded.
    """

    images: tuple[ConceptImage, ...]
    kind: str
    latents: LatentChoice = "deterministic"

    def __post_init__(self) -> None:
        if len(self.turns) > LARGEST_EPOCH:
            raise ValueError(
                f"An epoch would have {len(self.turns)} images, counting repeats; at most "
                f"{LARGEST_EPOCH} are allowed. Lower the repeats."
            )

    @cached_property
    def crops(self) -> tuple[Tensor, ...]:
        """All crops `[h, w, 3]` in bytes, those of an image next to each other."""
        return tuple(crop for image in self.images for crop in image.crops)

    @cached_property
    def weights(self) -> tuple[Tensor | None, ...]:
        """The weights `[h, w]` of all crops, None where all of a crop counts."""
        return tuple(weights for image in self.images for weights in image.weights)

    @cached_property
    def crop_origins(self) -> tuple[CropOrigin, ...]:
        """How all crops were made; images of which nobody knows were never larger."""
        return tuple(
            crop_origin
            for one in self.images
            for crop_origin in one.crop_origins or [CropOrigin(*one.size)] * len(one.crops)
        )

    @cached_property
    def places(self) -> tuple[range, ...]:
        """Where each image's crops lie among all of them."""
        ends = accumulate(len(image.crops) for image in self.images)
        return tuple(
            range(end - len(image.crops), end) for end, image in zip(ends, self.images, strict=True)
        )

    @property
    def turns(self) -> "RepeatedIndices":
        """Image numbers of one round, each as often as it is repeated."""
        return RepeatedIndices([image.repeats for image in self.images])

    def text(
        self,
        image: int,
        placeholder: str,
        place: float = 0.0,
        moment: TrainingPosition | None = None,
        draws: Generator | None = None,
    ) -> Said:
        """A text that an image is trained with; see `sample_text`."""
        one = self.images[image]
        return sample_text(one.caption, one.caption_settings, placeholder, place, moment, draws)

    def lacking(self, placeholder: str) -> list[ConceptImage]:
        """The images whose texts do not all say the placeholder by themselves."""
        return [image for image in self.images if image.lacks(placeholder)]


def check_words(concept: Concept, placeholder: str) -> None:
    """Raise ValueError where a caption without the placeholder is not allowed."""
    lacking = [
        one for one in concept.lacking(placeholder) if one.caption_settings.missing == "error"
    ]
    refused = [one.name for one in lacking]
    if refused:
        spellings = (other_spelling(one.caption, placeholder) for one in lacking)
        other = next((f" (one contains {quoted(found)})" for found in spellings if found), "")
        raise ValueError(
            f"The trigger word '{placeholder}' is missing from the captions of "
            f"{counted(len(refused), 'image')}: {', '.join(refused[:10])}{other}. Add it, {{}} "
            f"or [name] to them, or set 'missing' in Caption Options to 'add'."
        )


def joined_concepts(concepts: Sequence[Concept]) -> Concept:
    """Several concepts' images as one, each with its own wording, masks and repeats."""
    images = tuple(image for one in concepts for image in one.images)
    kinds = dict.fromkeys(one.kind for one in concepts)
    return Concept(images, " + ".join(kinds), common([one.latents for one in concepts]))


def common(choices: Sequence[LatentChoice]) -> LatentChoice:
    """The one way to encode that all concepts ask for."""
    if len(set(choices)) > 1:
        raise ValueError(
            f"The concepts to join use different latents ({', '.join(sorted(set(choices)))}). "
            f"Choose the same in every Crop & Buckets."
        )
    return choices[0]


def held_out(concept: Concept) -> range:
    """Numbers of the images that can be kept for validation alone: every fifth of ten or more,
    none of fewer, which are all needed to learn from.
    """
    count = len(concept.images)
    return range(HELD_OUT - 1, count if count >= FEWEST_TO_HOLD_OUT else 0, HELD_OUT)


def without(concept: Concept, left_out: Collection[int]) -> Concept:
    """The concept with some of its images, by their numbers, never in a round."""
    images = tuple(
        replace(image, repeats=0) if number in left_out else image
        for number, image in enumerate(concept.images)
    )
    return replace(concept, images=images)
