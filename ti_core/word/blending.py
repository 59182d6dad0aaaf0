"""One word out of two, and a word of fewer vectors."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .embedding import Embedding, blend, initial_rows
from .families import with_widths

Mix = Callable[[Tensor, Tensor], Tensor]
Shorten = Literal["merge", "prune"]


def average(balance: float) -> Mix:
    """Along the straight line: 0 is the first, 1 the second; between them vectors get shorter."""
    return lambda first, second: torch.lerp(*level(first, second), balance)


def slerp(balance: float) -> Mix:
    """Along the sphere: 0 is the first, 1 the second; directions turn, lengths are kept."""
    return lambda first, second: blend(*level(first, second), balance)


def subtract(amount: float) -> Mix:
    """The first without `amount` times the second, at the length of the first."""

    def mix(first: Tensor, second: Tensor) -> Tensor:
        a, b = level(first, second)
        return F.normalize(a - amount * b, dim=-1) * a.norm(dim=-1, keepdim=True)

    return mix


def concatenate(first: Tensor, second: Tensor) -> Tensor:
    """The vectors of both, one after the other."""
    return torch.cat([first, second])


def level(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many rows as the longer one has."""
    count = max(len(first), len(second))
    return initial_rows(first, count), initial_rows(second, count)


def blended(
    first: Embedding, second: Embedding | None, mix: Mix | None, placeholder: str
) -> Embedding:
    """A word mixed out of two that hold vectors for the same encoders; without `mix` the first."""
    check_second(second, mix)
    if mix is None or second is None:
        return replace(first, placeholder=placeholder)
    check_alike(first, second)
    vectors = {key: mix(rows, second.vectors[key]) for key, rows in first.vectors.items()}
    known = first.has_origin and second.has_origin
    initial = {
        key: mix(first.initial[key], second.initial[key]) if known else torch.zeros_like(rows)
        for key, rows in vectors.items()
    }
    text = " ".join(dict.fromkeys((first.initializer, second.initializer)))
    made = {"blend_of": [parent(first), parent(second)]}
    return Embedding(placeholder, text, vectors, initial, made)


def check_second(second: Embedding | None, mix: Mix | None) -> None:
    """Raise ValueError where two words are to be mixed and there is one."""
    if mix is not None and second is None:
        raise ValueError(
            "There is no second word to blend with. Connect one, or choose the mode 'first only'."
        )


def check_alike(first: Embedding, second: Embedding) -> None:
    """Raise ValueError unless both hold vectors of the same widths for the same encoders."""
    widths = [{key: rows.shape[-1] for key, rows in one.vectors.items()} for one in (first, second)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"'{first.placeholder}' holds {with_widths(widths[0])}, but '{second.placeholder}' "
            f"holds {with_widths(widths[1])}. Blend two words made for the same kind of model."
        )


def parent(embedding: Embedding) -> Mapping[str, object]:
    """A word that went into a blend, for the recipe of that."""
    return {"placeholder": embedding.placeholder, **embedding.provenance}


def with_fewer_vectors(embedding: Embedding, count: int, how: Shorten) -> Embedding:
    """The word with at most `count` vectors per encoder, of which similar ones have become one."""
    vectors, initial = {}, {}
    for key, rows in embedding.vectors.items():
        groups = similar_groups(rows, count)
        take = merged if how == "merge" else first_rows
        vectors[key], initial[key] = take(rows, groups), take(embedding.initial[key], groups)
    made = {**embedding.provenance, "shortened": {"to": count, "how": how}}
    return Embedding(embedding.placeholder, embedding.initializer, vectors, initial, made)


def similar_groups(rows: Tensor, count: int) -> list[list[int]]:
    """Row numbers in at most `count` groups: again and again, the two groups whose mean directions
    are most alike become one, in the place of the earlier.
    """
    groups = [[number] for number in range(len(rows))]
    while len(groups) > count:
        directions = F.normalize(merged(rows, groups), dim=-1)
        alike = directions @ directions.T
        alike[torch.ones_like(alike, dtype=torch.bool).tril()] = -2.0  # Each pair once.
        earlier, later = divmod(int(alike.argmax()), len(groups))
        groups[earlier] += groups.pop(later)
    return groups


def merged(rows: Tensor, groups: list[list[int]]) -> Tensor:
    """The mean direction of each group's rows at their mean length."""
    return torch.stack([at_mean_length(rows[group]) for group in groups])


def at_mean_length(rows: Tensor) -> Tensor:
    """The mean direction of rows `[n, d]` at their mean length `[d]`; of one row, itself."""
    if len(rows) == 1:
        return rows[0]
    return F.normalize(F.normalize(rows, dim=-1).sum(0), dim=0) * rows.norm(dim=-1).mean()


def first_rows(rows: Tensor, groups: list[list[int]]) -> Tensor:
    """The first row of each group."""
    return rows[[group[0] for group in groups]]
