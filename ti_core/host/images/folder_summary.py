"""A folder of images at a glance: what is known before any run."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...concept.audit import near_duplicate_pairs, number_doubts
from ...concept.caption_files import CaptionFiles
from ...concept.counted import counted
from ...quoted import shown
from .concept_sources import MOST_FAULTS, ImageFolder, caption_lookup
from .folder_files import FolderFiles, first_of
from .folders import allowed, folder_path
from .thumbnails import sides_of, thumbnail

LOOKED_AT = 200  # images; whoever has more knows what to look for
SHOWN = 24  # thumbnails
FOLDERS = 12  # sub-folders that are named
SECONDS = 0.5  # of looking at images, at a time


class Wanted(NamedTuple):
    """What the node on the page is set to: the side of its crops in pixels, and whether its
    images need captions, come with masks from files, and lie in sub-folders too.
    """

    resolution: int
    captions: bool = False
    masks: bool = True
    deep: bool = True


class FolderSummary(NamedTuple):
    """How many images a folder has, the names of the first below it, what needs a look, in words,
    whether all have been compared, and the sub-folders that are read, each with its number.
    """

    count: int
    names: list[str]
    findings: list[str]
    compared: bool
    folders: list[str]


def glance(choice: str, wanted: Wanted) -> FolderSummary:
    """What a folder of `image_folders` holds; ValueError for one that is not there. Of more than
    200 images the first are looked at.
    """
    captions = CaptionFiles() if wanted.captions else None
    folder = ImageFolder(folder_path(choice), captions, deep=wanted.deep)
    listed = folder.files
    looked_at = [path for path in listed.images[:LOOKED_AT] if allowed(path)]
    looks = looks_of(looked_at, listed)
    findings = [
        *(number_doubts(len(listed.images)) if listed.images else ()),
        *small_or_broken(looked_at, listed, wanted.resolution),
        *alike(looks),
        *(without_captions(looked_at, folder) if wanted.captions else ()),
        *(without_masks(looked_at, listed) if wanted.masks else ()),
        *folder.remarks,
    ]
    names = [path.relative_to(folder.path).as_posix() for path in looked_at[:SHOWN]]
    counts = [f"{shown(name)} ({count})" for name, count in listed.sub_folders().items()]
    rest = [f"... ({len(counts) - FOLDERS})"] if len(counts) > FOLDERS else []
    compared = len(looks) == len(looked_at)
    return FolderSummary(len(listed.images), names, findings, compared, counts[:FOLDERS] + rest)


def looks_of(files: Sequence[Path], listed: FolderFiles) -> list[tuple[str, int]]:
    """Names and looks of as many images as half a second is enough for. Small copies are kept,
    so that the next time goes further.
    """
    found, end = [], time.monotonic() + SECONDS
    for path, name in zip(files, listed.shown_names(files), strict=True):
        small = thumbnail(path)
        found.append((name, small.look if small else 0))
        if time.monotonic() > end:
            break
    return found


def alike(looks: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Images that look the same, or nearly so."""
    pairs = [f"{one} and {two}" for one, two in near_duplicate_pairs(looks)]
    if pairs:
        yield f"They look the same, or nearly so: {first_of(pairs, '; ')}. Keep one of each."


def small_or_broken(files: Sequence[Path], listed: FolderFiles, resolution: int) -> Iterator[str]:
    """Images that would be enlarged, and files that are none, by their headers."""
    small, broken = [], []
    for path, name in zip(files, listed.shown_names(files), strict=True):
        sides = sides_of(path)
        if sides is None:
            broken.append(name)
        elif min(sides) < resolution:
            small.append(f"{name} ({sides[0]} x {sides[1]})")
    if broken:
        yield f"{counted(len(broken), 'file')} cannot be read: {first_of(broken)}."
    if small:
        yield (
            f"{counted(len(small), 'image')} will be enlarged to {resolution}: {first_of(small)}."
        )


def without_captions(files: Sequence[Path], folder: ImageFolder) -> Iterator[str]:
    """Images without a caption where the kind needs one, and captions that cannot be read."""
    lookup = caption_lookup(CaptionFiles(), folder.files, folder.metadata)
    uncaptioned: list[Path] = []
    faults: list[str] = []
    for path in files:
        try:
            if lookup and not lookup.caption_of(path).origin:
                uncaptioned.append(path)
        except ValueError as error:
            faults.append(str(error))
    yield from faults[:MOST_FAULTS]
    if uncaptioned:
        yield (
            f"{counted(len(uncaptioned), 'image')} without a caption: "
            f"{first_of(folder.files.shown_names(uncaptioned))}. Put a text file of the same name "
            f"next to each, or type one line per image below."
        )
    yield from [*lookup.remarks, *lookup.not_looked_for(files)] if lookup else ()


def without_masks(files: Sequence[Path], listed: FolderFiles) -> Iterator[str]:
    """Images without a mask file where others have one."""
    bare = [path for path in files if not listed.mask_of(path)]
    if 0 < len(bare) < len(files):
        yield (
            f"{counted(len(bare), 'image')} without a mask, where others have one: "
            f"{first_of(listed.shown_names(bare))}. Without a mask, the whole image is learned."
        )
