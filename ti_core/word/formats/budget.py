"""What the reading of one file may cost, so that no file can freeze or fill the host."""

from typing import Literal

Kind = Literal["bytes", "letters", "parts", "entries", "values"]

# What embeddings need: 75 vectors for every encoder of the largest models are 0.8 million values,
# and 3 MB as the text of an image; the header of a LoRA of 3,000 tensors has 0.4 MB and 40,000
# parts. At these limits a file takes less than a second and 64 MB.
LIMITS: dict[Kind, int] = {
    "bytes": 64 << 20,  # read from the file
    "letters": 10 << 20,  # of headers, pickles, directories, JSON and the texts of images
    "parts": 100_000,  # objects made: instructions of a pickle, texts and brackets of JSON
    "entries": 400_000,  # put into lists, dicts and tuples
    "values": 1 << 21,  # of vectors
}


class Budget:
    """The limits of one file, on which all that is read from it draws."""

    def __init__(self) -> None:
        self.left = dict(LIMITS)

    def spend(self, kind: Kind, amount: int = 1) -> None:
        """Raise ValueError where the file takes more of a kind than is left."""
        if amount < 0 or amount > self.left[kind]:
            raise ValueError(
                f"it takes more {kind} than an embedding could (at most {LIMITS[kind]})"
            )
        self.left[kind] -= amount
