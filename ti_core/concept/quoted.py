"""Names and values from outside, as messages show them."""

LONGEST_QUOTE = 120  # characters


def quoted(value: object) -> str:
    """A value between quotes, with what cannot be shown escaped, and a long one cut."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}... "
