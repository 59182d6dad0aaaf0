"""What a file tells in words and numbers, as it may be shown, drawn, written and prompted: a
stranger's file is data, and must not break a card, a writer or a prompt, nor name other embeddings.
"""

from collections.abc import Callable, Mapping

from ...untrusted_text import cleaned, escaped_untrusted, one_line

WRITTEN_BY_PEOPLE = "modelspec"  # Author, license, description: their lines stay.
LONGEST_NAME = 200
LONGEST_TEXT = 4000
LONGEST_IMAGE = 1 << 18  # A thumbnail, as a data address.
IMAGE_START = "data:image/"
MOST_ENTRIES = 1000
DEEPEST = 16
LARGEST = 1 << 63


def name_of(value: object) -> str:
    """A name: one line, at most 200 characters; nothing where it is no text."""
    return one_line(value, LONGEST_NAME) if isinstance(value, str) else ""


def initializer_of(value: object) -> str:
    """An initializer, which goes into prompts: one line, at most 200 characters, tamed as captions
    are. A backslash at its end would escape what stands behind it.
    """
    return escaped_untrusted(name_of(value), weights=False).rstrip("\\ ").strip() if value else ""


def facts_of(stated: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """What a file tells of itself, and the names of what is left out because no writer could take
    it: numbers that are infinite or beyond 64 bits, and what is nested too deeply or too long.
    """
    facts: dict[str, object] = {}
    entries = list(stated.items())
    left_out = [name_of(key) for key, _ in entries[MOST_ENTRIES:]]
    for key, value in entries[:MOST_ENTRIES]:
        try:
            facts[name_of(key)] = fact(value, DEEPEST, lines if key == WRITTEN_BY_PEOPLE else line)
        except ValueError:
            left_out.append(name_of(key))
    return facts, left_out


def fact(value: object, depth: int, text: Callable[[str], str]) -> object:
    """A value of JSON with its texts cleaned by `text`; ValueError where it cannot be kept."""
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < LARGEST:  # Nor is NaN.
        return value
    if isinstance(value, list | dict) and depth and len(value) <= MOST_ENTRIES:
        if isinstance(value, list):
            return [fact(part, depth - 1, text) for part in value]
        return {name_of(key): fact(part, depth - 1, text) for key, part in value.items()}
    raise ValueError("neither text nor a number nor a list of them")


def line(text: str) -> str:
    """A text in one line."""
    return one_line(text, LONGEST_TEXT)


def lines(text: str) -> str:
    """A text with its lines; an image whole, or not at all."""
    if text.startswith(IMAGE_START):
        return cleaned(text, LONGEST_IMAGE) if len(text) <= LONGEST_IMAGE else ""
    return cleaned(text, LONGEST_TEXT)
