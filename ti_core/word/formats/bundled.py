"""Embeddings in the file of something else: those that OneTrainer puts into a LoRA, and the words
that stand among its tensors under their own names, as the first LoRA trainers wrote them.
"""

import re

from .contents import Contents, Draft, Stored
from .mistaken import PART
from .named import OUTPUT_SPACE, check_encoders, draft_of

PREFIX = "bundle_emb."
MAX_WORDS = 64
DICT = ".string_to_param."
FLAG = "<embed>"  # What the metadata says of a tensor that is a word's.
WORD = re.compile(r"<[^<>]+>")


def read(contents: Contents) -> list[Draft] | None:
    """The words beside the LoRA's own tensors."""
    words = prefixed(contents.tensors) or flagged(contents)
    if len(words) > MAX_WORDS:
        raise ValueError(f"it holds {len(words)} words, but at most {MAX_WORDS} are read")
    for tensors in words.values():
        check_encoders(tensors)
    return [draft_of(word, tensors, {}, beside=True) for word, tensors in words.items()] or None


def prefixed(tensors: dict[str, Stored]) -> dict[str, dict[str, Stored]]:
    """OneTrainer's words, each with its tensors by encoder."""
    words: dict[str, dict[str, Stored]] = {}
    for name, kept in tensors.items():
        if name.startswith(PREFIX):
            word, key = word_and_encoder(name.removeprefix(PREFIX))
            words.setdefault(word, {})[key] = kept
    return words


def flagged(contents: Contents) -> dict[str, dict[str, Stored]]:
    """Tensors that the metadata calls words, or that are named as words are ('<s1>') where all
    others are named as parts of a model ('unet:0:up', 'unet.conv.weight').
    """
    tensors, metadata = contents.tensors, contents.metadata
    words = {name for name in tensors if metadata.get(name) == FLAG or WORD.fullmatch(name)}
    others = tensors.keys() - words
    if not others or not all(PART.search(name) for name in others):
        return {}
    return {name: {"emb_params": tensors[name]} for name in tensors if name in words}


def word_and_encoder(name: str) -> tuple[str, str]:
    """The word, which may have dots in it, and the encoder's name."""
    word, found, rest = name.partition(DICT)
    if found:
        return word, "emb_params" + (OUTPUT_SPACE if rest.endswith(OUTPUT_SPACE) else "")
    word, _, key = name.rpartition(".")
    return (word, key) if word else (key, "emb_params")
