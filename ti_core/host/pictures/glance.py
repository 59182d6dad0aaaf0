"""A folder of pictures at a glance: what is known before any run."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ...concept.audit import alike_pairs, number_doubts
from ...concept.caption_files import CaptionFiles
from ...concept.counted import counted
from ...quoted import shown
from .concept_sources import PictureFolder, caption_lookup
from .folders import allowed, folder_path
from .picture_files import FORMATS, mask_file, picture_files
from .thumbnails import thumbnail

LOOKED_AT = 200  # pictures; whoever has more knows what to look for
SHOWN = 24  # thumbnails
NAMED = 5  # files in a finding
SECONDS = 0.5  # of looking at pictures, at a time


class Wanted(NamedTuple):
    """What the node on the page is set to: the side of its crops in pixels, and whether its
    pictures need captions, come with masks from files, and lie in sub-folders too.
    """

    resolution: int
    captions: bool = False
    masks: bool = True
    deep: bool = True


class Glance(NamedTuple):
    """How many pictures a folder has, the names of the first below it, what needs a look, in words,
    and whether all have been compared.
    """

    count: int
    names: list[str]
    findings: list[str]
    compared: bool


def glance(choice: str, wanted: Wanted) -> Glance:
    """What a folder of `picture_folders` holds; ValueError for one that is not there. Of more than
    200 pictures the first are looked at.
    """
    captions = CaptionFiles() if wanted.captions else None
    folder = PictureFolder(folder_path(choice), captions, deep=wanted.deep)
    files = picture_files(folder.path, wanted.deep)
    looked_at = [path for path in files[:LOOKED_AT] if allowed(path)]
    looks = looks_of(looked_at)
    findings = [
        *number_doubts(len(files)),
        *small_or_broken(looked_at, wanted.resolution),
        *alike(looks),
        *(without_captions(looked_at, folder) if wanted.captions else ()),
        *(without_masks(looked_at) if wanted.masks else ()),
    ]
    names = [path.relative_to(folder.path).as_posix() for path in looked_at[:SHOWN]]
    return Glance(len(files), names, findings, len(looks) == len(looked_at))


def looks_of(files: Sequence[Path]) -> list[tuple[str, int]]:
    """Names and looks of as many pictures as half a second is enough for. Small copies are kept,
    so that the next time goes further.
    """
    found, end = [], time.monotonic() + SECONDS
    for path in files:
        small = thumbnail(path)
        found.append((shown(path.name), small.look if small else 0))
        if time.monotonic() > end:
            break
    return found


def alike(looks: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Pictures that look the same, or nearly so."""
    pairs = [f"{one} and {two}" for one, two in alike_pairs(looks)]
    if pairs:
        yield f"They look the same, or nearly so: {first_of(pairs, '; ')}. Keep one of each."


def small_or_broken(files: Sequence[Path], resolution: int) -> Iterator[str]:
    """Pictures that would be enlarged, and files that are none, by their headers."""
    small, broken = [], []
    for path in files:
        try:
            with Image.open(path, formats=FORMATS) as opened:
                width, height = opened.size
        except Exception:  # Pillow's readers fail in every way on broken files.
            broken.append(shown(path.name))
            continue
        if min(width, height) < resolution:
            small.append(f"{shown(path.name)} ({width} x {height})")
    if broken:
        yield f"{counted(len(broken), 'file')} cannot be read: {first_of(broken)}."
    if small:
        yield (
            f"{counted(len(small), 'picture')} will be enlarged to {resolution}: {first_of(small)}."
        )


def without_captions(files: Sequence[Path], folder: PictureFolder) -> Iterator[str]:
    """Pictures without a caption where the kind needs one."""
    lookup = caption_lookup(CaptionFiles(), folder.metadata)
    silent = [shown(path.name) for path in files if not lookup.caption_of(path).origin]
    if silent:
        yield (
            f"{counted(len(silent), 'picture')} without a caption: {first_of(silent)}. Put a text "
            f"file of the same name beside each, or write a line for each below."
        )


def without_masks(files: Sequence[Path]) -> Iterator[str]:
    """Pictures without a mask file where others have one."""
    bare = [shown(path.name) for path in files if not mask_file(path)]
    if 0 < len(bare) < len(files):
        yield (
            f"{counted(len(bare), 'picture')} without a mask, where others have one: "
            f"{first_of(bare)}. All of such a picture is learned."
        )


def first_of(names: Sequence[str], between: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{between.join(names[:NAMED])}{more}"
