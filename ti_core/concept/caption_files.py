"""Captions and templates as they are typed or stand in files: where they are looked for, what is
read from them, and what is cleaned away.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from ..taming import cleaned, sturdy, tamed

CaptionSource = Literal["auto", "text files", "metadata", "folder names", "file names", "kohya"]

LONGEST_CAPTION = 4000  # characters: over 12 chunks of 75 tokens
LONGEST_FILE = 1 << 20  # bytes of a caption or template file
MOST_TEMPLATES = 1000
NUMBERING = re.compile(r"^[-\d]+\s*")
PICTURE_KEYS = ("file_name", "image", "file")  # of JSON lines, as different tools write them


@dataclass(frozen=True)
class CaptionFiles:
    """Where the captions of picture files stand. 'auto' takes the first that is there: a text file
    beside the picture, a metadata file, the words of a kohya folder, the words of the file name;
    'kohya' takes a text file, else `words` (kohya's class_tokens). `pattern` and `joiner` are
    AUTOMATIC1111's for file names.
    """

    source: CaptionSource = "auto"
    extension: str = ""
    metadata: str = ""
    pattern: str = ""
    joiner: str = " "
    words: str = ""


def clean(text: str) -> str:
    """A text without control characters and half characters (lone surrogates), lines kept, cut to
    what a caption can reasonably be.
    """
    return cleaned(text, LONGEST_CAPTION)


def templates_from(text: str, typed: bool) -> tuple[str, ...]:
    """Templates of a text: a line each, blank lines and lines that start with '#' skipped; those of
    a file are tamed.
    """
    lines = [clean(line) for line in text.split("\n")]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ValueError(
            "There are no templates: all lines are empty or comments. Write a line like 'a photo "
            "of {}' or '[filewords], a photo of [name]'."
        )
    if len(found) > MOST_TEMPLATES:
        raise ValueError(
            f"There are {len(found)} templates, but at most {MOST_TEMPLATES} are allowed. Choose "
            f"the best."
        )
    return tuple(sturdy(line if typed else tamed(line, False)) for line in found)


def file_name_words(stem: str, pattern: str = "", joiner: str = " ") -> str:
    """Words of a file name as AUTOMATIC1111 reads them (dataset.py): numbering in front removed,
    then what `pattern` finds, joined.
    """
    words = NUMBERING.sub("", stem)
    if not pattern:
        return clean(words)
    try:
        found = re.findall(pattern, words)
    except re.error as error:
        raise ValueError(
            f"The file name pattern {pattern!r} is not a regular expression ({error}). "
            r"Use [\w-]+ to find the words, or leave it empty to use the whole name."
        ) from error
    parts = [part if isinstance(part, str) else " ".join(part) for part in found]
    return clean(joiner.join(parts))


def metadata_captions(text: str, name: str) -> dict[str, str]:
    """Captions by file name or stem from a metadata file: kohya's JSON (a path for each entry), or
    JSON lines that name a picture as `file_name`, `image` or `file`. Empty if it names none, so
    that it is a file of another kind.
    """
    read = picture_lines if name.endswith(".jsonl") else picture_entries
    try:
        entries = read(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"The metadata file {name!r} cannot be read ({error}). It must be JSON as kohya's "
            f'scripts write it, {{"picture": {{"caption": "...", "tags": "..."}}}}, or a .jsonl '
            f'file with lines like {{"file_name": "picture.png", "text": "..."}}.'
        ) from error
    return {base_name(path): entry_caption(entry) for path, entry in entries.items()}


def picture_entries(text: str) -> dict[str, Any]:
    """The entries of kohya's metadata by path."""
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise ValueError("the top level is not an object")
    return entries


def picture_lines(text: str) -> dict[str, Any]:
    """The lines of a `.jsonl` by the picture that they name; ValueError if only some name one."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    entries = [(number, entry_of_line(number, line)) for number, line in lines]
    found = {picture: entry for _, entry in entries if (picture := named_picture(entry))}
    nameless = [number for number, entry in entries if not named_picture(entry)]
    if found and nameless:
        raise ValueError(f"line {nameless[0]} has none of {', '.join(PICTURE_KEYS)}")
    return found


def entry_of_line(number: int, line: str) -> Any:
    """What a line of JSON says."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON: {error}") from error


def named_picture(entry: Any) -> str:
    """The picture that an entry of a `.jsonl` belongs to, empty if it names none."""
    named = [entry.get(key) for key in PICTURE_KEYS] if isinstance(entry, dict) else []
    return next((picture for picture in named if isinstance(picture, str) and picture), "")


def entry_caption(entry: Any) -> str:
    """Caption and tags of an entry, joined as kohya does."""
    if not isinstance(entry, dict):
        return str(entry)
    parts = [entry.get(key) for key in ("caption", "text", "tags")]
    return ", ".join(str(part) for part in parts if part)


def base_name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[\\/]", path)[-1]


def folder_repeats(folder: str) -> tuple[int, str]:
    """Repeats and class words of a kohya folder name: `20_cat woman` is 20 times 'cat woman'; any
    other folder counts once and has no words.
    """
    match = re.fullmatch(r"(\d{1,6})_(.*)", folder)
    return (max(1, int(match[1])), clean(match[2])) if match else (1, "")
