"""The pictures of a folder with their masks and captions, and where all that lies."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor

from ...concept.caption_files import (
    LONGEST_FILE,
    PICTURE_KEYS,
    CaptionFiles,
    CaptionSource,
    base_name,
    file_name_words,
    folder_repeats,
    metadata_captions,
)
from ...concept.counted import counted
from ...concept.encodings import READ_AS
from ...concept.fit import FitSettings
from ...concept.gather import Source, check_large_enough
from ...concept.masks import MaskSettings
from ...quoted import quoted, shown
from .folders import allowed, any_text, candidates, read_text
from .ordinary_files import is_file
from .picture_files import SUFFIXES, Reading, mask_file, picture_files, read_mask, read_pixels

METADATA_NAMES = ("metadata.json", "metadata.jsonl", "meta_cap.json", "meta_clean.json")
MOST_FAULTS = 3  # in one error
LARGEST_METADATA = 64 << 20
# What cameras and phones call their pictures says nothing about them.
CAMERA_NAME = re.compile(
    r"(?:img|image|dsc\w?|dscn|pxl|photo|picture|screenshot|mvi|wp|p)?[\W\d_]*", re.IGNORECASE
)


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures, and how it is read. `captions` is None where none are needed;
    `mask_folder` has masks of the same stems (kohya's conditioning_data_dir); pictures of up to
    `smallest_area` pixels are passed over, and with `skip` those that cannot be used.
    """

    path: Path
    captions: CaptionFiles | None = field(default_factory=CaptionFiles)
    masks: MaskSettings = field(default_factory=MaskSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    deep: bool = True
    repeats: bool = True
    mask_folder: Path | None = None
    smallest_area: int = 0
    skip: bool = False

    @property
    def metadata(self) -> Path | None:
        """The file that has the captions of several pictures, if there is one."""
        return metadata_file(self.path, self.captions) if self.captions else None

    @property
    def places(self) -> list[Path]:
        """Files and folders in which everything lies that is read."""
        elsewhere = (self.mask_folder, self.metadata)
        return [self.path, *(place for place in elsewhere if place is not None)]


def folder_sources(folder: PictureFolder, notes: list[str]) -> Iterator[Source]:
    """The pictures of a folder, one after the other; what cannot be read or has no caption is named
    in one error at the end. `notes` is told what was left out.
    """
    files = files_of(folder.path, folder.deep)
    lookup = caption_lookup(folder.captions, folder.metadata) if folder.captions else None
    remarks = [lookup.remark] if lookup and lookup.remark else []
    faults: list[str] = []
    silent: list[str] = []
    for path in files:
        throw_exception_if_processing_interrupted()
        try:
            source = file_source(path, folder, lookup)
        except ValueError as error:
            faults.append(str(error))
            continue
        if source.picture.shape[0] * source.picture.shape[1] <= folder.smallest_area:
            notes.append(
                f"{source.name} was left out: it is not larger than skip_image_resolution."
            )
            continue
        if lookup and not source.caption_from:
            silent.append(source.name)
        yield source
    if faults and not folder.skip:
        more = len(faults) - MOST_FAULTS
        rest = [f"{counted(more, 'more file')} cannot be used either."] if more > 0 else []
        raise ValueError(" ".join([*faults[:MOST_FAULTS], *rest]))
    if silent:
        listed = f"{counted(len(silent), 'picture')} ({', '.join(silent[:10])})"
        raise ValueError(
            f"There are no captions for {listed}. Put a text file with the same name beside each "
            f"picture, write captions on the node, or choose another kind. "
            f"{' '.join(remarks)}".strip()
        )
    notes += remarks + faults


def files_of(folder: Path, deep: bool) -> list[Path]:
    """The picture files of a folder; ValueError if there are none."""
    if files := picture_files(folder, deep):
        return files
    raise ValueError(f"The folder {quoted(folder.name)} holds no pictures ({', '.join(SUFFIXES)}).")


def file_source(path: Path, folder: PictureFolder, lookup: "CaptionLookup | None") -> Source:
    """A picture file with its mask and its caption."""
    name = shown(path.relative_to(folder.path).as_posix())
    if not allowed(path):
        raise ValueError(
            f"{quoted(name)} is a link to a file outside ComfyUI's input/ and datasets/ folders. "
            f"Copy the picture into the folder."
        )
    found = read_pixels(path, folder.masks.background)
    check_large_enough(name, found.picture.shape[1], found.picture.shape[0], folder.fit)
    caption, origin = lookup.caption_of(path) if lookup else ("", "")
    mask, mask_note = mask_found(found, folder.masks, mask_beside(path, folder))
    notes = (*found.notes, mask_note) if mask_note else found.notes
    repeats = folder_repeats(path.parent.name)[0] if folder.repeats else 1
    return Source(name, found.picture, mask, caption, False, origin, repeats, notes)


def mask_beside(path: Path, folder: PictureFolder) -> Path | None:
    """The mask file of a picture: in the folder of masks, else beside it."""
    inside = (
        [folder.mask_folder / f"{path.stem}{s}" for s in SUFFIXES] if folder.mask_folder else []
    )
    found = next((mask for mask in inside if is_file(mask)), None) or mask_file(path)
    return found if found is not None and allowed(found) else None


def mask_found(
    found: Reading, settings: MaskSettings, file: Path | None = None
) -> tuple[Tensor | None, str]:
    """The mask of a picture, from a file or from its transparency, and where it came from."""
    if settings.source in ("auto", "files") and file is not None:
        return read_mask(file), f"mask {shown(file.name)}"
    if settings.source in ("auto", "alpha") and found.opacity is not None:
        return found.opacity, "mask from transparency"
    if settings.source == "files" and found.opacity is not None:
        return None, "transparency filled; Mask Options can mask it out"
    return None, ""


class FileCaption(NamedTuple):
    """The caption of a picture file, and where it stood; empty if there is none."""

    text: str = ""
    origin: str = ""


@dataclass(frozen=True)
class CaptionLookup:
    """Finds captions as it was asked to; `metadata` has those of a metadata file by name or stem of
    the picture, `remark` says why there is one that cannot be used.
    """

    files: CaptionFiles
    metadata: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def caption_of(self, picture: Path) -> FileCaption:
        """The first caption of a picture that is found."""
        found = (find(self, picture) for find in LOOKUPS[self.files.source])
        return next((caption for caption in found if caption.origin), FileCaption())

    def beside(self, picture: Path) -> FileCaption:
        """What the text file beside a picture says."""
        text = text_beside(picture, self.files.extension)
        if text is None:
            return FileCaption()
        words, assumed = any_text(text, LONGEST_FILE)
        how = f"{READ_AS}{assumed}" if assumed else ""
        return FileCaption(words, f"{shown(text.name)}{how}")

    def in_metadata(self, picture: Path) -> FileCaption:
        """What the metadata file says of a picture."""
        caption = self.metadata.get(picture.name, self.metadata.get(picture.stem))
        return FileCaption(caption, "the metadata file") if caption else FileCaption()

    def in_folder_name(self, picture: Path) -> FileCaption:
        """Given words, or those of a kohya folder `20_cat woman`."""
        words = self.files.words or folder_repeats(picture.parent.name)[1]
        return FileCaption(words, "the folder's words") if words else FileCaption()

    def in_file_name(self, picture: Path) -> FileCaption:
        """The words of a picture's name; those of a camera do not count unless they are asked
        for.
        """
        if self.files.source != "file names" and CAMERA_NAME.fullmatch(picture.stem):
            return FileCaption()
        words = file_name_words(picture.stem, self.files.pattern, self.files.joiner)
        return FileCaption(words, "the file name") if words else FileCaption()


LOOKUPS: dict[CaptionSource, tuple[Callable[[CaptionLookup, Path], FileCaption], ...]] = {
    "auto": (
        CaptionLookup.beside,
        CaptionLookup.in_metadata,
        CaptionLookup.in_folder_name,
        CaptionLookup.in_file_name,
    ),
    "kohya": (CaptionLookup.beside, CaptionLookup.in_folder_name),
    "text files": (CaptionLookup.beside,),
    "metadata": (CaptionLookup.in_metadata,),
    "folder names": (CaptionLookup.in_folder_name,),
    "file names": (CaptionLookup.in_file_name,),
}


def text_beside(picture: Path, extension: str = "") -> Path | None:
    """The text file of the same stem (or name) beside a picture."""
    for ending in [extension] if extension else [".txt", ".caption"]:
        ending = ending if ending.startswith(".") else f".{ending}"
        for text in (picture.with_suffix(ending), picture.with_name(picture.name + ending)):
            if ending.lower() not in SUFFIXES and is_file(text) and allowed(text):
                return text
    return None


def texts_beside(pictures: Iterable[Path], files: CaptionFiles) -> list[Path]:
    """The text files beside pictures; none where captions are not looked for there."""
    if CaptionLookup.beside not in LOOKUPS[files.source]:
        return []
    return [text for one in pictures if (text := text_beside(one, files.extension))]


def caption_lookup(files: CaptionFiles, metadata: Path | None) -> CaptionLookup:
    """The lookup with its metadata file read. A file that names no picture is an error where the
    user named it; one that was found by itself may be there for something else.
    """
    if metadata is None:
        return CaptionLookup(files)
    captions = metadata_captions(read_text(metadata, LARGEST_METADATA), metadata.name)
    if captions:
        return CaptionLookup(files, captions)
    where = (
        f" (line 1 has none of {', '.join(PICTURE_KEYS)})" if metadata.suffix == ".jsonl" else ""
    )
    remark = f"The metadata file {metadata.name!r} names no picture{where}"
    if files.metadata:
        raise ValueError(f"{remark}. Add the pictures to it, or choose another source of captions.")
    return CaptionLookup(files, remark=f"{remark}, so it was not used.")


def metadata_file(folder: Path, files: CaptionFiles) -> Path | None:
    """The metadata file that is named, in the folder or in its place, or that lies in the folder;
    None if there is none, or captions are looked for elsewhere.
    """
    if files.source not in ("auto", "metadata"):
        return None
    names = [files.metadata, base_name(files.metadata)] if files.metadata else METADATA_NAMES
    places = [*(folder / name for name in names), *candidates(files.metadata)]
    found = next((path for path in places if is_file(path) and allowed(path)), None)
    if files.metadata and found is None:
        raise ValueError(
            f"There is no metadata file {quoted(files.metadata)} in the folder "
            f"{quoted(folder.name)}. Write the name of a file in that folder, or a path like "
            f"'input/my-metadata.json'."
        )
    return found
