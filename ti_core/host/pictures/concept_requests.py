"""Concepts from what a user chose: folders, pictures of the graph, dataset files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from torch import Tensor

from ...concept.caption_files import LONGEST_FILE, base_name, clean, decoded, templates_from
from ...concept.concept import Concept, LatentChoice, captions_for, joined_concepts
from ...concept.fit import FitSettings
from ...concept.gather import CaptionOptions, Recipe, Source, concept_of
from ...concept.kohya_toml import Subset, subsets
from ...concept.masks import MaskSettings
from ...concept.templates import Kind
from .concept_sources import FolderSettings, folder_sources, graph_sources, with_masks
from .folders import (
    NO_FOLDER,
    allowed,
    candidates,
    folder_path,
    read_bytes,
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


def load_concept(request: Request) -> tuple[Concept, list[str]]:
    """The concept, and what had to be left out of it, in words."""
    given = [text for text in request.texts if text.strip()] or len(request.texts) > 1
    wanted = request.captions.wanted(request.kind)
    check_sources(request, wanted and not given)
    recipe = Recipe(
        request.kind,
        request.captions.for_kind(request.kind),
        request.fit,
        request.masking,
        request.latents,
        request.repeats,
    )
    skipped: list[str] = []
    concept = concept_of(sources_of(request, wanted and not given, skipped), recipe)
    if not concept.pictures:
        raise ValueError(f"No picture can be used. {' '.join(skipped)}")
    return (captioned(concept, request.texts) if wanted and given else concept), skipped


def check_sources(request: Request, from_files: bool) -> None:
    """Raise ValueError where there is nothing to learn from."""
    if request.folder == NO_FOLDER and not any(len(batch) for batch in request.images):
        raise ValueError("There are no pictures: choose a folder, or connect the images input.")
    if from_files and request.images:
        raise ValueError(
            "The pictures of the graph have no captions. Write a line for each on the node, "
            "connect a list of STRINGs, or choose kind 'object' or 'style'."
        )


def sources_of(request: Request, from_files: bool, skipped: list[str]) -> Iterator[Source]:
    """All pictures of a request, the folder's before the graph's; connected masks belong to the
    graph's if there are any.
    """
    settings = FolderSettings(
        request.captions.files if from_files else None,
        request.masking,
        request.deep,
        skipped=skipped if request.skip else None,
    )
    in_folder: Iterator[Source] = iter(())
    if request.folder != NO_FOLDER:
        in_folder = folder_sources(folder_path(request.folder), settings)
    if request.images:
        return chain(in_folder, with_masks(graph_sources(request.images), request.masks))
    return with_masks(in_folder, request.masks)


def captioned(concept: Concept, texts: Sequence[str]) -> Concept:
    """The concept with captions that were typed (a line per picture, or one for all) or connected
    as a list. Only typed ones may name other embeddings.
    """
    count, typed = len(concept.pictures), len(texts) == 1
    if not typed and len(texts) != count:
        raise ValueError(
            f"The connected list has {len(texts)} captions for {count} pictures. Connect one for "
            f"each, in the order of the report."
        )
    captions = captions_for(texts[0], count) if typed else tuple(clean(text) for text in texts)
    origin = "typed" if typed else "the connected list"
    pictures = tuple(
        replace(
            picture,
            caption=caption,
            wording=replace(picture.wording, typed=typed),
            found=picture.found and picture.found._replace(caption_from=origin),
        )
        for picture, caption in zip(concept.pictures, captions, strict=True)
    )
    return replace(concept, pictures=pictures)


def read_templates(typed: str, file: str) -> tuple[str, ...]:
    """Templates from the text on a node, or from a file in input/ or datasets/; none if both are
    empty.
    """
    if typed.strip() and file.strip():
        raise ValueError(
            f"There are templates on the node and a template file {file!r}. Empty one of the two."
        )
    if file.strip():
        return templates_from(decoded(read_bytes(text_file(file.strip()), LONGEST_FILE)), False)
    return templates_from(typed, True) if typed.strip() else ()


def template_state(file: str | None) -> str:
    """Changes when the template file changes; a linked name is not known beforehand (None)."""
    if not file or not file.strip():
        return ""
    path = text_file(file.strip())
    return f"{path.stat().st_mtime_ns} {path.stat().st_size}"


def dataset_file_state(choice: str | None) -> str:
    """Changes when a dataset file, or a folder that it names, changes; a linked name is not known
    beforehand (None).
    """
    if not choice:
        return ""
    path = text_file(choice)
    found, _ = subsets(decoded(read_bytes(path, LONGEST_FILE)))
    folders = [image_folder(subset.folder, path) for subset in found]
    return repr([path.stat().st_mtime_ns, *(state_of(folder) for folder in folders)])


def load_dataset_file(choice: str, kind: Kind, seed: int) -> tuple[Concept, list[str]]:
    """The concept of kohya's dataset file, and what was left out of it, in words."""
    path = text_file(choice)
    found, notes = subsets(decoded(read_bytes(path, LONGEST_FILE)), seed)
    if not found:
        raise ValueError(f"The dataset file {path.name!r} names no folder to train on. {notes[0]}")
    return joined_concepts([subset_concept(subset, path, kind, notes) for subset in found]), notes


def subset_concept(subset: Subset, file: Path, kind: Kind, notes: list[str]) -> Concept:
    """The concept of one subset; its pictures lie in the folder itself, whose name means
    nothing.
    """
    folder = image_folder(subset.folder, file)
    if folder.name != base_name(subset.folder.rstrip("/\\")) or not Path(subset.folder).is_dir():
        notes.append(f"image_dir {subset.folder!r} was found as {shown(folder)}.")
    settings = FolderSettings(
        subset.captions.files if subset.captions.wanted(kind) else None,
        subset.masks,
        deep=False,
        repeats=False,
        mask_folder=image_folder(subset.mask_folder, file) if subset.mask_folder else None,
        smallest_area=subset.smallest_area,
    )
    wording = subset.captions.for_kind(kind)
    recipe = Recipe(kind, wording, subset.fit, subset.masks, repeats=subset.repeats)
    concept = concept_of(folder_sources(folder, settings), recipe)
    if not concept.pictures:
        raise ValueError(
            f"No picture of image_dir {subset.folder!r} is larger than skip_image_resolution. "
            f"Lower it, or take the subset out."
        )
    return concept


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
        f"folder. Copy it there (a folder named {name!r} is found), or write 'input/{name}'."
    )


def shown(folder: Path) -> str:
    """A folder as a user chooses it, without the way to ComfyUI."""
    for kind, group in roots().items():
        for root in group:
            if folder.is_relative_to(root.resolve()):
                return f"{kind}/{folder.relative_to(root.resolve()).as_posix()}"
    return folder.name
