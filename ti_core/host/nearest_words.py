"""An embedding beside the vocabulary of the host's text encoders."""

from collections.abc import Iterator, Mapping

import torch
from comfy.sd import CLIP
from torch import Tensor

from ..word.embedding import Embedding
from ..word.inspection import SHOWN
from ..word.vocabulary import Neighbor, Vocabulary, nearest_rows
from .models.text import VOCABULARY_CHUNK, Encoder, check_fits, encoders

WORD_END = "</w>"
SPACE = "▁"  # In the tokens of SentencePiece.
BYTE_SPACE = "Ġ"  # In the tokens of byte-level tokenizers.


def vocabularies(
    embedding: Embedding, clip: CLIP | None, neighbors: int
) -> Mapping[str, Vocabulary]:
    """For each encoder of the embedding, what the CLIP's vocabulary says of the vectors that are
    shown; nothing without CLIP.
    """
    if clip is None:
        return {}
    check_fits(embedding, clip)
    parts = encoders(clip)
    shown = {key: rows[:SHOWN] for key, rows in embedding.vectors.items()}
    return {key: beside(rows, parts[key], neighbors) for key, rows in shown.items()}


def beside(rows: Tensor, encoder: Encoder, count: int) -> Vocabulary:
    """Vectors `[n, d]` beside an encoder's vocabulary."""
    cosines, numbers = nearest_rows(rows, pieces(encoder), count)
    texts = token_texts(encoder.tokenizer.inv_vocab, set(numbers.flatten().tolist()))
    nearest = [
        [Neighbor(texts[number], cosine) for cosine, number in zip(*pair, strict=True)]
        for pair in zip(cosines.tolist(), numbers.tolist(), strict=True)
    ]
    return Vocabulary(encoder.vocabulary_norm(), nearest)


def pieces(encoder: Encoder) -> Iterator[Tensor]:
    """The vocabulary's vectors, fp32 on the CPU, some thousands at a time."""
    count = encoder.model.transformer.get_input_embeddings().weight.shape[0]
    for piece in torch.arange(count).split(VOCABULARY_CHUNK):
        yield encoder.rows(piece.tolist())


def token_texts(vocabulary: Mapping[int, str], numbers: set[int]) -> dict[int, str]:
    """Tokens as they read in a prompt. Models have vectors for more numbers than there are tokens.

    The tokenizers' own decoders are not asked: that of LlamaTokenizerFast (HunyuanVideo, Flux.2)
    gives the bytes' stand-ins back as they are (transformers 5.24).
    """
    tokens = vocabulary.values()
    byte_level = BYTE_SPACE in tokens and SPACE not in tokens
    return {
        number: token_text(vocabulary[number], byte_level)
        if number in vocabulary
        else f"token {number}"
        for number in numbers
    }


def token_text(token: str, byte_level: bool) -> str:
    """A token without its tokenizer's marks for spaces and word ends; quoted if it is nothing but
    spaces and control characters.
    """
    bare = token.removesuffix(WORD_END)
    text = text_of_bytes(bare) if byte_level else bare.replace(SPACE, " ")
    seen = text.strip()
    return seen if seen and seen.isprintable() else repr(text)


def text_of_bytes(token: str) -> str:
    """The text of a token whose characters stand for bytes; bytes that are only a part of a
    character are written as numbers, `\\xe3`.
    """
    if not BYTES.keys() >= set(token):
        return token  # One of the tokenizer's special tokens.
    return bytes(BYTES[character] for character in token).decode(errors="backslashreplace")


def byte_characters() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies: those that can be seen for
    themselves, the others by the characters from 256 on (GPT-2, encoder.py: bytes_to_unicode).
    """
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {
        chr(256 + place): byte for place, byte in enumerate(unseen)
    }


BYTES = byte_characters()
