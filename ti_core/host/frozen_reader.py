"""A reader of images on the models of a graph, within the memory that there is."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from comfy.model_management import throw_exception_if_processing_interrupted

from ..concept.concept import Concept
from ..concept.fragments import Fragments
from ..training.image_reader import Reader, ReadingSettings, Shown
from ..training.latents import expected, shape_of
from ..word.embedding import Embedding
from .learn import Models, check_channels
from .models.borrow import BorrowSettings, borrowed, check_kind
from .models.compatibility import is_interrupt
from .models.encode import encode_images
from .models.memory import out_of_memory, release_memory
from .models.text import check_fits

log = logging.getLogger(__name__)

TOGETHER = 16  # captions that are compared in one pass, if the memory suffices
SUBJECT = "{}"

T = TypeVar("T")


def shown_images(models: Models, concept: Concept, numbers: Sequence[int]) -> list[Shown]:
    """Images of a concept, by their numbers, as a reader sees them: the first crop of each."""
    model, _, vae = models
    check_kind(model)
    places = [concept.places[n][0] for n in numbers]
    crops = [concept.crops[place] for place in places]
    latents = encode_images(vae, model.model.latent_format, crops)
    check_channels(latents, model)
    return [
        Shown(n, expected(latent), SUBJECT, concept.crop_origins[place])
        for n, place, latent in zip(numbers, places, latents, strict=True)
    ]


def with_reader(
    models: Models,
    embedding: Embedding,
    fragments: Fragments,
    settings: ReadingSettings,
    images: Sequence[Shown],
    read: Callable[[Reader], T],
) -> T:
    """What `read` gives of a reader of images; it is called again, with a reader that compares half
    as many captions at once, when the memory does not suffice. The models are afterwards as they
    were.
    """
    check_fits(embedding, models.clip)
    largest = max((shape_of(one.latents) for one in images), key=math.prod)
    rows = TOGETHER
    while True:
        try:
            with borrowed(models.model, models.clip, embedding, largest, BorrowSettings(rows)) as (
                frozen
            ):
                reader = Reader(
                    *(frozen, embedding.placeholder, embedding.vectors, fragments, settings),
                    throw_exception_if_processing_interrupted,
                )
                return read(reader)
        except Exception as error:
            if is_interrupt(error) or not out_of_memory(error) or rows == 1:
                raise
            log.warning("Out of memory with %d captions in one pass: %s", rows, error)
        release_memory()
        rows //= 2
