"""Captions and templates as they stand in files: what is read from them, and what is cleaned
away.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from .wording import sturdy, tamed

LONGEST_CAPTION = 4000  # characters: over 12 chunks of 75 tokens
LONGEST_FILE = 1 << 20  # bytes of a caption or template file
MOST_TEMPLATES = 1000
NUMBERING = re.compile(r"^[-\d]+\s*")


def clean(text: str) -> str:
    """A text without control characters and half characters (lone surrogates), lines kept, cut to
    what a caption can reasonably be.
    """
    spaced = "".join(
        " " if unicodedata.category(character) in ("Cc", "Cs") and character != "\n" else character
        for character in text[: 2 * LONGEST_CAPTION]
    )
    return "\n".join(" ".join(line.split()) for line in spaced.split("\n")).strip()[
        :LONGEST_CAPTION
    ]


def was_cut(text: str) -> bool:
    """Whether `clean` leaves the end of a caption out."""
    return len(text.strip()) > LONGEST_CAPTION


def decoded(data: bytes) -> str:
    """Text of a file: UTF-8, or UTF-16 with its mark; other bytes become a replacement sign."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def templates_from(text: str, typed: bool) -> tuple[str, ...]:
    """Templates of a text: a line each, blank lines and lines that start with '#' skipped; those of
    a file are tamed.
    """
    lines = [clean(line) for line in text.split("\n")]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ValueError(
            "There are no templates: all lines are empty or comments. Write a line such as "
            "'a photo of {}', or '[filewords], a photo of [name]'."
        )
    if len(found) > MOST_TEMPLATES:
        raise ValueError(
            f"There are {len(found)} templates; up to {MOST_TEMPLATES} are read. Choose the best."
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
            r"[\w-]+ finds the words; leave it empty to take the whole name."
        ) from error
    parts = [part if isinstance(part, str) else " ".join(part) for part in found]
    return clean(joiner.join(parts))


def metadata_captions(text: str, name: str) -> dict[str, str]:
    """Captions by file name or stem from a metadata file: kohya's JSON (a path for each entry), or
    JSON lines with `file_name` and `text`.
    """
    try:
        entries = json_entries(text, name)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"The metadata file {name!r} is not JSON as kohya's scripts write it ({error}). "
            f'Expected: {{"picture": {{"caption": "...", "tags": "..."}}}}.'
        ) from error
    return {base_name(path): clean(entry_caption(entry)) for path, entry in entries.items()}


def json_entries(text: str, name: str) -> Mapping[str, Any]:
    """The entries of a metadata file by path."""
    if name.endswith(".jsonl"):
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {str(line["file_name"]): line for line in lines if isinstance(line, dict)}
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise ValueError("the outermost value is not an object")
    return entries


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
