"""An embedding beside the vocabulary of the host's text encoders."""

from collections.abc import Iterator, Mapping

import torch
from comfy.sd import CLIP
from torch import Tensor

from ..word.embedding import Embedding
from ..word.families import check_fit
from ..word.vocabulary import Neighbour, Vocabulary, nearest_rows
from .models.text import VOCABULARY_CHUNK, Encoder, encoders


def vocabularies(
    embedding: Embedding, clip: CLIP | None, neighbours: int
) -> Mapping[str, Vocabulary]:
    """For each encoder of the embedding, what the CLIP's vocabulary says; nothing without CLIP."""
    if clip is None:
        return {}
    parts = encoders(clip)
    held = {key: rows.shape[-1] for key, rows in embedding.vectors.items()}
    check_fit(embedding.placeholder, held, {key: part.width for key, part in parts.items()})
    return {key: beside(rows, parts[key], neighbours) for key, rows in embedding.vectors.items()}


def beside(rows: Tensor, encoder: Encoder, count: int) -> Vocabulary:
    """Vectors `[n, d]` beside an encoder's vocabulary."""
    cosines, numbers = nearest_rows(rows, pieces(encoder), count)
    names = encoder.tokenizer.inv_vocab
    nearest = [
        [Neighbour(shown(str(names.get(n, n))), c) for c, n in zip(*pair, strict=True)]
        for pair in zip(cosines.tolist(), numbers.tolist(), strict=True)
    ]
    return Vocabulary(encoder.vocabulary_norm(), nearest)


def pieces(encoder: Encoder) -> Iterator[Tensor]:
    """The vocabulary's vectors, fp32 on the CPU, some thousands at a time."""
    count = encoder.model.transformer.get_input_embeddings().weight.shape[0]
    for piece in torch.arange(count).split(VOCABULARY_CHUNK):
        yield encoder.rows(piece.tolist())


def shown(token: str) -> str:
    """A token without the marks of its tokenizer for word ends and spaces."""
    return token.removesuffix("</w>").replace("▁", " ").replace("Ġ", " ").strip() or repr(token)
