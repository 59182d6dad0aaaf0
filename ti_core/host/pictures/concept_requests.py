"""Concepts from what was chosen on the nodes: a folder, pictures of the graph, captions, masks."""

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
from ...concept.gather import CaptionOptions, Recipe, Source, concept_of
from ...concept.masks import MaskSettings
from ...concept.templates import FILEWORDS, Kind
from .concept_sources import PictureFolder, files_of, folder_sources, mask_found, texts_beside
from .folders import NO_FOLDER, candidates, folder_path, read_text, state_of, text_file
from .picture_files import Reading

Belonging = TypeVar("Belonging")

NO_PICTURES = "There are no pictures: choose a folder, or connect the images input."
WRONG_LINES = (
    "There are {things} captions for {pictures}. Write one line per picture (in the order of the "
    "report), or one line for all."
)


@dataclass(frozen=True)
class Request:
    """What Load Images as Concept was asked for; `texts` are the entries of its captions input, one
    if typed, one per picture if a list is connected.
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
    def recipe(self) -> Recipe:
        """How the pictures become a concept."""
        wording = self.captions.wording.for_kind(self.kind)
        return Recipe(self.kind, wording, self.fit, self.masking, self.latents, self.repeats)

    @property
    def has_texts(self) -> bool:
        """Whether captions were typed or connected."""
        return len(self.texts) > 1 or any(text.strip() for text in self.texts)


def check_choices(folder: str, has_images: bool, captions: str, deep: bool) -> None:
    """Raise ValueError for choices that cannot work, as far as that is known before anything is
    loaded; `captions` are lines to be used as typed.
    """
    if folder == NO_FOLDER and not has_images:
        raise ValueError(NO_PICTURES)
    pictures = 0 if folder == NO_FOLDER else len(files_of(folder_path(folder), deep))
    lines = len(typed_lines(captions))
    if lines > 1 and lines != pictures and not has_images:
        raise ValueError(WRONG_LINES.format(things=lines, pictures=counted(pictures, "picture")))


def load_concept(request: Request) -> tuple[Concept, list[str]]:
    """The concept, and what the user should know of its making, in words."""
    notes: list[str] = []
    recipe = request.recipe
    concept = concept_of(sources_of(request, recipe.wording.takes_captions, notes), recipe)
    if not concept.pictures:
        raise ValueError(f"No picture can be used. {' '.join(notes)}")
    if not recipe.wording.takes_captions:
        notes += unused_captions(request, len(concept.pictures))
    return concept, notes


def sources_of(request: Request, take_captions: bool, notes: list[str]) -> Iterator[Source]:
    """All pictures of a request, the folder's before the graph's; connected masks belong to the
    graph's if there are any. Captions of the node go before those of files.
    """
    look_up = take_captions and not request.has_texts
    check_sources(request, look_up)
    in_folder: Iterator[Source] = iter(())
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
        raise ValueError(NO_PICTURES)
    if look_up and request.images:
        raise ValueError(
            "The connected images have no captions. Write one line per picture on the node, "
            "connect a list of STRINGs, or choose kind 'object' or 'style'."
        )


def requested_folder(request: Request, look_up: bool) -> PictureFolder:
    """The folder of a request, with its captions where they are to be looked up."""
    return PictureFolder(
        folder_path(request.folder),
        request.captions.files if look_up else None,
        request.masking,
        request.fit,
        request.deep,
        skip=request.skip,
    )


def graph_sources(images: Sequence[Tensor], settings: MaskSettings) -> Iterator[Source]:
    """Pictures of IMAGE batches or lists."""
    pictures = [picture for batch in images for picture in batch]
    for number, picture in enumerate(pictures, 1):
        found = pixels_of_image(picture, settings.background)
        mask, note = mask_found(found, settings)
        notes = (*found.notes, note) if note else found.notes
        yield Source(f"image {number}", found.picture, mask, notes=notes)


def pixels_of_image(picture: Tensor, background: tuple[int, int, int]) -> Reading:
    """A picture `[h, w, 3]` of the graph; a fourth channel is how opaque it is, over a colour of
    0 to 255.
    """
    channels = torch.nan_to_num(picture.float().cpu()).clamp(0, 1)
    colours, opacity = channels[..., :3], channels[..., 3:4]
    if bool((opacity == 1).all()):  # Also where there is no fourth channel.
        return Reading(colours, None, ())
    behind = torch.tensor(background) / 255
    flat = opacity * colours + (1 - opacity) * behind
    return Reading(flat, opacity[..., 0], ("partly transparent",))


def with_masks(sources: Iterable[Source], masks: Sequence[Tensor]) -> Iterator[Source]:
    """The sources with the MASKs that were connected, in order."""
    layers = [mask for batch in masks for mask in (batch if batch.ndim > 2 else batch[None])]
    wrong = (
        "There are {things} masks for {pictures}. Connect one mask per picture (in the order of "
        "the report), or one for all."
    )
    for source, mask in dealt(sources, layers, wrong):
        notes = (*source.notes, "connected mask")
        yield replace(source, mask=mask.float().cpu(), notes=notes)


def with_captions(sources: Iterable[Source], texts: Sequence[str]) -> Iterator[Source]:
    """The sources with the captions of the node, in order: a single text was typed, a line for each
    picture or one for all; several were connected as a list, and are trusted no more than files.
    """
    typed = len(texts) == 1
    captions = typed_lines(texts[0]) if typed else texts
    for caption in captions if typed else ():
        check_typed("caption", caption)
    origin = "" if typed else "the connected list"
    wrong = (
        WRONG_LINES
        if typed
        else "The connected list has {things} captions for {pictures}. Connect one per picture, in "
        "the order of the report."
    )
    for source, caption in dealt(sources, captions, wrong):
        yield replace(source, caption=caption, typed=typed, caption_from=origin)


def typed_lines(text: str) -> list[str]:
    """The captions that were typed: a line each, empty ones left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def dealt(
    sources: Iterable[Source], things: Sequence[Belonging], wrong: str
) -> Iterator[tuple[Source, Belonging]]:
    """Each source with what belongs to it, in order; a single thing belongs to all. The sources
    come one after the other, so that only at the end a wrong number is known, and `wrong` says so.
    """
    count = 0
    for count, source in enumerate(sources, 1):
        if len(things) == 1 or count <= len(things):
            yield source, things[0 if len(things) == 1 else count - 1]
    if count and len(things) not in (1, count):
        raise ValueError(wrong.format(things=len(things), pictures=counted(count, "picture")))


def unused_captions(request: Request, pictures: int) -> list[str]:
    """What to tell of captions that are there and stand in no text: those of the node, else text
    files beside the pictures.
    """
    if request.captions.wording.templates:
        why = f"no template in Caption Options contains {FILEWORDS}. Add it to one"
    else:
        why = (
            f"kind {request.kind!r} does not use captions. Choose 'captions' or '{request.kind} "
            f"and captions'"
        )
    if not request.has_texts:
        written = texts_of(request)
        where = f"{counted(len(written), 'text file')} beside the pictures"
        return [f"The captions in {where} were not used: {why}."] if written else []
    given = len(typed_lines(request.texts[0])) if len(request.texts) == 1 else len(request.texts)
    wrong = f" There are also {given} captions for {counted(pictures, 'picture')}."
    return [f"The captions were not used: {why}.{'' if given in (1, pictures) else wrong}"]


def texts_of(request: Request) -> list[Path]:
    """The text files beside the pictures of a request's folder."""
    if request.folder == NO_FOLDER:
        return []
    pictures = files_of(folder_path(request.folder), request.deep)
    return texts_beside(pictures, request.captions.files)


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
