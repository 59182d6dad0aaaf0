"""What a text from a file may not do in a prompt, and what no text may do."""

import re
import unicodedata

from .marks import TRUSTED, unmarked
from .quoted import encodable

DEEPEST_PARENTHESES = 16
REFERENCE = re.compile(r"embedding:", re.IGNORECASE)
PARENTHESIS = re.compile(r"(?<!\\)[()]")
# A mark stands inside of typed references and before typed parentheses.
UNTRUSTED_PARENTHESIS = re.compile(rf"(?<![\\{TRUSTED}])[()]")
# A name that goes on with a file's caption is not typed.
TYPED = re.compile(
    r"(?<=embedding)(?=:[\s,]*[^\s,<\[():]+(?:[\s,<():]|\[(?!filewords\])|$))|(?=[()])",
    re.IGNORECASE,
)


def escaped_untrusted(text: str, weights: bool) -> str:
    """A text from a file, unable to name other embeddings (`embedding:other` becomes `other`);
    its parentheses are letters rather than prompt weights, unless `weights`.
    """
    return escaped_mixed(untrusted(text), weights)


def escaped_mixed(text: str, weights: bool) -> str:
    """The same for a text that was put together of `untrusted` words of files and of `trusted`
    ones, which stay as they were; together, because two tame pieces may make up a reference.
    """
    while REFERENCE.search(text):  # Again, because what is left may make up a new one.
        text = REFERENCE.sub("", text)
    if not weights:
        text = UNTRUSTED_PARENTHESIS.sub(lambda match: f"\\{match[0]}", text)
    return text.replace(TRUSTED, "")


def trusted(text: str) -> str:
    """A typed text, its references with their whole names and its parentheses marked."""
    return TYPED.sub(TRUSTED, unmarked(text))


def untrusted(text: str) -> str:
    """A text from a file, without marks, and without a backslash at its end, which would make a
    letter of what is put behind it.
    """
    return unmarked(text).rstrip("\\")


def tokenizer_safe(text: str) -> str:
    """A text on which the host's prompt reader does not fail: it recurses into parentheses (core
    sd1_clip.py:348), and its tokenizers take no half characters.
    """
    text = encodable(text)
    if depth(text) <= DEEPEST_PARENTHESES:
        return text
    return PARENTHESIS.sub(lambda match: f"\\{match[0]}", text)


def depth(text: str) -> int:
    """How deeply parentheses are nested."""
    level = deepest = 0
    for bracket in PARENTHESIS.findall(text):
        level += 1 if bracket == "(" else -1
        deepest = max(deepest, level)
    return deepest


def cleaned(text: str, longest: int) -> str:
    """A text without control characters and half characters (lone surrogates), lines kept, cut to
    `longest` characters.
    """
    spaced = "".join(
        " " if unicodedata.category(character) in ("Cc", "Cs") and character != "\n" else character
        for character in text[: 2 * longest]
    )
    return "\n".join(" ".join(line.split()) for line in spaced.split("\n")).strip()[:longest]


def one_line(text: str, longest: int) -> str:
    """The same in a single line."""
    return " ".join(cleaned(text, longest).split())
