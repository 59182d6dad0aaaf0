"""Tensors of one word under numbered names, one for each text encoder: `text_encoders_0` and
`text_encoders_1` of the first pivotal scripts, `emb` and `emb2`, `te1` and `te2`.
"""

import re

from .contents import Contents, Draft, Stored
from .mistaken import is_part_of_model

NUMBER = re.compile(r"[ _.-]?\d+$")
MAX_ENCODERS = 4
# What trainers call vectors rather than words.
PLAIN = re.compile(
    r"(?:text[ _-]?)?(?:encoders?|embeds?|embeddings?)|emb|te|clip|vectors?|weights?|tokens?",
    re.IGNORECASE,
)


def read(contents: Contents) -> list[Draft] | None:
    """One word, if the names differ only in their numbers and the widths identify the encoders."""
    tensors = contents.tensors
    if is_part_of_model(tensors):
        return None
    stems = {NUMBER.sub("", name) for name in tensors}
    if len(stems) != 1 or len(tensors) > MAX_ENCODERS or not differ_in_width(tensors):
        return None
    name = min(tensors, key=len) if len(tensors) == 1 else stems.pop()
    plain = PLAIN.fullmatch(NUMBER.sub("", name))
    return [Draft("" if plain else name, tuple((None, kept) for kept in tensors.values()))]


def differ_in_width(tensors: dict[str, Stored]) -> bool:
    """Whether there are only rows of vectors, the same number for each encoder, all of different
    widths.
    """
    shapes = [(1, *kept.shape)[-2:] for kept in tensors.values() if len(kept.shape) in (1, 2)]
    widths, counts = {width for _, width in shapes}, {count for count, _ in shapes}
    return len(shapes) == len(tensors) == len(widths) and len(counts) == 1
