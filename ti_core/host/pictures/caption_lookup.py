"""Where the caption of a picture file stands: beside it, in a metadata file, in a name."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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
from .folders import allowed, candidates, read_text
from .picture_files import SUFFIXES

METADATA_NAMES = ("metadata.json", "metadata.jsonl", "meta_cap.json", "meta_clean.json")
LARGEST_METADATA = 64 << 20
# What cameras and phones call their pictures says nothing about them.
CAMERA_NAME = re.compile(
    r"(?:img|image|dsc\w?|dscn|pxl|photo|picture|screenshot|mvi|wp|p)?[\W\d_]*", re.IGNORECASE
)


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
        """The text file of the same stem (or name) beside a picture."""
        for ending in [self.files.extension] if self.files.extension else [".txt", ".caption"]:
            ending = ending if ending.startswith(".") else f".{ending}"
            for text in (picture.with_suffix(ending), picture.with_name(picture.name + ending)):
                if ending.lower() not in SUFFIXES and text.is_file() and allowed(text):
                    return FileCaption(read_text(text, LONGEST_FILE), text.name)
        return FileCaption()

    def in_metadata(self, picture: Path) -> FileCaption:
        """What the metadata file says of a picture."""
        caption = self.metadata.get(picture.name, self.metadata.get(picture.stem))
        return FileCaption() if caption is None else FileCaption(caption, "the metadata file")

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
    found = next((path for path in places if path.is_file() and allowed(path)), None)
    if files.metadata and found is None:
        raise ValueError(
            f"There is no metadata file {files.metadata!r} in the folder {folder.name!r}. Write "
            f"the name of a file in that folder, or a path like 'input/my-metadata.json'."
        )
    return found
