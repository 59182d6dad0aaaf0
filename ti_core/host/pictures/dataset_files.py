"""Concepts from kohya's dataset files, whose folders lie in the host's."""

from dataclasses import replace
from pathlib import Path

from ...concept.caption_files import base_name
from ...concept.concept import Concept, Picture, joined_concepts
from ...concept.gather import Recipe, concept_of
from ...concept.kohya_toml import Subset, subsets
from ...concept.templates import Kind
from ...quoted import quoted, shown
from .concept_sources import PictureFolder, folder_sources
from .folders import allowed, candidates, read_text, roots, state_of, text_file
from .ordinary_files import is_folder

LONGEST_DATASET_FILE = 64 << 10  # bytes


def load_dataset_file(choice: str, kind: Kind, seed: int) -> tuple[Concept, list[str]]:
    """The concept of kohya's dataset file, and what the user should know of its making, in
    words.
    """
    file = text_file(choice)
    found, notes = subsets(read_text(file, LONGEST_DATASET_FILE), seed)
    if not found:
        raise ValueError(f"The dataset file {file.name!r} names no folder to train on. {notes[0]}")
    cut: dict[object, Picture] = {}
    concepts = [sharing(subset_concept(subset, file, kind, notes), subset, cut) for subset in found]
    return joined_concepts(concepts), list(dict.fromkeys(notes))


def sharing(concept: Concept, subset: Subset, cut: dict[object, Picture]) -> Concept:
    """The concept of a subset with the crops of earlier ones, where these are of the same pictures
    and cut in the same way; `cut` has the first picture of each kind.
    """
    how = (subset.folder, subset.fit, subset.masks, subset.mask_folder)
    firsts = [cut.setdefault((how, n, one.name), one) for n, one in enumerate(concept.pictures)]
    pictures = (
        replace(one, crops=first.crops, weights=first.weights)
        for one, first in zip(concept.pictures, firsts, strict=True)
    )
    return replace(concept, pictures=tuple(pictures))


def subset_concept(subset: Subset, file: Path, kind: Kind, notes: list[str]) -> Concept:
    """The concept of one subset."""
    folder = subset_folder(subset, file, kind)
    name = base_name(subset.folder.rstrip("/\\"))
    if folder.path.name != name or not is_folder(Path(subset.folder)):
        notes.append(
            f"image_dir {quoted(subset.folder)} is read from {shown(choice_of(folder.path))}."
        )
    wording = subset.captions.wording.for_kind(kind)
    recipe = Recipe(kind, wording, subset.fit, subset.masks, repeats=subset.repeats)
    concept = concept_of(folder_sources(folder, notes), recipe)
    if not concept.pictures:
        raise ValueError(
            f"No picture of image_dir {quoted(subset.folder)} is larger than "
            f"skip_image_resolution. Lower it, or remove the subset."
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
        if "\0" not in written and is_folder(place) and allowed(place):
            return place.resolve()
    raise ValueError(
        f"The folder {quoted(written)} of the dataset file is not in ComfyUI's input/ or datasets/ "
        f"folder. Copy it there, or write its path like 'input/cats'."
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
