"""A word beside the vocabulary of a text encoder."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of zeros, untrained ones and a few special tokens (2 % of a vocabulary at most) count for
# something in a mean only if they are much longer or shorter than the others.
ORDINARY = 4.0  # times as long or as short as the middle one, at most


class Neighbor(NamedTuple):
    """A token of the vocabulary and the cosine of its angle to a vector."""

    token: str
    cosine: float


class Vocabulary(NamedTuple):
    """What an encoder's vocabulary says of an embedding's vectors: its own mean norm, and for each
    vector the tokens nearest to it.
    """

    norm: float
    nearest: Sequence[Sequence[Neighbor]]


def ordinary_norm(norms: Tensor) -> float:
    """Mean of the norms `[n]` of a vocabulary's rows, without those that are no ordinary word's."""
    middle = norms[norms > 0].median()
    return float(norms[(norms > middle / ORDINARY) & (norms < middle * ORDINARY)].mean())


def nearest_rows(rows: Tensor, table: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Cosines and numbers `[n, count]` of the rows of a table, given in pieces `[m, d]`, that are
    nearest to `rows` `[n, d]`.
    """
    directions = F.normalize(rows, dim=-1)
    cosines = torch.empty(len(rows), 0)
    numbers = torch.empty(len(rows), 0, dtype=torch.long)
    start = 0
    for piece in table:
        found = directions @ F.normalize(piece, dim=-1).T
        here = torch.arange(start, start + len(piece)).expand(len(rows), -1)
        cosines, numbers = torch.cat([cosines, found], 1), torch.cat([numbers, here], 1)
        cosines, best = cosines.topk(min(count, cosines.shape[1]))
        numbers, start = numbers.gather(1, best), start + len(piece)
    return cosines, numbers
