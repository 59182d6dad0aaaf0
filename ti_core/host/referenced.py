"""Embedding files that texts refer to, found as ComfyUI finds them: if a file's vectors change, so
does what is trained on, although no text does.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import folder_paths
from comfy.sd import CLIP
from torch import Tensor

from ..concept.concept import Concept
from ..concept.templates import FILEWORDS
from ..untrusted_text import escaped_untrusted
from .file_state import states_of
from .models.overlay import parts

REFERENCE = re.compile(r"embedding:\s*(?=(\S+))", re.IGNORECASE)
# What may end a name, or belong to it: every cut is asked for.
END = re.compile(r"[^\w./\\-]")
LONGEST = 256
ENDINGS = ("", ".safetensors", ".pt", ".bin")  # as the host tries them (core sd1_clip.py)


def references_hold(concept: Concept) -> Callable[[], bool]:
    """A check for later whether the embedding files that the texts of a concept name are still as
    they are now: none changed, added or removed.
    """
    paths = possible_files(texts_of(concept))
    before = states_of(paths)
    return lambda: states_of(paths) == before


def possible_files(texts: Iterable[str]) -> list[Path]:
    """Where the files may lie that texts refer to."""
    names = {name for text in texts for name in possible_names(text)}
    roots = folder_paths.get_folder_paths("embeddings")
    return sorted(
        {Path(root, f"{name}{end}") for name in names for root in roots for end in ENDINGS}
    )


def texts_of(concept: Concept) -> list[str]:
    """The training texts that may refer to embeddings, each once, before anything is drawn;
    captions from files come without the references that they may not make.
    """
    found: dict[str, None] = {}
    for one in concept.images:
        caption_settings = one.caption_settings
        caption = (
            one.caption
            if caption_settings.typed
            else escaped_untrusted(one.caption, caption_settings.weights)
        )
        whole = " ".join(
            part for part in (caption_settings.prefix, caption, caption_settings.suffix) if part
        )
        filled = [one.replace(FILEWORDS, whole) for one in caption_settings.templates]
        found |= dict.fromkeys(filled or [whole])
    return [text for text in found if REFERENCE.search(text)]


def referenced_embeddings(texts: Sequence[str], clip: CLIP) -> dict[str, Tensor]:
    """The vectors behind each `embedding:name` that texts may refer to, by encoder and name, as the
    tokenizers of a CLIP read them; names without a file are left out.
    """
    names = sorted({name for text in texts for name in possible_names(text)})
    found: dict[str, Tensor] = {}
    for _, part in parts(clip.tokenizer):
        for name in names if part.embedding_directory is not None else ():
            vectors = part._try_get_embedding(name)[0]
            if isinstance(vectors, Tensor):
                found[f"{part.embedding_key} {name}"] = vectors
    return found


def possible_names(text: str) -> Iterator[str]:
    """All possible names behind a reference: weights, wildcards and shuffling decide which one it
    is, and one too many in a key does no harm.
    """
    for match in REFERENCE.finditer(text):
        name = match[1][:LONGEST]
        ends = [len(name), *(found.start() for found in END.finditer(name))]
        cut = (name[:end] for end in ends)
        yield from (one for one in cut if one.strip(".") and "\0" not in one)
