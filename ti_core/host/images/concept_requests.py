"""Concepts from what was chosen on the nodes: a folder, images of the graph, captions, masks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ...concept.caption_files import LONGEST_FILE, check_typed, templates_from
from ...concept.concept import Concept, LatentChoice
from ...concept.counted import counted
from ...concept.fit import FitSettings
from ...concept.gather import CaptionOptions, ImageRecipe, SourceImage, concept_of
from ...concept.masks import MAY_BE_TURNED, MaskSettings
from ...concept.templates import FILEWORDS, Kind
from .concept_sources import ImageFolder, files_of, folder_sources, mask_found, texts_beside
from .folders import NO_FOLDER, candidates, folder_path, read_text, state_of, text_file
from .image_files import Reading
from .turned_masks import upright

Belonging = TypeVar("Belonging")

NO_IMAGES = "There are no images: choose a folder, or connect the images input."
WRONG_LINES = (
    "There are {things} captions for {images}. Write one line per image (in the order of the "
    "report), or one line for all."
)


@dataclass(frozen=True)
class Request:
    """What Load Images as Concept was asked for; `texts` are the entries of its captions input, one
    if typed, one per image if a list is connected.
    """

    folder: str
    images: Sequence[Tensor]
    kind: Kind
    texts: Sequence[str]
    fit: FitSettings
    masks: Sequence[Tensor] = ()
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    masking: MaskSettings = field(default_factory=MaskSettings)
    latents: LatentChoice = "deterministic"
    repeats: int = 1
    deep: bool = True
    skip: bool = False

    @property
    def recipe(self) -> ImageRecipe:
        """How the images become a concept."""
        caption_settings = self.captions.caption_settings.for_kind(self.kind)
        return ImageRecipe(
            self.kind, caption_settings, self.fit, self.masking, self.latents, self.repeats
        )

    @property
    def has_texts(self) -> bool:
        """Whether captions were typed or connected."""
        return len(self.texts) > 1 or any(text.strip() for text in self.texts)


def check_choices(folder: str, has_images: bool, captions: str, deep: bool) -> None:
    """Raise ValueError for choices that cannot work, as far as that is known before anything is
    loaded; `captions` are lines to be used as typed.
    """
    if folder == NO_FOLDER and not has_images:
        raise ValueError(NO_IMAGES)
    images = 0 if folder == NO_FOLDER else len(files_of(folder_path(folder), deep))
    lines = len(typed_lines(captions))
    if lines > 1 and lines != images and not has_images:
        raise ValueError(WRONG_LINES.format(things=lines, images=counted(images, "image")))


def load_concept(request: Request) -> tuple[Concept, list[str]]:
    """The concept, and what the user should know of its making, in words."""
    notes: list[str] = []
    recipe = request.recipe
    concept = concept_of(sources_of(request, recipe.caption_settings.uses_captions, notes), recipe)
    if not concept.images:
        raise ValueError(f"No image can be used. {' '.join(notes)}")
    if not recipe.caption_settings.uses_captions:
        notes += unused_captions(request, len(concept.images))
    return concept, notes


def sources_of(request: Request, take_captions: bool, notes: list[str]) -> Iterator[SourceImage]:
    """All images of a request, the folder's before the graph's; connected masks belong to the
    graph's if there are any. Captions of the node go before those of files.
    """
    look_up = take_captions and not request.has_texts
    check_sources(request, look_up)
    in_folder: Iterator[SourceImage] = iter(())
    if request.folder != NO_FOLDER:
        in_folder = folder_sources(requested_folder(request, look_up), notes)
    in_graph = graph_sources(request.images, request.masking)
    if request.masks and request.images:
        in_graph = with_masks(in_graph, request.masks)
    elif request.masks:
        in_folder = with_masks(in_folder, request.masks)
    sources = chain(in_folder, in_graph)
    return with_captions(sources, request.texts) if take_captions and not look_up else sources


def check_sources(request: Request, look_up: bool) -> None:
    """Raise ValueError where there is nothing to learn from."""
    if request.folder == NO_FOLDER and not any(len(batch) for batch in request.images):
        raise ValueError(NO_IMAGES)
    if look_up and request.images:
        raise ValueError(
            "The connected images have no captions. Write one line per image on the node, "
            "connect a list of STRINGs, or set captions to 'object' or 'style'."
        )


def requested_folder(request: Request, look_up: bool) -> ImageFolder:
    """The folder of a request, with its captions where they are to be looked up."""
    return ImageFolder(
        folder_path(request.folder),
        request.captions.files if look_up else None,
        request.masking,
        request.fit,
        request.deep,
        skip=request.skip,
    )


def graph_sources(images: Sequence[Tensor], settings: MaskSettings) -> Iterator[SourceImage]:
    """Images of IMAGE batches or lists."""
    images = [image for batch in images for image in batch]
    for number, image in enumerate(images, 1):
        found = pixels_of_image(image, settings.background)
        mask, notes = mask_found(found, settings)
        yield SourceImage(f"image {number}", found.image, mask, notes=(*found.notes, *notes))


def pixels_of_image(image: Tensor, background: tuple[int, int, int]) -> Reading:
    """An image `[h, w, 3]` of the graph; a fourth channel is how opaque it is, over a color of
    0 to 255.
    """
    channels = torch.nan_to_num(image.float().cpu()).clamp(0, 1)
    colors, opacity = channels[..., :3], channels[..., 3:4]
    if bool((opacity == 1).all()):  # Also where there is no fourth channel.
        return Reading(colors, None, ())
    behind = torch.tensor(background) / 255
    flat = opacity * colors + (1 - opacity) * behind
    return Reading(flat, opacity[..., 0], ("partly transparent",))


def with_masks(sources: Iterable[SourceImage], masks: Sequence[Tensor]) -> Iterator[SourceImage]:
    """The sources with the MASKs that were connected, in order."""
    layers = [mask for batch in masks for mask in (batch if batch.ndim > 2 else batch[None])]
    wrong = (
        "There are {things} masks for {images}. Connect one mask per image (in the order of "
        "the report), or one for all."
    )
    for source, mask in paired_in_order(sources, layers, wrong):
        given, more = upright(mask.float().cpu(), source.image, source.orientation)
        kept = [note for note in source.notes if note != MAY_BE_TURNED]
        yield replace(source, mask=given, notes=(*kept, "connected mask", *more))


def with_captions(sources: Iterable[SourceImage], texts: Sequence[str]) -> Iterator[SourceImage]:
    """The sources with the captions of the node, in order: a single text was typed, a line for each
    image or one for all; several were connected as a list, and are trusted no more than files.
    """
    typed = len(texts) == 1
    captions = typed_lines(texts[0]) if typed else texts
    for caption in captions if typed else ():
        check_typed("caption", caption)
    origin = "" if typed else "the connected list"
    wrong = (
        WRONG_LINES
        if typed
        else "The connected list has {things} captions for {images}. Connect one per image, in "
        "the order of the report."
    )
    for source, caption in paired_in_order(sources, captions, wrong):
        yield replace(source, caption=caption, typed=typed, caption_from=origin)


def typed_lines(text: str) -> list[str]:
    """The captions that were typed: a line each, empty ones left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def paired_in_order(
    sources: Iterable[SourceImage], things: Sequence[Belonging], wrong: str
) -> Iterator[tuple[SourceImage, Belonging]]:
    """Each source with what belongs to it, in order; a single thing belongs to all. The sources
    come one after the other, so that only at the end a wrong number is known, and `wrong` says so.
    """
    count = 0
    for count, source in enumerate(sources, 1):
        if len(things) == 1 or count <= len(things):
            yield source, things[0 if len(things) == 1 else count - 1]
    if count and len(things) not in (1, count):
        raise ValueError(wrong.format(things=len(things), images=counted(count, "image")))


def unused_captions(request: Request, images: int) -> list[str]:
    """What to tell of captions that are there and stand in no text: those of the node, else text
    files beside the images.
    """
    if request.captions.caption_settings.templates:
        why = f"no template in Caption Options contains {FILEWORDS}. Add it to one"
    else:
        why = (
            f"captions is {request.kind!r}, which uses none. Set it to 'captions' or "
            f"'{request.kind} and captions'"
        )
    if not request.has_texts:
        written = texts_of(request)
        where = f"{counted(len(written), 'text file')} next to the images"
        return [f"The captions in {where} were not used: {why}."] if written else []
    given = len(typed_lines(request.texts[0])) if len(request.texts) == 1 else len(request.texts)
    wrong = f" There are also {given} captions for {counted(images, 'image')}."
    return [f"The captions were not used: {why}.{'' if given in (1, images) else wrong}"]


def texts_of(request: Request) -> list[Path]:
    """The text files beside the images of a request's folder."""
    if request.folder == NO_FOLDER:
        return []
    return texts_beside(folder_path(request.folder), request.deep, request.captions.files)


def read_templates(typed: str, file: str) -> tuple[str, ...]:
    """Templates from the text on a node, or from a file in input/ or datasets/; none if both are
    empty.
    """
    if typed.strip() and file.strip():
        raise ValueError(
            f"Both templates and template_file ({file!r}) are given. Clear one of them."
        )
    if file.strip():
        return templates_from(read_text(text_file(file.strip()), LONGEST_FILE), False)
    return templates_from(typed, True) if typed.strip() else ()


def folder_state(choice: str) -> str:
    """Changes when anything that is read for a folder changes; what Caption Options names outside
    of it, is in their own state.
    """
    return state_of([folder_path(choice)])


def caption_options_state(*files: str | None) -> str:
    """Changes when a file that Caption Options names changes; a linked name is not known beforehand
    (None).
    """
    return state_of(path for name in files if name for path in candidates(name.strip()))
