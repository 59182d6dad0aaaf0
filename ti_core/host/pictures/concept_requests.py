"""Concepts from what a user chose: folders, pictures of the graph, dataset files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from torch import Tensor

from ...concept.caption_files import LONGEST_FILE, base_name, templates_from
from ...concept.concept import Concept, LatentChoice, joined_concepts
from ...concept.counted import counted
from ...concept.fit import FitSettings
from ...concept.gather import CaptionOptions, Recipe, Source, concept_of
from ...concept.kohya_toml import Subset, subsets
from ...concept.masks import MaskSettings
from ...concept.templates import FILEWORDS, Kind
from .concept_sources import (
    PictureFolder,
    folder_sources,
    graph_sources,
    typed_lines,
    with_captions,
    with_masks,
)
from .folders import (
    NO_FOLDER,
    allowed,
    candidates,
    folder_path,
    read_text,
    roots,
    state_of,
    text_file,
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


def load_concept(request: Request) -> tuple[Concept, list[str]]:
    """The concept, and what the user should know of its making, in words."""
    notes: list[str] = []
    recipe = request.recipe
    sources = sources_of(request, recipe.wording.takes_captions, notes)
    concept = concept_of(sources, recipe)
    if not concept.pictures:
        raise ValueError(f"No picture can be used. {' '.join(notes)}")
    if request.has_texts and not recipe.wording.takes_captions:
        notes.append(unused_captions(request, len(concept.pictures)))
    return concept, notes


def sources_of(request: Request, take_captions: bool, notes: list[str]) -> Iterator[Source]:
    """All pictures of a request, the folder's before the graph's; connected masks belong to the
    graph's if there are any. Captions of the node go before those of files.
    """
    look_up = take_captions and not request.has_texts
    check_sources(request, look_up)
    in_folder: Iterator[Source] = iter(())
    if request.folder != NO_FOLDER:
        folder = requested_folder(request, look_up)
        in_folder = folder_sources(folder, notes)
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
        raise ValueError("There are no pictures: choose a folder, or connect the images input.")
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


def unused_captions(request: Request, pictures: int) -> str:
    """What to tell of captions that were given and stand in no text."""
    if request.captions.wording.templates:
        why = f"no template in Caption Options contains {FILEWORDS}. Add it to one"
    else:
        why = (
            f"kind {request.kind!r} does not use captions. Choose 'captions' or '{request.kind} "
            f"and captions'"
        )
    given = len(typed_lines(request.texts[0])) if len(request.texts) == 1 else len(request.texts)
    wrong = f" There are also {given} captions for {counted(pictures, 'picture')}."
    return f"The captions were not used: {why}.{'' if given in (1, pictures) else wrong}"


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


def load_dataset_file(choice: str, kind: Kind, seed: int) -> tuple[Concept, list[str]]:
    """The concept of kohya's dataset file, and what the user should know of its making, in
    words.
    """
    file = text_file(choice)
    found, notes = subsets(read_text(file, LONGEST_FILE), seed)
    if not found:
        raise ValueError(f"The dataset file {file.name!r} names no folder to train on. {notes[0]}")
    return joined_concepts([subset_concept(subset, file, kind, notes) for subset in found]), notes


def subset_concept(subset: Subset, file: Path, kind: Kind, notes: list[str]) -> Concept:
    """The concept of one subset."""
    folder = subset_folder(subset, file, kind)
    name = base_name(subset.folder.rstrip("/\\"))
    if folder.path.name != name or not Path(subset.folder).is_dir():
        notes.append(f"image_dir {subset.folder!r} is read from {choice_of(folder.path)}.")
    wording = subset.captions.wording.for_kind(kind)
    recipe = Recipe(kind, wording, subset.fit, subset.masks, repeats=subset.repeats)
    concept = concept_of(folder_sources(folder, notes), recipe)
    if not concept.pictures:
        raise ValueError(
            f"No picture of image_dir {subset.folder!r} is larger than skip_image_resolution. "
            f"Lower it, or remove the subset."
        )
    return concept


def subset_folder(subset: Subset, file: Path, kind: Kind) -> PictureFolder:
    """The folder of a subset with what belongs to it; its name means nothing, and its sub-folders
    are not read.
    """
    return PictureFolder(
        image_folder(subset.folder, file),
        subset.captions.files if subset.captions.wording.for_kind(kind).takes_captions else None,
        subset.masks,
        subset.fit,
        deep=False,
        repeats=False,
        mask_folder=image_folder(subset.mask_folder, file) if subset.mask_folder else None,
        smallest_area=subset.smallest_area,
    )


def image_folder(written: str, file: Path) -> Path:
    """The folder that a dataset file means: as it is written if that lies inside input/ or a
    datasets folder, else one of the same name beside the file or in those folders.
    """
    name = base_name(written.rstrip("/\\"))
    places = [file.parent / written, *candidates(written)]
    tops = [root for group in roots().values() for root in group]
    places += (
        [place / name for place in (file.parent, *tops)] if name not in ("", "..", ".") else []
    )
    for place in places:
        if "\0" not in written and place.is_dir() and allowed(place):
            return place.resolve()
    raise ValueError(
        f"The folder {written!r} of the dataset file is not in ComfyUI's input/ or datasets/ "
        f"folder. Copy it there as {name!r}, or write its path as 'input/{name}'."
    )


def choice_of(folder: Path) -> str:
    """A folder as a user chooses it, without the way to ComfyUI."""
    for kind, group in roots().items():
        for root in group:
            if folder.is_relative_to(root.resolve()):
                return f"{kind}/{folder.relative_to(root.resolve()).as_posix()}"
    return folder.name


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


def dataset_file_state(choice: str | None, kind: Kind | None) -> str:
    """Changes when a dataset file, or anything that is read for it, changes; what is linked is not
    known beforehand (None).
    """
    if not choice:
        return ""
    file = text_file(choice)
    found, _ = subsets(read_text(file, LONGEST_FILE))
    folders = [subset_folder(subset, file, kind or "captions") for subset in found]
    return state_of([file, *(place for folder in folders for place in folder.places)])
