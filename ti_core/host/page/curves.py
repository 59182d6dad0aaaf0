"""The curves of a run, in as many points as a page can show."""

from collections.abc import Sequence

from ...training.report import explained
from ...training.run import RunState
from ...training.stopping import Validation


def gained(state: RunState, loss: float) -> float:
    """Per cent of the initializer's validation loss that is gone."""
    return explained(state.initializer_loss or state.validations[0].loss, loss)


def shares(state: RunState, validations: Sequence[Validation], most: int) -> list[list[float]]:
    """Steps, and the per cent of the initializer's validation loss that is gone there; of more than
    so many, some.
    """
    some = downsampled(validations, most)
    return [[one.step, rounded(gained(state, one.loss))] for one in some]


def downsampled(values: Sequence[Validation], most: int) -> list[Validation]:
    """At most so many of the values, evenly, with the last one."""
    size = -(-len(values) // most) or 1
    return list(values[::-1][::size])[::-1]


def downsampled_means(values: Sequence[float], most: int) -> list[list[float]]:
    """The means of at most so many stretches of a series, each with the number of its last value;
    all but the last are equally long.
    """
    size = -(-len(values) // most) or 1
    parts = (values[start : start + size] for start in range(0, len(values), size))
    ends = (min(end, len(values)) for end in range(size, len(values) + size, size))
    return [[end, rounded(sum(part) / len(part))] for end, part in zip(ends, parts, strict=True)]


def rounded(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")
