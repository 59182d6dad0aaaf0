"""The text side of the host: which encoders a CLIP has, and words that stand for vectors in its
prompts.
"""

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.sd import CLIP
from comfy.sd1_clip import SDTokenizer
from torch import Tensor

from ...concept.placeholder import replace_words
from ...word.embedding import Embedding, check_placeholder, initial_rows
from ...word.families import check_fit
from .compatibility import embedding_found

VOCABULARY_CHUNK = 4096


@dataclass(frozen=True)
class Encoder:
    """One text encoder of a CLIP, under the key by which the host names its embeddings."""

    key: str
    width: int
    tokenizer: SDTokenizer
    model: Any

    def token_ids(self, text: str) -> list[int]:
        """Ids of a text's tokens, without start, end and padding."""
        end = -1 if self.tokenizer.tokenizer_adds_end_token else None
        return self.tokenizer.tokenizer(text)["input_ids"][self.tokenizer.tokens_start : end]

    def rows(self, ids: list[int]) -> Tensor:
        """The vocabulary's vectors of some ids, fp32 on the CPU `[n, dim]`; asks the module rather
        than its weight, which may lie elsewhere.
        """
        table: Any = self.model.transformer.get_input_embeddings()
        where = torch.tensor(ids, device=table.weight.device)
        return table(where[None], out_dtype=torch.float32)[0].cpu()

    def vocabulary_norm(self) -> float:
        """Mean norm of all the vocabulary's vectors."""
        table: Any = self.model.transformer.get_input_embeddings()
        chunks = torch.arange(table.weight.shape[0]).split(VOCABULARY_CHUNK)
        return float(torch.cat([self.rows(chunk.tolist()).norm(dim=-1) for chunk in chunks]).mean())


@dataclass(frozen=True)
class Word:
    """What a word stands for in prompts: vectors `[n, dim]` per encoder key, or `text` in an
    encoder that has none.
    """

    text: str
    vectors: Mapping[str, Tensor]


def encoders(clip: CLIP) -> dict[str, Encoder]:
    """The text encoders of a CLIP, by key."""
    found = {}
    for attribute, tokenizer in vars(clip.tokenizer).items():
        model = getattr(clip.cond_stage_model, attribute, None)
        if isinstance(tokenizer, SDTokenizer) and model is not None:
            found[tokenizer.embedding_key] = Encoder(
                tokenizer.embedding_key, tokenizer.embedding_size, tokenizer, model
            )
    if not found:
        raise ValueError(
            f"The CLIP ({type(clip.cond_stage_model).__name__}) has no text encoder with a token "
            f"vocabulary that ComfyUI exposes, so it cannot learn a word. Use SD 1.x, SD 2.x, "
            f"SDXL, SD3 or Flux."
        )
    return found


def check_fits(embedding: Embedding, clip: CLIP) -> None:
    """Raise ValueError that names both sides and the fitting checkpoint, unless every vector of the
    embedding belongs to an encoder of the CLIP; the host would drop it with a warning.
    """
    available = {key: encoder.width for key, encoder in encoders(clip).items()}
    held = {key: rows.shape[-1] for key, rows in embedding.vectors.items()}
    check_fit(embedding.placeholder, held, available)


def with_word(clip: CLIP, name: str, word: Word) -> CLIP:
    """A clone of the CLIP in whose prompts `name` stands for `word`; the given CLIP and its
    tokenizer stay as they are.
    """
    clone = clip.clone()
    clone.tokenizer = overlaid(clip.tokenizer, name, word)
    return clone


def overlaid(tokenizer: Any, name: str, word: Word) -> Any:
    """A copy of the host's tokenizer that knows one word more."""
    clone = copy.copy(tokenizer)
    for attribute, part in vars(tokenizer).items():
        if isinstance(part, SDTokenizer):
            setattr(clone, attribute, overlaid_part(part, name, word))
    return clone


def overlaid_part(tokenizer: SDTokenizer, name: str, word: Word) -> SDTokenizer:
    """A copy of one encoder's tokenizer that knows one word more; words that it already knew
    remain.
    """
    clone: Any = copy.copy(tokenizer)
    clone.words = {**getattr(tokenizer, "words", {}), name.lower(): word}
    clone.__class__ = overlay_class(type(tokenizer))
    if clone.embedding_directory is None:
        # Without a folder the host does not look for `embedding:` at all (core sd1_clip.py:602).
        clone.embedding_directory = ()
    return clone


class OverlayMixin:
    """Lets words stand for vectors: bare words become `embedding:word`, and `embedding:word` is
    answered with the word's own vectors.
    """

    words: dict[str, Word]
    embedding_key: str

    def tokenize_with_weights(self, text: str, *args: Any, **kwargs: Any) -> Any:
        known = {name: self.written(name, word) for name, word in self.words.items()}
        spaced = replace_words(text, known)
        return super().tokenize_with_weights(spaced, *args, **kwargs)  # type: ignore[misc]

    def written(self, name: str, word: Word) -> str:
        """How the host reads the word: spaced out, because it looks for `embedding:` behind a space
        only.
        """
        return f" embedding:{name} " if self.embedding_key in word.vectors else word.text

    def _try_get_embedding(self, embedding_name: str) -> tuple[Any, ...]:
        name, _, leftover = embedding_name.partition(" ")
        word = self.words.get(name.lower())
        if word is None:
            return super()._try_get_embedding(embedding_name)  # type: ignore[misc]
        return embedding_found(word.vectors[self.embedding_key], name, leftover.strip())


@functools.cache
def overlay_class(base: type[SDTokenizer]) -> type[SDTokenizer]:
    """The tokenizer class of the host with the overlay in front of it."""
    return (
        base
        if issubclass(base, OverlayMixin)
        else type(f"Overlay{base.__name__}", (OverlayMixin, base), {})
    )


def create_embedding(clip: CLIP, placeholder: str, initialiser: str, count: int) -> Embedding:
    """A new word with `count` vectors per encoder of the CLIP, taken from the vocabulary's vectors
    of `initialiser` (0 = one per token of it).
    """
    check_placeholder(placeholder)
    vectors = {}
    for key, encoder in encoders(clip).items():
        ids = encoder.token_ids(initialiser)
        if not ids:
            raise ValueError(
                f"The initialiser {initialiser!r} has no tokens. Write what the thing is, in one "
                f"or a few words: cat, vase, painting."
            )
        with torch.inference_mode(False), torch.no_grad():
            vectors[key] = initial_rows(encoder.rows(ids).clone(), count or len(ids))
    return Embedding(placeholder, initialiser, vectors, vectors)


def apply_embedding(clip: CLIP, embedding: Embedding, strength: float) -> CLIP:
    """A clone of the CLIP whose prompts know the embedding's word."""
    check_fits(embedding, clip)
    return with_word(
        clip, embedding.placeholder, Word(embedding.initialiser, embedding.at_strength(strength))
    )
