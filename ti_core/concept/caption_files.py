"""Captions and templates as they are typed or stand in files: where they are looked for, what is
read from them, and what is cleaned away.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..quoted import quoted
from ..untrusted_text import cleaned, escaped_untrusted, tokenizer_safe
from .file_kinds import ending
from .templates import FILEWORDS

CaptionSource = Literal["auto", "text files", "metadata", "folder names", "file names", "kohya"]

LONGEST_CAPTION = 4000  # characters: over 12 chunks of 75 tokens
LONGEST_FILE = 1 << 20  # bytes of a caption or template file
# Of a metadata file: 10,000 entries with caption, tags and size have 200,000.
PARTS = ('"', "[", "{", ",", "\n")
MOST_PARTS = 1_000_000
DEEPEST = 8  # lists in lists
TOO_DEEP = f"its lists are nested more than {DEEPEST} deep"
LONGEST_REASON = 200  # characters
MOST_TEMPLATES = 1000
MOST_FILEWORDS = 4  # in a template; each puts a whole caption there
WORDS = "{}"  # in a file name pattern: what stands here is the caption
WILDCARD = re.compile(r"(\{\}|\*)")
MOST_WILDCARDS = 8
MOST_REPEATS = 1000
EXTENSION = re.compile(r"\.?\w[\w.-]{0,30}(?<!\.)")
SEPARATED_BY = re.compile(r"\A\ufeff?sep=.\r?\n")  # What a spreadsheet writes for itself.
NUMBERING = re.compile(r"^[-\d]+\s*")
CAPTION_KEYS = ("caption", "text", "tags")
IMAGE_KEYS = ("file_name", "image", "file")  # of JSON lines, as different tools write them


@dataclass(frozen=True)
class CaptionFiles:
    """Where the captions of image files stand. 'auto' takes the first that is there: a text file
    beside the image, a metadata file, the words of a kohya folder, the words of the file name;
    'kohya' takes a text file, else `words` (kohya's class_tokens). `pattern` says where
    the words of a file name stand, `joiner` is AUTOMATIC1111's.
    """

    source: CaptionSource = "auto"
    extension: str = ""
    metadata: str = ""
    pattern: str = ""
    joiner: str = " "
    words: str = ""

    def __post_init__(self) -> None:
        if self.pattern:
            name_parts(self.pattern)
        if self.extension and not EXTENSION.fullmatch(self.extension):
            raise ValueError(
                f"The extension {quoted(self.extension)} of caption files cannot be one. Write "
                f"letters and digits, for example '.txt'."
            )


def clean(text: str) -> str:
    """A text without control characters and half characters (lone surrogates), lines kept, cut to
    what a caption can reasonably be.
    """
    return cleaned(text, LONGEST_CAPTION)


def check_typed(what: str, text: str) -> None:
    """Raise ValueError for a typed text that is longer than a caption; a workflow can carry any."""
    if len(text) > LONGEST_CAPTION:
        raise ValueError(
            f"The {what} {quoted(text[:40])} has {len(text)} characters, but at most "
            f"{LONGEST_CAPTION} are allowed. Shorten it."
        )


def templates_from(text: str, typed: bool) -> tuple[str, ...]:
    """Templates of a text: a line each, blank lines and lines that start with '#' skipped; those of
    a file are tamed, and once more with the captions that are put into them.
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
    if repeating := [line for line in found if line.count(FILEWORDS) > MOST_FILEWORDS]:
        raise ValueError(
            f"The template {quoted(repeating[0])} contains {FILEWORDS} more than {MOST_FILEWORDS} "
            f"times. Once is enough."
        )
    return tuple(
        tokenizer_safe(line if typed else escaped_untrusted(line, False)) for line in found
    )


def file_name_words(stem: str, pattern: str = "", joiner: str = " ") -> str:
    """Words of a file name: without a pattern as AUTOMATIC1111 reads them (dataset.py), numbering
    in front removed; with one, what stands at each `{}` of it, joined, or nothing for a name that
    it does not fit.
    """
    if not pattern:
        return clean(NUMBERING.sub("", stem))
    return clean(joiner.join(found_by(name_parts(pattern), stem)))


def name_parts(pattern: str) -> list[str]:
    """A file name pattern cut at its wildcards: text, wildcard, text, wildcard, ..., text."""
    parts = WILDCARD.split(pattern)
    wildcards, between = parts[1::2], parts[2:-1:2]
    if WORDS not in wildcards or len(wildcards) > MOST_WILDCARDS or "" in between:
        raise ValueError(
            f"The file name pattern {quoted(pattern)} must contain {{}} for the words, and * for "
            f"text to skip, up to {MOST_WILDCARDS} of both, with text between them. For "
            f"'photo_003_red cat' write 'photo_*_{{}}'. Regular expressions are not read."
        )
    return parts


def found_by(parts: Sequence[str], stem: str) -> list[str]:
    """What stands at each `{}` of a pattern in a name, empty if it does not fit. A wildcard takes
    as little as it can, the last one the rest, so that each part is looked for once.
    """
    first, *rest = parts
    if not stem.startswith(first):
        return []
    start, found = len(first), []
    for place in range(0, len(rest), 2):
        wildcard, text = rest[place : place + 2]
        is_last = place + 2 == len(rest)
        end = len(stem) - len(text) if is_last else stem.find(text, start)
        if end < start or not stem.startswith(text, end):
            return []
        found += [stem[start:end]] if wildcard == WORDS else []
        start = end + len(text)
    return found


def metadata_captions(text: str, name: str) -> dict[str, str]:
    """Captions by path, as it is written, from a metadata file: kohya's JSON (a path for each
    entry), or a JSON list, JSON lines or a table (CSV) that name an image as `file_name`, `image`
    or `file`. Empty if it names none, so that it is a file of another kind.
    """
    read = {".jsonl": image_lines, ".csv": image_rows}.get(ending(name), image_entries)
    try:
        check_parts(text)
        return {path: entry_caption(entry) for path, entry in read(text).items()}
    except (ValueError, RecursionError, csv.Error) as error:
        why = TOO_DEEP if isinstance(error, RecursionError) else str(error)[:LONGEST_REASON]
        raise ValueError(
            f"The metadata file {quoted(name)} cannot be read ({why}). It must be JSON as "
            f"kohya's scripts write it, "
            f'{{"image": {{"caption": "...", "tags": "..."}}}}, or a .jsonl file with lines like '
            f'{{"file_name": "image.png", "text": "..."}}, or a .csv file with such columns.'
        ) from error


def check_parts(text: str) -> None:
    """Raise ValueError for a text of more parts than the metadata of a data set has, so that none
    can take long, or much memory.
    """
    parts = sum(map(text.count, PARTS))
    if parts > MOST_PARTS:
        raise ValueError(
            f"it has {parts} lines, texts, lists and objects, but at most {MOST_PARTS} are read; "
            f"write one metadata file per folder"
        )


def image_entries(text: str) -> dict[str, Any]:
    """The entries of kohya's metadata by path, or of a list by the image that each names."""
    entries = json.loads(text, object_pairs_hook=each_once)
    if isinstance(entries, dict):
        return entries
    listed = entries if isinstance(entries, list) else []
    if found := named_entries([(f"entry {n}", one) for n, one in enumerate(listed, 1)]):
        return found
    raise ValueError("the top level is not an object")


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where one name stands for two things."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise ValueError(f"it has {quoted(name)} twice, with different values")
    return found


def image_lines(text: str) -> dict[str, Any]:
    """The lines of a `.jsonl` by the image that they name."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return named_entries([(f"line {n}", entry_of_line(n, line)) for n, line in lines])


def image_rows(text: str) -> dict[str, Any]:
    """The rows of a table by the image that they name; a spreadsheet may put other things than
    commas between the columns.
    """
    text = SEPARATED_BY.sub("", text)
    for delimiter in (",", ";", "\t", "|"):
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        if set(IMAGE_KEYS) & set(rows.fieldnames):
            numbered = [(f"row {n}", row) for n, row in enumerate(rows, 1)]
            return named_entries([one for one in numbered if any(map(words_of, one[1].values()))])
    return {}


def named_entries(entries: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Entries, each with the place where it stands, by the image that they name; ValueError if
    only some name one, or two say different things of one.
    """
    found: dict[str, Any] = {}
    for place, entry in entries:
        image = named_image(entry)
        if image in found and entry_caption(found[image]) != entry_caption(entry):
            raise ValueError(
                f"{place} and an earlier one have different captions for {quoted(image)}"
            )
        found |= {image: entry} if image else {}
    nameless = [place for place, entry in entries if not named_image(entry)]
    if found and nameless:
        raise ValueError(f"{nameless[0]} has none of {', '.join(IMAGE_KEYS)}")
    return found


def entry_of_line(number: int, line: str) -> Any:
    """What a line of JSON says."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON: {error}") from error


def named_image(entry: Any) -> str:
    """The image that an entry of a `.jsonl` belongs to, empty if it names none."""
    named = [entry.get(key) for key in IMAGE_KEYS] if isinstance(entry, dict) else []
    return next((image for image in named if isinstance(image, str) and image), "")


def entry_caption(entry: Any) -> str:
    """Caption and tags of an entry, joined as kohya does."""
    if not isinstance(entry, dict):
        return words_of(entry)
    parts = [words_of(entry.get(key)) for key in CAPTION_KEYS]
    return ", ".join(part for part in parts if part)


def words_of(value: Any, depth: int = 0) -> str:
    """A JSON value as words: lists joined, null nothing; other structures say nothing."""
    if isinstance(value, list):
        if depth >= DEEPEST:
            raise ValueError(TOO_DEEP)
        return ", ".join(words for one in value if (words := words_of(one, depth + 1)))
    if value is None or isinstance(value, bool | dict):
        return ""
    return str(value)[: 2 * LONGEST_CAPTION].strip()


def base_name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[\\/]", path)[-1]


def folder_repeats(folder: str) -> tuple[int, str]:
    """Repeats and class words of a kohya folder name: `20_cat woman` is 20 times 'cat woman'; any
    other folder counts once and has no words. ValueError for more repeats than are sensible.
    """
    match = re.fullmatch(r"([0-9]+)_(.*)", folder, re.DOTALL)
    if match is None:
        return 1, ""
    digits = match[1].lstrip("0")
    if len(digits) > 6 or int(digits or 0) > MOST_REPEATS:
        raise ValueError(
            f"The folder {quoted(folder)} asks for {digits[:20]} repeats, but at most "
            f"{MOST_REPEATS} are allowed. Rename it; what counts is the proportion to the other "
            f"folders."
        )
    return max(1, int(digits or 0)), clean(match[2])
