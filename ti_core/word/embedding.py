"""The embedding: the learned vectors of a word, with where they came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quoted import quoted

LONGEST_INITIALISER = 200  # characters
PLACEHOLDER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")


@dataclass(frozen=True)
class Embedding:
    """A word and its vectors, one fp32 tensor `[n, dim]` per encoder key (`clip_l`, `clip_g`,
    `t5xxl`, ... as the host names them).

    `initial` holds the vectors that training started from, `initialiser` the text that they were
    taken from; encoders without vectors read that text instead of the word. `initial` is zero
    where nothing is known of the start, as with most files.
    `provenance` tells how the vectors were made (method, steps, seed, base model, losses); values
    are JSON-ready.
    `notes` tell what a user should know of the file that it was read from.
    """

    placeholder: str
    initialiser: str
    vectors: Mapping[str, Tensor]
    initial: Mapping[str, Tensor]
    provenance: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many vectors the word has in its longest encoder."""
        return max(len(rows) for rows in self.vectors.values())

    @property
    def shapes(self) -> str:
        """How many vectors of what width each text encoder has: `clip_l 2 x 768`."""
        found = (f"{key} {len(rows)} x {rows.shape[-1]}" for key, rows in self.vectors.items())
        return ", ".join(found)

    @property
    def has_origin(self) -> bool:
        """Whether it is known what training started from."""
        return any(bool(rows.any()) for rows in self.initial.values())

    def at_strength(self, strength: float) -> dict[str, Tensor]:
        """Vectors between initialiser (0) and learned (1), beyond 1 further in the same direction;
        without a start (zeros) between nothing and learned, which scales their length.
        """
        return {key: blend(self.initial[key], rows, strength) for key, rows in self.vectors.items()}


def check_placeholder(name: str) -> None:
    """Raise ValueError if the prompt syntax cannot carry `name` as one word, bare and as
    `embedding:name`.
    """
    if not PLACEHOLDER.fullmatch(name):
        raise ValueError(
            f"The placeholder {quoted(name)} cannot be written in a prompt. Use 1 to 64 letters "
            f"(a-z, A-Z), digits, '_', '-' and '.'; the first and the last must be a letter, a "
            f"digit or '_': my-cat, sks_vase, style.v2."
        )
    try:
        float(name)
    except ValueError:
        return
    raise ValueError(
        f"The placeholder {name!r} reads as a number, so '(embedding:{name})' would be a prompt "
        f"weight. Put a letter in front, for example 'w{name}'."
    )


def check_initialiser(text: str, needed: bool = False) -> None:
    """Raise ValueError if a text cannot say what a thing is; a workflow can carry any."""
    if needed and not text.strip():
        raise ValueError(
            "The initialiser is empty. Write what the thing is, in one or a few words: cat, vase, "
            "painting."
        )
    if len(text) > LONGEST_INITIALISER:
        raise ValueError(
            f"The initialiser {quoted(text)} has {len(text)} characters, but at most "
            f"{LONGEST_INITIALISER} are allowed. Write what the thing is, in one or a few words: "
            f"cat, vase, painting."
        )


def initial_rows(tokens: Tensor, count: int) -> Tensor:
    """Spread the rows of an initialiser `[m, dim]` over `count` vectors: repeated when there are
    more, averaged in groups when fewer.
    """
    if count >= len(tokens):
        return tokens[torch.arange(count) * len(tokens) // count]
    return torch.stack([group.mean(0) for group in tokens.tensor_split(count)])


def blend(start: Tensor, end: Tensor, amount: float) -> Tensor:
    """Move rows `[n, dim]` from `start` to `end` along the great circle, their norms along the
    line; exact at 0 and 1. A row of zeros has no direction and takes that of the other.
    """
    if amount == 0.0:
        return start
    if amount == 1.0:
        return end
    a, b = F.normalize(start, dim=-1), F.normalize(end, dim=-1)
    a = torch.where(a.any(-1, keepdim=True), a, b)  # Where b is zero, so are angle and tangent.
    cosine = (a * b).sum(-1, keepdim=True)
    across = b - cosine * a
    angle = torch.atan2(across.norm(dim=-1, keepdim=True), cosine)
    tangent = F.normalize(across, dim=-1)
    direction = a * torch.cos(angle * amount) + tangent * torch.sin(angle * amount)
    norm = torch.lerp(start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True), amount)
    return direction * norm.clamp_min(0.0)
