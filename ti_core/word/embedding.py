"""The embedding: the learned vectors of a word, with where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quoted import quoted
from .word_names import LONGEST_WORD, is_word, normal

LONGEST_INITIALIZER = 200  # characters


@dataclass(frozen=True)
class Embedding:
    """A word and its vectors, one fp32 tensor `[n, dim]` per encoder key (`clip_l`, `clip_g`,
    `t5xxl`, ... as the host names them).

    `initial` holds the vectors that training started from, `initializer` the text that they were
    taken from; encoders without vectors read that text instead of the word. `initial` is zero
    where nothing is known of the start, as with most files.
    `provenance` tells how the vectors were made (method, steps, seed, base model, losses); values
    are JSON-ready.
    `notes` tell what a user should know of the file that it was read from, and `source` which that
    is, as it was chosen.
    """

    placeholder: str
    initializer: str
    vectors: Mapping[str, Tensor]
    initial: Mapping[str, Tensor]
    provenance: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: str = ""

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
        """Vectors between initializer (0) and learned (1), beyond 1 further in the same direction;
        without a start (zeros) between nothing and learned, which scales their length.
        """
        return {key: blend(self.initial[key], rows, strength) for key, rows in self.vectors.items()}


def check_placeholder(name: str) -> None:
    """Raise ValueError if the prompt syntax cannot carry `name` as one word, bare and as
    `embedding:name`.
    """
    if not is_word(name) or len(normal(name)) > LONGEST_WORD:
        raise ValueError(
            f"The trigger word {quoted(name)} cannot be written in a prompt. Use 1 to "
            f"{LONGEST_WORD} letters of any script, digits, '_', '-' and '.'; the first and the "
            f"last must be a letter, a digit or '_': my-cat, sks_vase, style.v2, 大猫."
        )
    try:
        float(name)
    except ValueError:
        return
    raise ValueError(
        f"The trigger word {name!r} reads as a number, so '(embedding:{name})' would be a prompt "
        f"weight. Put a letter in front, for example 'w{name}'."
    )


def check_initializer(text: str, needed: bool = False) -> None:
    """Raise ValueError for a text that cannot be an initializer; a workflow can carry any."""
    if needed and not text.strip():
        raise ValueError(
            "The init word is empty. Write what the subject is, in one or a few words that the "
            "model knows: cat, purple star, oil painting."
        )
    if len(text) > LONGEST_INITIALIZER:
        raise ValueError(
            f"The init word {quoted(text)} has {len(text)} characters; at most "
            f"{LONGEST_INITIALIZER} are allowed. Write what the subject is, in one or a few "
            f"words: cat, purple star, oil painting."
        )


def initial_rows(tokens: Tensor, count: int) -> Tensor:
    """Spread the rows of an initializer `[m, dim]` over `count` vectors: repeated when there are
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
