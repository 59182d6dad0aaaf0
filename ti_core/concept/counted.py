"""How many there are, in words."""


def counted(count: int, thing: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
