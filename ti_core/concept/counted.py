"""How many there are, in words."""


def counted(count: int, thing: str) -> str:
    """A number with its noun: 1 picture, 2 pictures."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
