"""Captions that the diffusion model of a graph finds for its training images."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from comfy.utils import ProgressBar

from ..concept.concept import Concept, ConceptImage
from ..concept.counted import counted
from ..concept.fragments import Fragments
from ..quoted import quoted, shown
from ..training.image_reader import Reader, Reading, ReadingSettings
from ..word.embedding import Embedding
from .frozen_reader import shown_images, with_reader
from .learn import Models

BY_MODEL = "the diffusion model"
TYPED = "Auto Caption"
MOST_NAMED = 5


class Captioned(NamedTuple):
    """A concept with captions, one line `name: caption` for each image that was without, a report
    in words, and the forward passes that it took.
    """

    concept: Concept
    lines: str
    report: str
    passes: int


def captioned(
    models: Models,
    concept: Concept,
    embedding: Embedding,
    fragments: Fragments,
    typed: str,
    settings: ReadingSettings,
) -> Captioned:
    """The concept with a caption for each image that has none: that of its line in `typed`, or else
    one that the model finds, in which the embedding stands for the subject. Raises ValueError for
    what does not fit together.
    """
    lines = [line.strip() for line in typed.splitlines() if line.strip()]
    without = [n for n, image in enumerate(concept.images) if not has_caption(image)]
    given = {n: taken(lines, concept.images[n].name) for n in without}
    typed_ones = {n: text for n, text in given.items() if text}
    unread = [n for n in without if n not in typed_ones]
    started = time.monotonic()
    readings = read_images(models, concept, unread, embedding, fragments, settings)
    seconds = time.monotonic() - started
    images = list(concept.images)
    for n in without:
        found = (typed_ones[n], TYPED) if n in typed_ones else (readings[n].caption, BY_MODEL)
        images[n] = with_caption(images[n], *found)
    passes = sum(one.passes for one in readings.values())
    counts = f"{counted(len(images) - len(without), 'image')} with captions of their own"
    report = [
        f"{counted(len(readings), 'image')} read in {seconds:.0f} s "
        f"({passes} forward passes), {len(typed_ones)} taken "
        f"from the caption text, {counts}.",
        *(line_of(images[n], readings.get(n)) for n in without),
    ]
    if lines:
        report.append(
            f"Caption text that belongs to no image: {'; '.join(map(quoted, lines[:MOST_NAMED]))}. "
            f"A line begins with the name of an image and a colon."
        )
    made = "\n".join(f"{images[n].name}: {images[n].caption}" for n in without)
    concept = replace(concept, images=tuple(images))
    return Captioned(concept, made, "\n".join(report), passes)


def has_caption(image: ConceptImage) -> bool:
    """Whether an image is trained with a caption of its own."""
    return bool(image.caption.strip()) and image.caption_settings.uses_captions


def taken(lines: list[str], name: str) -> str:
    """The caption of the first line for an image of that name, which is taken out of them; ''
    without one.
    """
    for place, line in enumerate(lines):
        start, _, caption = line.partition(f"{name}:")
        if not start and caption.strip():
            del lines[place]
            return caption.strip()
    return ""


def with_caption(image: ConceptImage, caption: str, found_by: str) -> ConceptImage:
    """The image with a caption, which replaces templates that have no place for one."""
    options = image.caption_settings
    if not options.uses_captions:
        options = replace(options, templates=())
    info = image.found._replace(caption_from=found_by) if image.found else None
    return replace(
        image, caption=caption, caption_settings=replace(options, typed=True), found=info
    )


def line_of(image: ConceptImage, reading: Reading | None) -> str:
    """What an image is trained with, and how much better that explains it."""
    gain = f" ({reading.gain:.0%} lower loss)" if reading and reading.gain > 0 else ""
    return f"{shown(image.name)}: {image.caption}{gain}"


def read_images(
    models: Models,
    concept: Concept,
    numbers: Sequence[int],
    embedding: Embedding,
    fragments: Fragments,
    settings: ReadingSettings,
) -> dict[int, Reading]:
    """What the model reads in some images of a concept, by their numbers."""
    if not numbers:
        return {}
    images = shown_images(models, concept, numbers)
    progress, found = ProgressBar(len(numbers)), {}

    def read(reader: Reader) -> dict[int, Reading]:
        for one in images:
            if one.number not in found:
                found[one.number] = reader.read([one])
                progress.update(1)
        return found

    return with_reader(models, embedding, fragments, settings, images, read)
