"""What goes wrong with learned words, seen early and said in plain words."""

import math
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from .optimizers import AdamWSettings, SphericalSettings
from .settings import TrainingSettings
from .stopping import Validation, best_of, got_worse

# Words of toyworld end 60 to 90 degrees from their initializer (benchmarks/results/learning.md);
# the other limits are rules of thumb, not measured.
SHORTEST_REACH = 1.0  # radians, or lengths of an ordinary word's vector
LONGEST_TURN = 0.5  # radians in a step
LONGEST_MOVE = 1.0  # lengths of an ordinary word's vector in a step
ABSURD_MOVE = 10.0  # the same, where nothing is learned at all: 0.4 moves CLIP's words by 28
LONGEST_NORM = 3.0  # lengths of an ordinary word's vector


def reach(settings: TrainingSettings, relative: float = 1.0) -> float:
    """How far all steps together can move a vector: radians for the spherical method; for the free
    one, whose steps move each element by the learning rate, lengths of an ordinary word, where
    `relative` is the length of a vector of ones beside it.
    """
    steps = range(settings.schedule.steps)
    return relative * sum(settings.schedule(step) for step in steps)


def relative_lengths(
    vectors: Mapping[str, Tensor], norms: Mapping[str, float]
) -> tuple[float, float]:
    """How long a vector of ones is beside an ordinary word, in the encoder where it is shortest and
    in that where it is longest: words differ in length, 0.4 in CLIP, 19 in Gemma 2.
    """
    found = [math.sqrt(rows.shape[-1]) / max(norms[key], 1e-12) for key, rows in vectors.items()]
    return min(found), max(found)


def check_move(
    settings: TrainingSettings, vectors: Mapping[str, Tensor], norms: Mapping[str, float]
) -> None:
    """Raise ValueError for an angle in the place of AdamW's learning rate."""
    highest, (_, relative) = settings.schedule.highest, relative_lengths(vectors, norms)
    if isinstance(settings.method, AdamWSettings) and relative * highest > ABSURD_MOVE:
        raise ValueError(
            f"The learning rate {highest:g} is too high for the method 'adamw', where it is the "
            f"rate of AdamW: each step would move the word by {relative * highest:.0f} times the "
            f"length of an ordinary one. Write 0.005 (at most {LONGEST_MOVE / relative:.2g} can "
            f"work here), or choose the method 'spherical', where {highest:g} is an angle."
        )


def settings_warnings(
    settings: TrainingSettings, vectors: Mapping[str, Tensor], norms: Mapping[str, float]
) -> list[str]:
    """Warnings that the settings alone give rise to, for vectors `[n, dim]` beside a vocabulary of
    mean norms.
    """
    highest = max(settings.schedule(step) for step in range(settings.schedule.steps))
    if isinstance(settings.method, SphericalSettings):
        slowest, relative, limit, verb, unit = 1.0, 1.0, LONGEST_TURN, "turn", "radians"
    else:
        slowest, relative = relative_lengths(vectors, norms)
        limit, verb, unit = LONGEST_MOVE, "move", "lengths of an ordinary word"
    found, farthest = [], reach(settings, slowest)
    if farthest < SHORTEST_REACH:
        found.append(
            f"These settings can {verb} the word by {farthest:.2g} {unit} at most; below about "
            f"{SHORTEST_REACH} you will not see an effect. Raise the learning rate or the steps."
        )
    if relative * highest > limit:
        found.append(
            f"The learning rate is too high: one step can {verb} the word by "
            f"{relative * highest:.2g} {unit}, and above {limit} it forgets what it has learned. "
            f"Lower the learning rate to {limit / relative:.2g} or less."
        )
    return found


def embedding_warnings(
    placeholder: str,
    vectors: Mapping[str, Tensor],
    norms: Mapping[str, float],
    history: Sequence[Validation],
) -> list[str]:
    """Warnings about what a run has learned."""
    found = [
        f"The {key} vectors are {ratio:.1f} times the norm of an ordinary word's, so the rest of a "
        f"prompt with '{placeholder}' may be ignored. Use the method 'spherical', norm_pull 0.01, "
        f"or a lower strength in Apply Embedding to CLIP."
        for key, rows in vectors.items()
        if (ratio := float(rows.norm(dim=-1).mean()) / norms[key]) > LONGEST_NORM
    ]
    best = best_of(history)
    if best.step == 0:
        found.append(
            "Nothing was learned: the validation loss did not fall. Try more steps, another init "
            "word, or another learning rate."
        )
    elif got_worse(history):
        found.append(
            f"After step {best.step} the word got worse again. Set keep to 'best', use fewer "
            f"steps, or lower the learning rate."
        )
    return found


def turned(start: Tensor, end: Tensor) -> float:
    """Mean angle in degrees between the rows of two tensors `[n, dim]`."""
    one, other = F.normalize(start.double(), dim=-1), F.normalize(end.double(), dim=-1)
    halves = ((one - other).norm(dim=-1) / 2).clamp(max=1.0)
    return math.degrees(float(2 * halves.asin().mean()))
