"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from operator import mul
from typing import Literal

from ..quoted import quoted

Shape = Literal["inverse sqrt", "constant", "cosine", "linear", "cool-down"]
SIGNS = str.maketrans("\uff0c\u3001\uff1a", ",,:")
ENDLESS = ("inverse sqrt", "constant")  # Their rates do not depend on the number of steps.
FALLS_FROM = 10  # steps, after which a falling rate is 0.7 of the first; 5 did worse on toyworld
TO_THE_END = -1  # as a step, in AUTOMATIC1111
COOLED = 0.5  # of the steps, at the end
EXAMPLES = "0.4 or 0.4:100 with the method 'spherical', 0.005 or 0.005:100 with 'adamw'"


@dataclass(frozen=True)
class Schedule:
    """Learning rate over `steps` optimizer steps: piecewise constant `pieces` (rate, exclusive
    upper step or None), times a shape, after a linear warm-up.
    """

    pieces: tuple[tuple[float, int | None], ...]
    steps: int
    shape: Shape = "constant"
    warmup: int = 0

    def __call__(self, step: int) -> float:
        """Learning rate of the 0-based optimizer step."""
        return (
            piecewise(self.pieces, step)
            * warm_up(step, self.warmup)
            * decay(self.shape, step - self.warmup, self.steps - self.warmup)
        )

    @property
    def highest(self) -> float:
        """The highest learning rate that was written for any of the steps."""
        starts = [0, *(until or 0 for _, until in self.pieces)]
        known = zip(self.pieces, starts, strict=False)
        return max(rate for (rate, _), start in known if start < self.steps)

    @property
    def usual(self) -> float:
        """The learning rates that were written, on average over the steps."""
        ends = [min(until or self.steps, self.steps) for _, until in self.pieces]
        lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        rates = [rate for rate, _ in self.pieces]
        return sum(map(mul, rates, lengths)) / self.steps

    @property
    def length(self) -> int | None:
        """The number of steps, where the learning rates depend on it."""
        return None if self.shape in ENDLESS else self.steps


def schedule(
    learning_rate: str, steps: int, shape: Shape | Literal["auto"] = "constant", warmup: int = 0
) -> Schedule:
    """Build a schedule from widget values, or raise ValueError naming the value and the remedy.
    'auto' lets a single rate fall, and takes a list as it is.
    """
    pieces = parse_learning_rate(learning_rate, steps)
    if shape == "auto":
        shape = "constant" if len(pieces) > 1 else "inverse sqrt"
    if len(pieces) > 1 and shape != "constant":
        raise ValueError(
            f"The learning rate {learning_rate!r} is a list, which is already a schedule. Set "
            f"schedule to 'auto', or give a single rate for '{shape}'."
        )
    if warmup >= steps:
        raise ValueError(
            f"The warm-up ({warmup}) must be shorter than the training (steps: {steps}). Lower "
            f"warmup, or raise steps."
        )
    return Schedule(pieces, steps, shape, warmup)


def parse_learning_rate(text: str, steps: int) -> tuple[tuple[float, int | None], ...]:
    """Read a single rate, or the list syntax of AUTOMATIC1111: `0.005:100, 1e-3:1000, 1e-5` is
    0.005 up to step 100, 1e-3 up to 1000, then 1e-5. As there, nothing between two commas says
    nothing, and step -1 is the end. Commas and colons may be East Asian ones.

    Where that tool would silently drop the rest of a list or stop the training early, this raises
    ValueError.
    """
    entries = [entry.strip() for entry in text.translate(SIGNS).split(",") if entry.strip()]
    if not entries:
        raise ValueError(
            f"The learning rate {quoted(text)} is empty. Write RATE or RATE:STEP, for example "
            f"{EXAMPLES}."
        )
    pieces = tuple(parse_piece(entry, text) for entry in entries)
    bounds = [until for _, until in pieces]
    if None in bounds[:-1]:
        early = entries[bounds.index(None)]
        raise ValueError(
            f"In the learning rate {text!r}, the entry {early!r} has no step, so the entries after "
            f"it would never be used. Write {early.split(':')[0]}:STEP, or move it to the end."
        )
    reached = [until for until in bounds if until is not None]
    if reached != sorted(set(reached)):
        raise ValueError(
            f"In the learning rate {text!r}, the steps {reached} must increase from entry to entry."
        )
    if bounds[-1] is not None and bounds[-1] < steps:
        raise ValueError(
            f"The learning rate {text!r} ends at step {bounds[-1]}, but the training has {steps} "
            f"steps. "
            f"Add a last rate without a step (for example ', {entries[-1].split(':')[0]}'), or set "
            f"steps to {bounds[-1]}."
        )
    return pieces


def parse_piece(entry: str, text: str) -> tuple[float, int | None]:
    """Read `RATE` or `RATE:STEP`."""
    rate_text, colon, until_text = entry.partition(":")
    try:
        rate = float(rate_text)
        until = int(until_text) if colon else TO_THE_END
    except ValueError:
        raise ValueError(
            f"In the learning rate {text!r}, the entry {entry!r} is not RATE or RATE:STEP, for "
            f"example {EXAMPLES}."
        ) from None
    if not (math.isfinite(rate) and rate > 0):
        comma = " Commas separate rates: write a decimal point (0.4)."
        raise ValueError(
            f"The learning rate {rate_text.strip()} in {text!r} must be a positive number."
            + comma * (rate == 0 and "," in text.translate(SIGNS))
        )
    if until == TO_THE_END:
        return rate, None
    if until < 1:
        raise ValueError(
            f"The step {until} in the learning rate {text!r} must be 1 or more. For 'to the end', "
            f"remove ':{until}'."
        )
    return rate, until


def piecewise(pieces: tuple[tuple[float, int | None], ...], step: int) -> float:
    """Rate of the first piece whose exclusive bound lies above `step`."""
    return next((rate for rate, until in pieces if until is None or step < until), pieces[-1][0])


def warm_up(step: int, warmup: int) -> float:
    """Linear factor that reaches 1 at step `warmup`."""
    return min(1.0, (step + 1) / (warmup + 1))


def decay(shape: Shape, step: int, steps: int) -> float:
    """Factor that falls from 1: by the root of the steps ("inverse sqrt"), or towards 0 over
    `steps`, by the half cosine, by the line, or by a line over the last part alone ("cool-down").
    """
    if shape == "inverse sqrt":
        return (1.0 + max(step, 0) / FALLS_FROM) ** -0.5
    progress = min(max(step / steps, 0.0), 1.0)
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if shape == "cool-down":
        return min(1.0, (1.0 - progress) / COOLED)
    return 1.0 - progress if shape == "linear" else 1.0
