"""Which texts are one word in every script: prompts can contain it bare and as `embedding:word`,
and every file system can store it as a name.
"""

import re
import unicodedata

LONGEST_WORD = 64  # characters
INSIDE = "-."  # may stand inside of a word, as all else but letters may not
# Joiners between letters of Persian, Sinhala and other scripts.
JOINED = re.compile("(?<=[^\0-\x7f\u200c\u200d])[\u200c\u200d](?=[^\0-\x7f\u200c\u200d])")
# Letters and marks that nobody sees: fillers of Hangul, joiners of graphemes, variants of glyphs.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")


def is_word(text: str) -> bool:
    """Whether a text is letters, digits and combining marks of any script, with '_', and inside
    also '-' and '.'; a mark combines with what is before it, and joiners stand between letters.
    """
    plain = JOINED.sub("", normal(text))
    return (
        bool(plain)
        and all(is_letter(character) or character in INSIDE for character in plain)
        and not {plain[0], plain[-1]}.intersection(INSIDE)
        and not is_mark(plain[0])
        and not UNSEEN.search(plain)
    )


def nearest_word(text: str, longest: int = LONGEST_WORD) -> str:
    """A text turned into a word, with '-' for characters that words cannot have; empty if nothing
    is left.
    """
    whole = normal(UNSEEN.sub("", text))[:longest]
    joiners = {found.start() for found in JOINED.finditer(whole)}
    kept = (
        one if is_letter(one) or one == "." or at in joiners else "-"
        for at, one in enumerate(whole)
    )
    plain = "".join(kept)
    start = next((at for at, one in enumerate(plain) if is_letter(one) and not is_mark(one)), None)
    return "" if start is None else re.sub("-+", "-", plain[start:]).rstrip(INSIDE)


def normal(text: str) -> str:
    """A text in the one form in which equal texts are equal (NFC)."""
    return unicodedata.normalize("NFC", text)


def is_letter(character: str) -> bool:
    """Whether a character is a letter, a digit, a combining mark, or '_'."""
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def is_mark(character: str) -> bool:
    """Whether a character combines with the one before it."""
    return unicodedata.category(character)[0] == "M"
