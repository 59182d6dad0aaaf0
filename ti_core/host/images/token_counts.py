"""What the host's text encoders say of a word and of captions."""

from collections.abc import Sequence
from typing import Any

from comfy.sd import CLIP
from torch import Tensor

from ...concept.audit import (
    NO_WORD,
    EncoderFacts,
    audit_report,
    longest_text,
    summary,
    word_findings,
)
from ...concept.concept import Concept
from ...concept.contact_sheet import contact_sheet
from ...word.embedding import Embedding
from ..models.overlay import Word, with_word
from ..models.text import Encoder, encoders

UNBOUNDED = 10000  # tokens: encoders that take more do not cut a text into chunks
# The side in pixels that models with these encoders were made for; others are larger than SD 2.
SIDES = {frozenset({"clip_l"}): 512, frozenset({"clip_h"}): 768}
SIDE_OF_OTHERS = 1024


def audit(
    concept: Concept,
    embedding: Embedding | None,
    clip: CLIP | None,
    batch_size: int,
    accumulation: int,
) -> tuple[Tensor, str]:
    """Contact sheet `[h, w, 3]` and report; what is not given is not checked."""
    counts = summary(concept, batch_size, accumulation)
    more: list[str] = []
    if embedding is not None:
        text = longest_text(concept, embedding.placeholder)
        facts = encoder_facts(clip, embedding, text) if clip is not None else []
        side = native_side(clip) if clip is not None else 0
        more = word_findings(concept, embedding.placeholder, embedding.count, facts, side)
    placeholder = NO_WORD if embedding is None else embedding.placeholder
    return contact_sheet(concept, placeholder, counts), audit_report(concept, counts, more)


def native_side(clip: CLIP) -> int:
    """The side in pixels that a model with this CLIP was made for."""
    return SIDES.get(frozenset(encoders(clip)), SIDE_OF_OTHERS)


def encoder_facts(clip: CLIP, embedding: Embedding, text: str) -> list[EncoderFacts]:
    """What each encoder makes of the placeholder and of a text that says it."""
    known = with_word(clip, embedding.placeholder, Word(embedding.initializer, embedding.vectors))
    tokens = known.tokenize(text, return_word_ids=True)
    return [
        encoder_counts(encoder, embedding, tokens[encoder.tokens])
        for encoder in encoders(known).values()
    ]


def encoder_counts(
    encoder: Encoder, embedding: Embedding, chunks: Sequence[Sequence[tuple[Any, ...]]]
) -> EncoderFacts:
    """Token counts of one encoder, by the host's own tokens of a text with the word in it."""
    # Word 0 is start, end and padding; some tokenizers tell no words.
    used = sum(len(token) < 3 or token[2] > 0 for chunk in chunks for token in chunk)
    longest = int(encoder.tokenizer.max_length)
    room = longest - 2 if longest < UNBOUNDED else None
    word_tokens = len(encoder.token_ids(embedding.placeholder))
    return EncoderFacts(encoder.key, word_tokens, used, len(chunks), room)
