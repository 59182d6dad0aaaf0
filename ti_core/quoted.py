"""Names and values from outside, as messages show them."""

LONGEST_QUOTE = 120  # characters


def quoted(value: object) -> str:
    """A value between quotes, with what cannot be shown escaped, and a long one cut."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]} ..."


def shown(name: str) -> str:
    """A name with a sign for each character that cannot be shown, and a long one cut."""
    text = printable(name)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def printable(text: str) -> str:
    """A text with a sign for each character that cannot be shown."""
    return "".join(character if character.isprintable() else "?" for character in text)


def encodable(text: str) -> str:
    """A text with a sign for each byte or half character that no text can have (names of files are
    not always UTF-8).
    """
    return text.encode("utf-8", "replace").decode()
