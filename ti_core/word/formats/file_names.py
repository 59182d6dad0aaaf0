"""Names of embedding files: which may be written on every system, and which lie in a folder."""

import logging
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath

from ...quoted import quoted

log = logging.getLogger(__name__)

PICTURES = (".png", ".webp", ".avif")
SUFFIXES = (".safetensors", ".pt", ".bin", ".ckpt", ".pth", *PICTURES)
PREVIEW = ".preview"
PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
# What Windows opens in place of a file, in every folder and with any ending.
DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
LONGEST = 200  # characters; with the folder in front, what Windows takes


def name_to_write(name: str) -> PurePath:
    """Where an embedding of that name goes, below the embeddings folder and without the ending;
    ValueError for a name that a prompt cannot write, that some system cannot store, or that leads
    outside.
    """
    plain = name.replace("\\", "/")
    parts = plain.removesuffix(suffix(plain)).split("/")
    if len(name) > LONGEST or not all(PART.fullmatch(part) for part in parts):
        raise ValueError(
            f"The name {quoted(name)} is not allowed for an embedding file. Use letters, digits, "
            f"'_', '-' and '.', and '/' for a sub-folder: my-cat, pets/my-cat. It has at most 128 "
            f"characters, and {LONGEST} with its sub-folders."
        )
    device = next((part for part in parts if DEVICE.fullmatch(part)), None)
    if device is not None:
        raise ValueError(
            f"The name {name!r} is not allowed for an embedding file: {device!r} is a device on "
            f"Windows. Choose another name, for example 'my-{device}'."
        )
    return PurePath(*parts)


def suffix(name: str) -> str:
    """The ending that says that a name is one of an embedding file, or nothing."""
    ending = PurePath(name).suffix
    return ending if ending.lower() in SUFFIXES else ""


def embeddings_below(root: str) -> Iterator[str]:
    """The files in a folder and below it that may hold an embedding, as paths below it, without
    pictures that other tools show beside one.
    """
    for path in paths_below(root):
        if suffix(path.name) and not path.stem.endswith(PREVIEW) and os.path.isfile(path):
            yield path.relative_to(root).as_posix()


def paths_below(root: str) -> Iterator[PurePath]:
    """All that is no folder in a folder and below it, also through links, as the host looks for
    files. Each place is visited once, through a link only if it has no name of its own here, so
    that links in a circle end.
    """
    seen: set[str] = set()
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        place = os.path.realpath(folder)
        if place in seen:
            continue
        seen.add(place)
        for entry in entries(folder):
            if not os.path.isdir(entry.path):
                yield PurePath(entry.path)
            elif entry.is_symlink():
                waiting.append(entry.path)
            else:
                waiting.appendleft(entry.path)


def entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing of one that is not there or cannot be read."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("The folder %s cannot be read: %s", folder, error)
        return []


def embedding_below(root: str, name: str) -> Path | None:
    """The file of that name in a folder or below it, through links as the host follows them; None
    if there is none, also for a name that leads outside by itself ('..', '/a', 'C:a').
    """
    below = PurePath(name)
    if not suffix(below.name) or below.anchor or ".." in below.parts:
        return None
    path = Path(root, below)
    return path if os.path.isfile(path) else None
