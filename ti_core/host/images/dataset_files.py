"""Concepts from kohya's dataset files, whose folders lie in the host's."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ...concept.caption_files import base_name
from ...concept.concept import Concept, ConceptImage, joined_concepts
from ...concept.file_kinds import compared, path_parts
from ...concept.gather import ImageRecipe, concept_of
from ...concept.kohya_toml import Subset, subsets
from ...concept.templates import Kind
from ...quoted import quoted, shown
from .concept_sources import ImageFolder, folder_sources
from .folders import allowed, candidates, is_root, read_text, roots, state_of, text_file
from .ordinary_files import is_folder

LONGEST_DATASET_FILE = 64 << 10  # bytes


def load_dataset_file(choice: str, kind: Kind, seed: int) -> tuple[Concept, list[str]]:
    """The concept of kohya's dataset file, and what the user should know of its making, in
    words.
    """
    file = text_file(choice)
    found, notes = subsets_of(file, seed)
    cut: dict[object, ConceptImage] = {}
    concepts = [sharing(subset_concept(subset, file, kind, notes), subset, cut) for subset in found]
    return joined_concepts(concepts), list(dict.fromkeys(notes))


def subsets_of(file: Path, seed: int = 0) -> tuple[list[Subset], list[str]]:
    """The subsets of a dataset file, of which there is one at least, and notes on what they say."""
    found, notes = subsets(read_text(file, LONGEST_DATASET_FILE), seed)
    if not found:
        raise ValueError(f"The dataset file {file.name!r} names no folder to train on. {notes[0]}")
    check_distinct([subset.folder for subset in found], file)
    check_distinct([subset.mask_folder for subset in found if subset.mask_folder], file)
    return found, notes


def check_dataset_file(choice: str, kind: Kind | None) -> None:
    """Raise ValueError for a dataset file that is not there, cannot be read, or names folders that
    are not there.
    """
    file = text_file(choice)
    for subset in subsets_of(file)[0]:
        subset_folder(subset, file, kind or "captions")


def sharing(concept: Concept, subset: Subset, cut: dict[object, ConceptImage]) -> Concept:
    """The concept of a subset with the crops of earlier ones, where these are of the same images
    and cut in the same way; `cut` has the first image of each kind.
    """
    how = (subset.folder, subset.fit, subset.masks, subset.mask_folder)
    firsts = [cut.setdefault((how, n, one.name), one) for n, one in enumerate(concept.images)]
    images = (
        replace(one, crops=first.crops, weights=first.weights)
        for one, first in zip(concept.images, firsts, strict=True)
    )
    return replace(concept, images=tuple(images))


def subset_concept(subset: Subset, file: Path, kind: Kind, notes: list[str]) -> Concept:
    """The concept of one subset."""
    folder = subset_folder(subset, file, kind)
    name = base_name(subset.folder.rstrip("/\\"))
    if folder.path.name != name or not is_folder(Path(subset.folder)):
        notes.append(
            f"image_dir {quoted(subset.folder)} is read from {shown(choice_of(folder.path))}."
        )
    caption_settings = subset.captions.caption_settings.for_kind(kind)
    recipe = ImageRecipe(kind, caption_settings, subset.fit, subset.masks, repeats=subset.repeats)
    concept = concept_of(folder_sources(folder, notes), recipe)
    if not concept.images:
        raise ValueError(
            f"No image of image_dir {quoted(subset.folder)} is larger than "
            f"skip_image_resolution. Lower it, or remove the subset."
        )
    return concept


def subset_folder(subset: Subset, file: Path, kind: Kind) -> ImageFolder:
    """The folder of a subset with what belongs to it; its name means nothing, and its sub-folders
    are not read.
    """
    return ImageFolder(
        image_folder(subset.folder, file),
        subset.captions.files
        if subset.captions.caption_settings.for_kind(kind).uses_captions
        else None,
        subset.masks,
        subset.fit,
        deep=False,
        repeats=False,
        mask_folder=image_folder(subset.mask_folder, file) if subset.mask_folder else None,
        smallest_area=subset.smallest_area,
    )


def image_folder(written: str, file: Path) -> Path:
    """The folder that a dataset file means: as it is written if that lies inside input/ or a
    datasets folder, else the one whose path ends most like it, beside the file or in those folders.
    """
    tops = [file.parent, *(root for group in roots().values() for root in group)]
    parts = path_parts(os.path.normpath(written.replace("\\", "/")))
    ends = (descended(top, parts[start:]) for start in range(len(parts)) for top in tops)
    as_written = [] if "\0" in written else [file.parent / written, *candidates(written)]
    for place in chain(as_written, ends):
        if place and is_folder(place) and allowed(place) and not is_root(place):
            return place.resolve()
    raise ValueError(
        f"The folder {quoted(written)} of the dataset file is not in ComfyUI's input/ or datasets/ "
        f"folder. Copy it there, or write its path like 'input/cats'."
    )


def descended(top: Path, parts: Sequence[str]) -> Path | None:
    """The folder below another one by the names on the way, in any case and form of accents."""
    place: Path | None = top
    for part in parts:
        place = place and folder_in(place, part)
    return place


def folder_in(place: Path, name: str) -> Path | None:
    """The folder of a name in another one, written so or else alike."""
    try:
        found = [entry for entry in os.scandir(place) if compared(entry.name) == compared(name)]
        folders = sorted(found, key=lambda entry: (entry.name != name, entry.name))
        return next((Path(entry.path) for entry in folders if entry.is_dir()), None)
    except OSError:  # It is no folder, or not for us.
        return None


def check_distinct(written: Sequence[str], file: Path) -> None:
    """Raise ValueError where two folders of a dataset file, which were two elsewhere, would be read
    from one here, because only the ends of their paths are known.
    """
    meant: dict[Path, str] = {}
    for one in dict.fromkeys(written):
        other = meant.setdefault(image_folder(one, file), one)
        shorter, longer = sorted((path_parts(one), path_parts(other)), key=len)
        if longer[len(longer) - len(shorter) :] != shorter:
            raise ValueError(
                f"The folders {quoted(other)} and {quoted(one)} of the dataset file would both be "
                f"read from {shown(choice_of(image_folder(one, file)))}. Copy each into a folder "
                f"of its own in input/, and write its path like 'input/cats/img'."
            )


def choice_of(folder: Path) -> str:
    """A folder as a user chooses it, without the way to ComfyUI."""
    for kind, group in roots().items():
        for root in group:
            if folder.is_relative_to(root.resolve()):
                return f"{kind}/{folder.relative_to(root.resolve()).as_posix()}"
    return folder.name


def dataset_file_state(choice: str | None, kind: Kind | None) -> str:
    """Changes when a dataset file, or anything that is read for it, changes; what is linked is not
    known beforehand (None).
    """
    if not choice:
        return ""
    file = text_file(choice)
    found, _ = subsets(read_text(file, LONGEST_DATASET_FILE))
    folders = [subset_folder(subset, file, kind or "captions") for subset in found]
    places = (place for folder in folders for place in folder.places)
    return state_of(dict.fromkeys([file, *places]))
