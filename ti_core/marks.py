"""Characters that mark places in a text on its way: noncharacters, which Unicode reserves for use
inside a program. `unmarked` removes them from every text from outside, so that nobody can type a
mark.
"""

FIRST, LAST = 0xFDD0, 0xFDEF
WORD, TRUSTED, OPENING, CLOSING = map(chr, range(FIRST, FIRST + 4))
SIGNS = dict.fromkeys(range(FIRST, LAST + 1), "\ufffd")


def unmarked(text: str) -> str:
    """A text from outside with each mark replaced; everything else stays in place."""
    return text.translate(SIGNS)
