"""What a text from a file may not do in a prompt, and what no text may do."""

import re
import unicodedata

from .quoted import encodable

DEEPEST_PARENTHESES = 16
REFERENCE = re.compile(r"embedding:", re.IGNORECASE)
TRUSTED = "\ue002"  # stands inside of typed references and before typed parentheses
PARENTHESIS = re.compile(r"(?<!\\)[()]")
UNTRUSTED_PARENTHESIS = re.compile(rf"(?<![\\{TRUSTED}])[()]")


def tamed(text: str, weights: bool) -> str:
    """A text from a file, unable to name other embeddings (`embedding:other` becomes `other`);
    its parentheses are letters rather than prompt weights, unless `weights`.
    """
    return tamed_beside_trusted(untrusted(text), weights)


def tamed_beside_trusted(text: str, weights: bool) -> str:
    """The same for a text that was put together of a file's words, which went through `untrusted`,
    and of `trusted` ones, which stay as they were.
    """
    while REFERENCE.search(text):  # Again, because what is left may make up a new one.
        text = REFERENCE.sub("", text)
    if not weights:
        text = UNTRUSTED_PARENTHESIS.sub(lambda match: f"\\{match[0]}", text)
    return text.replace(TRUSTED, "")


def trusted(text: str) -> str:
    """A typed text, its references and parentheses marked."""
    return re.sub(r"(?<=embedding)(?=:\S)|(?=[()])", TRUSTED, text, flags=re.IGNORECASE)


def untrusted(text: str) -> str:
    """A text from a file, without the marks."""
    return text.replace(TRUSTED, "")


def sturdy(text: str, word: str = "") -> str:
    """A text on which the host's prompt reader does not fail: it recurses into parentheses (core
    sd1_clip.py:348), looks up a nameless `embedding:` (up to the next parenthesis, weight,
    reference, or the new `word`, which becomes one), and its tokenizers take no half characters.
    """
    becomes = rf"|\s+{re.escape(word)}(?![\w-])" if word else ""
    nameless = rf"(embedding):(?:(?:\s*:)+|(?=\s*(?:$|[()]|embedding:){becomes}))"
    text = re.sub(nameless, r"\1", encodable(text), flags=re.IGNORECASE)
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
