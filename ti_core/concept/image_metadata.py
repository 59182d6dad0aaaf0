"""Matches entries of a metadata file with images by the longest common end of their paths,
because a data set may have been moved, and never by a name that could mean several.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias, TypeVar

from ..quoted import quoted
from .file_kinds import path_parts

Parts: TypeAlias = tuple[str, ...]
Thing = TypeVar("Thing", bound=Hashable)
NAMED = 3  # of each, in an error


class Entry(NamedTuple):
    """An entry of a metadata file: the path as written there, and the caption."""

    written: str
    caption: str


class Matches(NamedTuple):
    """The entry of each image, the reason for each image whose entry is ambiguous, and the
    entries that no other image may use.
    """

    entries: dict[Path, Entry]
    doubtful: dict[Path, str]
    taken: set[Entry]


def matched(captions: Mapping[str, str], images: Sequence[Path], folder: Path) -> Matches:
    """Match captions, by their written path, with images: first by the same path from the
    `folder` of the metadata file, then by the longest common end, down to the name alone. An entry
    may leave out the ending of the name.
    """
    keys = {Entry(*item): path_parts(item[0]) for item in captions.items()}
    as_written = {entry: exact_parts(entry.written) for entry in keys}
    paths = {image: path_parts(str(image)) for image in images}
    inside = (image for image in images if image.is_relative_to(folder))
    relative = {image: path_parts(str(image.relative_to(folder))) for image in inside}
    found = Matches({}, {}, set())
    exact = {one: exact_parts(str(one.relative_to(folder))) for one in relative}
    settle(as_written, exact, found)
    settle(keys, relative, found)
    longest = min(max(map(len, parts.values()), default=0) for parts in (keys, paths))
    for length in range(longest, 0, -1):
        settle(last(keys, length), last(paths, length), found)
    return found


def exact_parts(path: str) -> Parts:
    """The names in a path of any system, letter for letter."""
    return tuple(part for part in re.split(r"[\\/]+", path) if part.strip("."))


def last(things: Mapping[Thing, Parts], length: int) -> dict[Thing, Parts]:
    """The last `length` parts of each path; shorter paths are left out."""
    return {one: parts[-length:] for one, parts in things.items() if len(parts) >= length}


def settle(keys: Mapping[Entry, Parts], paths: Mapping[Path, Parts], found: Matches) -> None:
    """Match the paths that agree and have no match yet, first with the ending and then without it.
    One entry for one image is a match, and so are several entries with the same caption.
    """
    for cut in (tuple, without_ending):
        own = grouped((one, parts) for one, parts in keys.items() if one not in found.taken)
        known = found.entries.keys() | found.doubtful.keys()
        wanted = grouped((one, cut(parts)) for one, parts in paths.items() if one not in known)
        for end in own.keys() & wanted.keys():
            entries, images = own[end], wanted[end]
            found.taken.update(entries)
            if len({one.caption for one in entries}) == 1 and len(entries) >= len(images):
                found.entries.update(zip(images, entries, strict=False))
            else:
                found.doubtful.update(dict.fromkeys(images, doubt(entries, images)))


def without_ending(parts: Parts) -> Parts:
    """The parts of a path without the ending of its name."""
    return (*parts[:-1], PurePath(parts[-1]).stem) if parts else parts


def grouped(things: Iterable[tuple[Thing, Parts]]) -> dict[Parts, list[Thing]]:
    """Things by their parts."""
    found: defaultdict[Parts, list[Thing]] = defaultdict(list)
    for one, parts in things:
        found[parts].append(one)
    return found


def doubt(entries: Sequence[Entry], images: Sequence[Path]) -> str:
    """Why it is unclear which entry belongs to which image."""
    written = " and ".join(quoted(one.written) for one in entries[:NAMED])
    meant = " or ".join(quoted(f"{one.parent.name}/{one.name}") for one in images[:NAMED])
    return (
        f"The metadata file says {written}, which matches {meant}. In that file, write each "
        f"image's folder and full name."
    )
