"""Pictures, masks and captions from folders and from the graph."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor

from ...concept.caption_files import (
    LONGEST_FILE,
    base_name,
    clean,
    decoded,
    file_name_words,
    folder_repeats,
    metadata_captions,
    was_cut,
)
from ...concept.gather import CaptionFiles, Source, check_large_enough
from ...concept.masks import MaskSettings
from .folders import allowed, candidates, read_bytes
from .picture_files import SUFFIXES, Reading, mask_file, picture_files, read, read_mask

METADATA_NAMES = ("metadata.json", "metadata.jsonl", "meta_cap.json", "meta_clean.json")
LARGEST_METADATA = 64 << 20
# What cameras and phones call their pictures says nothing about them.
CAMERA_NAME = re.compile(
    r"(?:img|image|dsc\w?|dscn|pxl|photo|picture|screenshot|mvi|wp|p)?[\W\d_]*", re.IGNORECASE
)

Captioner = Callable[[Path], tuple[str, str]]


@dataclass(frozen=True)
class FolderSettings:
    """How a folder is read; `captions` is None where none are needed. `skipped` collects what
    cannot be used; without it, that is an error.
    """

    captions: CaptionFiles | None = field(default_factory=CaptionFiles)
    masks: MaskSettings = field(default_factory=MaskSettings)
    deep: bool = True
    repeats: bool = True
    mask_folder: Path | None = None
    smallest_area: int = 0
    skipped: list[str] | None = None


def folder_sources(folder: Path, settings: FolderSettings) -> Iterator[Source]:
    """The pictures of a folder, one after the other; what cannot be read or has no caption is named
    in one error at the end.
    """
    files = picture_files(folder, settings.deep)
    if not files:
        raise ValueError(f"The folder {folder.name!r} holds no pictures ({', '.join(SUFFIXES)}).")
    captioned = captioner(folder, settings.captions) if settings.captions else no_caption
    faults: list[str] = [] if settings.skipped is None else settings.skipped
    silent: list[str] = []
    for path in files:
        throw_exception_if_processing_interrupted()
        name = path.relative_to(folder).as_posix()
        try:
            source = file_source(path, name, captioned, settings)
        except ValueError as error:
            faults.append(str(error))
            continue
        if source.picture.shape[0] * source.picture.shape[1] <= settings.smallest_area:
            continue
        if settings.captions and not source.caption_from:
            silent.append(name)
        yield source
    if faults and settings.skipped is None:
        raise ValueError(" ".join(faults))
    if silent:
        raise ValueError(
            f"There are no captions for {len(silent)} pictures ({', '.join(silent[:10])}). Put a "
            f"text file of the same name beside each, write the captions on the node, or choose "
            f"another kind."
        )


def file_source(path: Path, name: str, captioned: Captioner, settings: FolderSettings) -> Source:
    """A picture file with its mask and its caption."""
    if not allowed(path):
        raise ValueError(
            f"The picture {name!r} leads out of ComfyUI's input/ and datasets/ folders. Copy it "
            f"into the folder."
        )
    found = read(path, settings.masks.background)
    check_large_enough(name, found.picture.shape[1], found.picture.shape[0])
    caption, origin = captioned(path)
    mask, mask_note = mask_of_file(path, found, settings)
    notes = [*found.notes, mask_note]
    if was_cut(caption):
        notes.append(f"a caption of {len(caption)} characters, cut")
    repeats = folder_repeats(path.parent.name)[0] if settings.repeats else 1
    notes = tuple(note for note in notes if note)
    return Source(name, found.picture, mask, clean(caption), origin, repeats, notes)


def mask_of_file(path: Path, found: Reading, settings: FolderSettings) -> tuple[Tensor | None, str]:
    """The mask of a picture file, and where it came from."""
    source = settings.masks.source
    beside = in_mask_folder(path, settings.mask_folder) or mask_file(path)
    if source in ("auto", "files") and beside is not None and allowed(beside):
        return read_mask(beside), f"mask {beside.name}"
    if source in ("auto", "alpha") and found.opacity is not None:
        return found.opacity, "mask from transparency"
    if source == "files" and found.opacity is not None:
        return None, "its transparency is filled; Mask Options can leave it out"
    return None, ""


def in_mask_folder(path: Path, folder: Path | None) -> Path | None:
    """The file of the same stem in a folder of masks (kohya's conditioning_data_dir)."""
    if folder is None:
        return None
    found = [folder / f"{path.stem}{suffix}" for suffix in SUFFIXES]
    return next((mask for mask in found if mask.is_file()), None)


def no_caption(path: Path) -> tuple[str, str]:
    """For kinds that need none."""
    return "", ""


def captioner(folder: Path, files: CaptionFiles) -> Captioner:
    """What finds the caption of a picture file, and says where."""
    metadata = metadata_of(folder, files) if files.source in ("auto", "metadata") else {}

    def in_text(path: Path) -> tuple[str, str]:
        return text_beside(path, files.extension)

    def in_metadata(path: Path) -> tuple[str, str]:
        caption = metadata.get(path.name, metadata.get(path.stem))
        return ("", "") if caption is None else (caption, "the metadata file")

    def in_folder(path: Path) -> tuple[str, str]:
        return words_of_folder(path, files.words)

    def in_name(path: Path) -> tuple[str, str]:
        return words_of_file(path, files, camera_names=files.source == "file names")

    finders: dict[str, tuple[Captioner, ...]] = {
        "auto": (in_text, in_metadata, in_folder, in_name),
        "kohya": (in_text, in_folder),
        "text files": (in_text,),
        "metadata": (in_metadata,),
        "folder names": (in_folder,),
        "file names": (in_name,),
    }
    return lambda path: first_of(finder(path) for finder in finders[files.source])


def first_of(found: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The first caption that was found anywhere."""
    return next((one for one in found if one[1]), ("", ""))


def text_beside(path: Path, extension: str) -> tuple[str, str]:
    """The text file of the same stem (or name) beside a picture."""
    endings = (extension,) if extension else (".txt", ".caption")
    for ending in endings:
        ending = ending if ending.startswith(".") else f".{ending}"
        for beside in (path.with_suffix(ending), path.with_name(path.name + ending)):
            if ending.lower() not in SUFFIXES and beside.is_file() and allowed(beside):
                return decoded(read_bytes(beside, LONGEST_FILE)), beside.name
    return "", ""


def metadata_of(folder: Path, files: CaptionFiles) -> dict[str, str]:
    """Captions by file name or stem from the metadata file that is named, or lies in the folder."""
    if files.metadata:
        named = (files.metadata, base_name(files.metadata))
        inside = [*(folder / name for name in named), *candidates(files.metadata)]
        found = [path for path in inside if path.is_file() and allowed(path)]
        if not found:
            raise ValueError(
                f"There is no metadata file {files.metadata!r} in the folder {folder.name!r}. "
                f"Write its name there, or its place as 'input/my-metadata.json'."
            )
    else:
        found = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
        found = [path for path in found if allowed(path)]
    if not found:
        return {}
    return metadata_captions(decoded(read_bytes(found[0], LARGEST_METADATA)), found[0].name)


def words_of_folder(path: Path, words: str) -> tuple[str, str]:
    """Given words, or those of a kohya folder `20_cat woman`."""
    found = words or folder_repeats(path.parent.name)[1]
    return (found, "the folder's words") if found else ("", "")


def words_of_file(path: Path, files: CaptionFiles, camera_names: bool = True) -> tuple[str, str]:
    """The words of a file name; those of a camera do not count unless they are asked for."""
    if not camera_names and CAMERA_NAME.fullmatch(path.stem):
        return "", ""
    words = file_name_words(path.stem, files.pattern, files.joiner)
    return (words, "the file name") if words else ("", "")


def graph_sources(images: Sequence[Tensor]) -> Iterator[Source]:
    """Pictures of IMAGE batches or lists; a fourth channel is how opaque they are."""
    pictures = [picture for batch in images for picture in batch]
    for number, picture in enumerate(pictures, 1):
        channels = torch.nan_to_num(picture.float().cpu()).clamp(0, 1)
        yield Source(f"image {number}", channels[..., :3])


def with_masks(sources: Iterable[Source], masks: Sequence[Tensor]) -> Iterator[Source]:
    """The sources with the MASKs that belong to them, in order; a single one belongs to all."""
    layers = [mask for batch in masks for mask in (batch if batch.ndim > 2 else batch[None])]
    count = 0
    for count, source in enumerate(sources, 1):
        if not layers:
            yield source
        elif len(layers) == 1 or count <= len(layers):
            mask = layers[min(count, len(layers)) - 1].float().cpu()
            yield replace(source, mask=mask, notes=(*source.notes, "connected mask"))
    if len(layers) > 1 and len(layers) != count:
        raise ValueError(
            f"There are {len(layers)} masks for {count} pictures. Connect one mask per picture (in "
            f"the order of the report), or a single one for all."
        )
