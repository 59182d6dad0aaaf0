"""Init words that the diffusion model of a graph finds: what all training images have in common."""

import time
from typing import NamedTuple

from ..concept.concept import Concept
from ..concept.counted import counted
from ..concept.fragments import Fragments
from ..quoted import quoted
from ..training.image_reader import ReadingSettings
from .frozen_reader import SUBJECT, shown_images, with_reader
from .learn import Models
from .models.text import create_embedding

STAND_IN = "ti-subject-of-the-images"
PLAIN = "a photo of {}"
MOST_IMAGES = 12  # that are asked about; more cost time, and tell little more
# Learning rates of the spherical method. The default suits a start that is only roughly right; from
# the description that was found it turned good words into worse ones, on both small worlds.
BARE_RATE, DESCRIBED_RATE = "0.4", "0.1"


class Described(NamedTuple):
    """Words for what the images show, with the noun they began with; a report in words, and the
    forward passes that it took.
    """

    words: str
    report: str
    passes: int


def described(
    models: Models, concept: Concept, noun: str, fragments: Fragments, settings: ReadingSettings
) -> Described:
    """What the subject of all images looks like, of the fragments and with the noun for what it is.
    Captions of the images say the rest. Raises ValueError for what does not fit together.
    """
    word = create_embedding(models.clip, STAND_IN, noun, 0)
    started = time.monotonic()
    images = [
        one._replace(caption=caption_of(concept, one.number))
        for one in shown_images(models, concept, spread(len(concept.images)))
    ]
    found = with_reader(
        models, word, fragments, settings, images, lambda reader: reader.read(images)
    )
    words = fragments.caption(found.fragments, noun)
    of_all = f" of {len(concept.images)}" if len(images) < len(concept.images) else ""
    took = (
        f"{counted(len(images), 'image')}{of_all} read in {time.monotonic() - started:.0f} s "
        f"({found.passes} forward passes)."
    )
    said = (
        f"Looks like: {words} (loss {found.gain:.0%} below {quoted(noun)})."
        if words != noun
        else f"No words describe all images better than {quoted(noun)} alone."
    )
    return Described(words, f"{said}\n{took}", found.passes)


def spread(count: int) -> list[int]:
    """Numbers of at most MOST_IMAGES of so many images, evenly over all."""
    most = min(count, MOST_IMAGES)
    return [place * count // most for place in range(most)]


def caption_of(concept: Concept, number: int) -> str:
    """The caption of an image with {} for the subject, a plain sentence if it has none."""
    image = concept.images[number]
    if not image.caption.strip() or not image.caption_settings.uses_captions:
        return PLAIN
    return concept.text(number, STAND_IN).replace(STAND_IN, SUBJECT)
