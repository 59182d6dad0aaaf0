"""A tensor under the word's own name, as diffusers' scripts write it; for SDXL in two files."""

from pathlib import Path

from .contents import Contents, Draft
from .mistaken import Mistaken, is_part_of_model, said_of_tensors

MAX_WORDS = 64
FIRST, SECOND = "learned_embeds", "learned_embeds_2"


def read(contents: Contents) -> list[Draft] | None:
    """A word per tensor."""
    tensors = contents.tensors
    if not tensors:
        return None
    shapes_of_model = any(len(kept.shape) > 2 for kept in tensors.values())
    if len(tensors) > MAX_WORDS or shapes_of_model or is_part_of_model(tensors):
        raise Mistaken(said_of_tensors(tensors))
    return [Draft(name, ((None, kept),)) for name, kept in tensors.items()]


def partner(path: Path) -> Path | None:
    """The other file of an SDXL pair, if it lies beside this one: `learned_embeds` and
    `learned_embeds_2` (also with `-steps-500` behind), or `name` and `name_2`.
    """
    stem = path.stem
    if stem.startswith(SECOND):
        others = [stem.replace(SECOND, FIRST, 1)]
    elif stem.startswith(FIRST):
        others = [stem.replace(FIRST, SECOND, 1)]
    else:
        others = [stem.removesuffix("_2")] if stem.endswith("_2") else [f"{stem}_2"]
    endings = dict.fromkeys((path.suffix, path.suffix.lower(), path.suffix.upper()))
    near = (path.with_name(f"{other}{ending}") for other in others for ending in endings)
    return next((found for found in near if found.is_file() and lies_beside(found, path)), None)


def lies_beside(found: Path, path: Path) -> bool:
    """Whether a file of the same folder is really there, or where `path` really is, and no link to
    somewhere else.
    """
    return found.resolve().parent in (path.parent.resolve(), path.resolve().parent)
