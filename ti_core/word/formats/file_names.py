"""Names of embedding files: which may be written on every system, which lie in a folder, and what
word a file's name is.
"""

import functools
import logging
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath

from ...left_behind import passed_over
from ...quoted import quoted
from ..embedding import check_placeholder
from ..word_names import is_word, nearest_word, normal

log = logging.getLogger(__name__)

IMAGES = (".png", ".webp", ".avif")
SUFFIXES = (".safetensors", ".pt", ".pti", ".bin", ".ckpt", ".pth", *IMAGES)
PREVIEW = ".preview"
# What Windows opens in place of a file, in every folder and with any ending.
DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])(?:\..*)?", re.IGNORECASE
)
LONGEST = 200  # characters; with the folder in front, what Windows takes
LONGEST_PART = 128  # characters
# File systems take 255 bytes; what comes to a name is an ending, a number, and for a moment the
# marks of a temporary file.
LONGEST_BYTES = 220
WITHOUT_NAME = "embedding"


def word_of_file(path: PurePath, inside: str, counts: bool) -> tuple[str, str]:
    """The word of a file, and what the file calls it inside where that is another.

    The file's name is the word, as in ComfyUI, AUTOMATIC1111, Forge and SD.Next: a name inside
    stays when a file is renamed, and half of the tools never write one. It `counts` only in
    images, whose file names mean nothing, and where the file is that of several things.
    """
    own, named = word_like(path.stem), word_like(inside)
    if counts:
        return named or own or WITHOUT_NAME, ""
    word = own or named or WITHOUT_NAME
    return word, inside if named and named.casefold() != word.casefold() else ""


@functools.lru_cache(maxsize=1 << 14)
def word_like(name: str) -> str:
    """A name as a word that prompts can carry; empty if nothing is left of it."""
    word = nearest_word(name)
    try:
        check_placeholder(word)
    except ValueError:
        # It is empty, or reads as a number.
        return word and nearest_word(f"w{word}")
    return word


def name_to_write(name: str) -> PurePath:
    """Where an embedding of that name goes, below the embeddings folder and without the ending;
    ValueError for a name that a prompt cannot write, that some system cannot store, or that leads
    outside.
    """
    plain = normal(name).replace("\\", "/")
    parts = plain.removesuffix(suffix(plain)).split("/")
    if len(plain) > LONGEST or not all(map(is_part, parts)):
        raise ValueError(
            f"The name {quoted(name)} is not allowed for an embedding file. Use letters of any "
            f"script, digits, '_', '-' and '.', and '/' for a subfolder: my-cat, pets/my-cat. It "
            f"may have up to {LONGEST_PART} characters ({LONGEST_BYTES} bytes), or {LONGEST} with "
            f"its subfolders."
        )
    device = next((part for part in parts if DEVICE.fullmatch(part)), None)
    if device is not None:
        raise ValueError(
            f"The name {name!r} is not allowed for an embedding file: {device!r} is a device on "
            f"Windows. Choose another name, for example 'my-{device}'."
        )
    return PurePath(*parts)


def check_new_word(name: str) -> None:
    """Raise ValueError for a word that no prompt can say, or that no file can be named by."""
    check_placeholder(name)
    name_to_write(name)


def is_part(name: str) -> bool:
    """Whether a name is one that every system stores, and a prompt says."""
    return is_word(name) and len(name) <= LONGEST_PART and len(name.encode()) <= LONGEST_BYTES


def suffix(name: str) -> str:
    """The ending that says that a name is one of an embedding file, or nothing."""
    ending = PurePath(name).suffix
    return ending if ending.lower() in SUFFIXES else ""


def embeddings_below(root: str) -> Iterator[str]:
    """The files in a folder and below it that may hold an embedding, as paths below it, without
    images that other tools show beside one.
    """
    for path in paths_below(root):
        if suffix(path.name) and not path.stem.endswith(PREVIEW) and os.path.isfile(path):
            yield path.relative_to(root).as_posix()


def paths_below(root: str) -> Iterator[PurePath]:
    """All that is no folder in a folder and below it, also through links, as the host looks for
    files, without what systems hide there. Each place is visited once, through a link only if it
    has no name of its own here, so that links in a circle end.
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
            if passed_over(entry.name):
                continue
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
