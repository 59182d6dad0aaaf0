"""The placeholder in captions: where it stands, and how it gets there."""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher

SLOT = re.compile(r"\{\}|\[name\]|\[trigger\]")
WEIGHTED = re.compile(r"(?<!\\)\((?P<text>[^()]*):\s*\d*\.?\d+\s*\)")
PIECE = re.compile(r"[\w.-]+")
LIKE = 0.75  # from here on a piece of text may have been meant as the word
LONGEST_PROMPT = 4000  # characters that are searched for it
SPEAKERS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|turn>", "<|start|>")
NO_SPEAKER = "".join(f"(?<!{re.escape(mark)})" for mark in (*SPEAKERS, "<|"))


def replace_words(
    text: str, replacements: Mapping[str, str], references: Mapping[str, str] | None = None
) -> str:
    """Write each replacement where its word stands; words are whole, without regard to case, the
    longest first. `references` are written where a word stands as `embedding:word`, the same
    replacements where none are given.

    A word ends where neither a letter, digit, '_', '-' nor a dot inside a name goes on: in
    "my-cats", "my-cat-2" and "my-cat.v2" there is no my-cat.
    A reference to another embedding ("embedding:pets/my-cat") is left alone, and so is the name of
    a speaker in a chat template ("<|im_start|>user").
    """
    by_word = {word.lower(): replacement for word, replacement in replacements.items()}
    in_references = replacements if references is None else references
    by_reference = {word.lower(): written for word, written in in_references.items()}
    longest_first = "|".join(re.escape(word) for word in sorted(by_word, key=len, reverse=True))
    reference = r"embedding:(?P<reference>[^\s,<\[():]+)"
    bare = rf"{NO_SPEAKER}(?<![\w-])(?<!\w\.)(?P<bare>{longest_first})(?![\w-]|\.\w)"

    def substitute(match: re.Match[str]) -> str:
        written = match["bare"] or match["reference"]
        word = written if match["bare"] else written.rstrip(".;!?'\"")
        replacement = (by_word if match["bare"] else by_reference).get(word.lower())
        return match[0] if replacement is None else replacement + written[len(word) :]

    return re.sub(f"{reference}|{bare}", substitute, text, flags=re.IGNORECASE)


def says(text: str, word: str) -> bool:
    """Whether the text contains the word, bare or as `embedding:word`."""
    return replace_words(text, {word: "\0"}) != text


def weighted(text: str, word: str) -> bool:
    """Whether the text gives the word a weight in figures, as in `(my-cat:1.2)`."""
    return any(says(match["text"], word) for match in WEIGHTED.finditer(text))


def filled_in(caption: str, placeholder: str) -> str:
    """Write the placeholder into `{}`, `[name]` or `[trigger]`."""
    return SLOT.sub(lambda _: placeholder, caption).strip()


def with_placeholder(caption: str, placeholder: str) -> str:
    """Write the placeholder into its slots; a caption that has none of these and not the word
    itself gets it in front.
    """
    filled = filled_in(caption, placeholder)
    if says(filled, placeholder):
        return filled
    return f"{placeholder}, {filled}" if filled else placeholder


def lacks_placeholder(caption: str, placeholder: str) -> bool:
    """Whether the word has to be added to the caption."""
    return not SLOT.search(caption) and not says(caption, placeholder)


def near_miss(text: str, word: str) -> str:
    """What in a text may have been meant as the word, from one to three pieces of it; empty if
    nothing is like it.
    """
    places = [match.span() for match in PIECE.finditer(text[:LONGEST_PROMPT])]
    runs = (zip(places, places[more:], strict=False) for more in range(3))
    pieces = [text[first[0] : last[1]] for run in runs for first, last in run]
    matcher = SequenceMatcher(b=letters(word))

    def likeness(piece: str) -> float:
        matcher.set_seq1(letters(piece))
        return matcher.ratio() if matcher.quick_ratio() >= LIKE else 0.0

    best = max(pieces, key=likeness, default="")
    return best if likeness(best) >= LIKE else ""


def letters(text: str) -> str:
    """Letters and digits of a text, small, by which words are compared."""
    return re.sub(r"[\W_]+", "", text).casefold()
