"""A folder of pictures at a glance: what is known before anything is decoded."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import folder_paths
from PIL import Image

from ...concept.audit import number_doubts
from ...concept.caption_files import CaptionFiles
from ...concept.counted import counted
from ...quoted import shown
from ..models.compatibility import is_within_directory
from .concept_sources import PictureFolder, caption_lookup
from .folders import allowed, folder_path
from .picture_files import FORMATS, picture_files

LOOKED_AT = 200  # pictures; whoever has more knows what to look for
SHOWN = 24  # thumbnails
NAMED = 5  # files in a finding
COMPARED = 256 << 20  # bytes that are read to tell whether files are the same


class Thumbnail(NamedTuple):
    """A picture as the host's /view route names it, below input/."""

    filename: str
    subfolder: str


class Glance(NamedTuple):
    """How many pictures a folder has, the first of them, and what needs a look, in words."""

    count: int
    thumbnails: list[Thumbnail]
    findings: list[str]


def glance(choice: str, resolution: int, captions: bool, deep: bool = True) -> Glance:
    """What a folder of `picture_folders` holds; `captions` says whether its pictures need some.
    ValueError for a folder that is not there. Of more than 200 pictures the first are looked at.
    """
    folder = PictureFolder(folder_path(choice), CaptionFiles() if captions else None, deep=deep)
    files = picture_files(folder.path, deep)
    looked_at = [path for path in files[:LOOKED_AT] if allowed(path)]
    findings = [
        *number_doubts(len(files)),
        *small_or_broken(looked_at, resolution),
        *same_files(looked_at),
        *(without_captions(looked_at, folder) if captions else ()),
    ]
    return Glance(len(files), list(islice(thumbnails(looked_at), SHOWN)), findings)


def thumbnails(files: Iterable[Path]) -> Iterator[Thumbnail]:
    """The files that the host's /view route shows: those in input/, not those in datasets/."""
    root = Path(folder_paths.get_input_directory())
    for path in files:
        if path.is_relative_to(root) and is_within_directory(str(root), str(path)):
            yield Thumbnail(path.name, path.parent.relative_to(root).as_posix())


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


def same_files(files: Sequence[Path]) -> Iterator[str]:
    """Files of the same bytes; pictures that only look alike are found when they are loaded."""
    by_size, by_content, left = defaultdict(list), defaultdict(list), COMPARED
    for path in files:
        by_size[path.stat().st_size].append(path)
    for size, alike in by_size.items():
        for path in alike if len(alike) > 1 else ():
            left -= size
            if left >= 0:
                by_content[hashlib.sha256(path.read_bytes()).digest()].append(path)
    twins = [[shown(path.name) for path in same] for same in by_content.values() if len(same) > 1]
    if twins:
        listed = "; ".join(" and ".join(names[:NAMED]) for names in twins[:NAMED])
        yield f"The same picture twice: {listed}. Keep one of each."


def without_captions(files: Sequence[Path], folder: PictureFolder) -> Iterator[str]:
    """Pictures without a caption where the kind needs one."""
    lookup = caption_lookup(CaptionFiles(), folder.metadata)
    silent = [shown(path.name) for path in files if not lookup.caption_of(path).origin]
    if silent:
        yield (
            f"{counted(len(silent), 'picture')} without a caption: {first_of(silent)}. Put a text "
            f"file of the same name beside each, or write a line for each below."
        )


def first_of(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
