"""A tensor under the word's own name, as diffusers' scripts write it; for SDXL in two files."""

from pathlib import Path

from .contents import Contents, Draft

MAX_WORDS = 64
FIRST, SECOND = "learned_embeds", "learned_embeds_2"


def read(contents: Contents) -> list[Draft] | None:
    """A word per tensor."""
    tensors = contents.tensors
    if not tensors:
        return None
    if len(tensors) > MAX_WORDS or any(len(kept.shape) > 2 for kept in tensors.values()):
        raise ValueError(
            f"its tensors are those of a model, or of a LoRA without a bundled embedding (the "
            f"first is '{next(iter(tensors))[:60]}')"
        )
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
    near = (path.with_stem(other) for other in others)
    return next((found for found in near if found.is_file() and lies_beside(found, path)), None)


def lies_beside(found: Path, path: Path) -> bool:
    """Whether a file of the same folder is really there, or where `path` really is, and no link to
    somewhere else.
    """
    return found.resolve().parent in (path.parent.resolve(), path.resolve().parent)
