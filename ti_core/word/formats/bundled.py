"""Embeddings that OneTrainer puts into the file of a LoRA."""

from .contents import Contents, Draft, Stored
from .named import OUTPUT_SPACE, check_encoders, keyed

PREFIX = "bundle_emb."
MAX_WORDS = 64
DICT = ".string_to_param."


def read(contents: Contents) -> list[Draft] | None:
    """The words beside the LoRA's own tensors."""
    words: dict[str, dict[str, Stored]] = {}
    for name, kept in contents.tensors.items():
        if name.startswith(PREFIX) and not name.endswith(OUTPUT_SPACE):
            word, key = word_and_encoder(name.removeprefix(PREFIX))
            words.setdefault(word, {})[key] = kept
    if len(words) > MAX_WORDS:
        raise ValueError(f"it holds {len(words)} words, but at most {MAX_WORDS} are read")
    for tensors in words.values():
        check_encoders(tensors)
    return [Draft(word, tuple(keyed(tensors))) for word, tensors in words.items()] or None


def word_and_encoder(name: str) -> tuple[str, str]:
    """The word, which may have dots in it, and the encoder's name."""
    word, found, _ = name.partition(DICT)
    if found:
        return word, "emb_params"
    word, _, key = name.rpartition(".")
    return word, key
