"""All that a run has to remember: to go on exactly where it was, and to tell what happened."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .loop import Start, StepReport
from .optimisers import at_rest
from .stopping import Validation, best_of, worse_again

Keep = Literal["best", "last", "average"]

AVERAGED = 50  # steps over which the average reaches back
MOST_ROLLBACKS = 3
SETTLED = 0.05  # of the highest learning rate
VECTORS = ("vectors", "best", "average")
ORIGIN = "origin."
HISTORIES = ("losses", "rates", "gradient_norms")


@dataclass
class RunState:
    """A run after some of its steps: vectors `[n, dim]` per encoder key (the live ones, the best
    validated ones, the average of the last ones), the method's memory, and what was measured.

    `initialiser_loss` is the validation loss of the word that training started from, the 100 %
    line; `closing_loss` and `average_loss` those of the live vectors and of the average at the end,
    which are no part of `validations`: a run that goes on is the one that never ended. `last_step`
    is where the run ends, known once its end has begun, `by_rule` because nothing more was learned;
    `trouble` says what the last rollback was for; `origin` names what it was trained on.
    """

    vectors: dict[str, Tensor]
    best: dict[str, Tensor]
    average: dict[str, Tensor]
    loss_scale: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    norms: dict[str, list[float]] = field(default_factory=dict)
    validations: list[Validation] = field(default_factory=list)
    initialiser_loss: float | None = None
    last_step: int | None = None
    by_rule: bool = False
    closing_loss: float | None = None
    average_loss: float | None = None
    rollbacks: int = 0
    trouble: str = ""
    seconds: float = 0.0
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def start(self) -> Start:
        """Where the training goes on; a rollback halves the learning rate, and the step that failed
        has used up its draws.
        """
        drawn, factor = self.step + self.rollbacks, 0.5**self.rollbacks
        return Start(self.step, drawn, self.vectors, self.memory, self.loss_scale, factor)

    @property
    def validated(self) -> bool:
        """Whether the live vectors have been validated."""
        return bool(self.validations) and self.validations[-1].step == self.step

    @property
    def history(self) -> list[Validation]:
        """The validations, with that of the end."""
        closing = [] if self.closing_loss is None else [Validation(self.step, self.closing_loss)]
        return [*self.validations, *closing]

    @property
    def settled_down(self) -> bool:
        """Whether the learning rate has fallen to nearly nothing."""
        return bool(self.rates) and self.rates[-1] <= SETTLED * max(self.rates)

    @property
    def choice(self) -> Validation:
        """The validation of the vectors that are the best: the last ones, if they have settled down
        and are not clearly worse than earlier ones; else those of the lowest loss.
        """
        history = self.history
        last = self.settled_down and not worse_again(history)
        return history[-1] if last else best_of(history)

    def advance(self, report: StepReport) -> None:
        """Take over what a step did."""
        self.vectors, self.memory = dict(report.vectors), dict(report.memory)
        self.loss_scale = report.loss_scale
        self.closing_loss = self.average_loss = None
        self.losses.append(report.loss)
        self.rates.append(report.learning_rate)
        self.gradient_norms.append(report.gradient_norm)
        for key, norm in report.norms.items():
            self.norms.setdefault(key, []).append(norm)
        self.seconds += report.seconds
        reach = min(self.step, AVERAGED)
        self.average = {
            key: rows + (self.vectors[key] - rows) / reach for key, rows in self.average.items()
        }

    def validate(self, loss: float) -> None:
        """Take over the validation loss of the live vectors."""
        if not self.validations or loss < best_of(self.validations).loss:
            self.best = copies(self.vectors)
        self.validations.append(Validation(self.step, loss))

    def cool_down(self) -> None:
        """Go back to the best vectors, at rest, to settle there."""
        self.vectors, self.average = copies(self.best), copies(self.best)
        self.memory = at_rest(self.memory)

    def roll_back(self, trouble: str) -> None:
        """Go back to the best vectors, with a method that remembers nothing of the way on which the
        run failed; they are validated already.
        """
        self.rollbacks, self.trouble = self.rollbacks + 1, trouble
        self.vectors, self.average, self.memory = copies(self.best), copies(self.best), {}
        self.closing_loss = self.average_loss = None
        if not self.validated:
            self.validations.append(Validation(self.step, best_of(self.validations).loss))

    def kept(self, keep: Keep) -> dict[str, Tensor]:
        """The vectors that the run gives; the average has the last ones' lengths, because a mean of
        directions is shorter than they are.
        """
        if keep != "average":
            earlier = keep == "best" and self.choice.step < self.step
            return copies(self.best if earlier else self.vectors)
        return {
            key: F.normalize(rows, dim=-1) * self.vectors[key].norm(dim=-1, keepdim=True)
            for key, rows in self.average.items()
        }

    def kept_loss(self, keep: Keep) -> float:
        """The validation loss of these vectors, as far as it was measured: else the last one."""
        if keep == "best":
            return self.choice.loss
        last = self.history[-1].loss
        return last if keep == "last" or self.average_loss is None else self.average_loss


def begun(vectors: Mapping[str, Tensor], loss_scale: float) -> RunState:
    """A run before its first step."""
    return RunState(copies(vectors), copies(vectors), copies(vectors), loss_scale)


def copies(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that nothing else changes."""
    return {key: rows.detach().clone() for key, rows in vectors.items()}


def packed(state: RunState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as tensors by flat names, and facts that are JSON-ready."""
    tensors = {
        f"{group}/{key}": rows
        for group in (*VECTORS, "memory")
        for key, rows in getattr(state, group).items()
    }
    tensors |= {name: doubles(getattr(state, name)) for name in HISTORIES}
    tensors |= {f"norms/{key}": doubles(values) for key, values in state.norms.items()}
    tensors["validation_steps"] = torch.tensor([one.step for one in state.validations])
    tensors["validation_losses"] = doubles([one.loss for one in state.validations])
    facts = {
        "loss_scale": state.loss_scale,
        "initialiser_loss": state.initialiser_loss,
        "last_step": state.last_step,
        "by_rule": state.by_rule,
        "closing_loss": state.closing_loss,
        "average_loss": state.average_loss,
        "rollbacks": state.rollbacks,
        "trouble": state.trouble,
        "seconds": state.seconds,
        **{f"{ORIGIN}{name}": text for name, text in state.origin.items()},
    }
    return tensors, facts


def unpacked(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], like: Mapping[str, Tensor]
) -> RunState:
    """The state that was packed, for vectors of the shapes of `like`; ValueError, with what is
    wrong, for anything that `packed` would not have made.
    """
    groups = {name: group_of(tensors, name) for name in (*VECTORS, "memory", "norms")}
    shapes = {key: tuple(rows.shape) for key, rows in like.items()}
    for name in VECTORS:
        found = {key: tuple(rows.shape) for key, rows in groups[name].items()}
        if found != shapes:
            raise ValueError(f"its {name} are {found}, not {shapes}")
    histories = {name: numbers(tensors, name) for name in HISTORIES}
    norms = {key: numbers(tensors, f"norms/{key}") for key in groups["norms"]}
    if len({len(values) for values in (*histories.values(), *norms.values())}) != 1:
        raise ValueError("its histories have different lengths")
    if histories["losses"] and norms.keys() != like.keys():
        raise ValueError(f"it has norms of {', '.join(norms)}, not of {', '.join(like)}")
    return RunState(
        vectors=groups["vectors"],
        best=groups["best"],
        average=groups["average"],
        memory=groups["memory"],
        losses=histories["losses"],
        rates=histories["rates"],
        gradient_norms=histories["gradient_norms"],
        norms=norms,
        validations=validations(tensors, len(histories["losses"])),
        loss_scale=number(facts, "loss_scale"),
        initialiser_loss=optional_number(facts, "initialiser_loss"),
        last_step=whole_number(facts, "last_step"),
        by_rule=facts.get("by_rule") is True,
        closing_loss=optional_number(facts, "closing_loss"),
        average_loss=optional_number(facts, "average_loss"),
        rollbacks=count(facts, "rollbacks"),
        trouble=str(facts.get("trouble", "")),
        seconds=number(facts, "seconds"),
        origin={
            name.removeprefix(ORIGIN): str(text)
            for name, text in facts.items()
            if name.startswith(ORIGIN)
        },
    )


def doubles(values: list[float]) -> Tensor:
    """Numbers without any rounding `[n]`."""
    return torch.tensor(values, dtype=torch.float64)


def group_of(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors `group/name` by their names; ValueError for values that are not finite."""
    found = {
        name.removeprefix(f"{group}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{group}/")
    }
    for name, value in found.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise ValueError(f"its {group} of {name} are no finite numbers")
    return found


def numbers(tensors: Mapping[str, Tensor], name: str) -> list[float]:
    """A history; ValueError if there is none of finite numbers."""
    values = tensors.get(name)
    if values is None or values.dim() != 1 or values.dtype != torch.float64:
        raise ValueError(f"it has no history of {name}")
    if not bool(values.isfinite().all()):
        raise ValueError(f"its history of {name} is not finite")
    return values.tolist()


def validations(tensors: Mapping[str, Tensor], steps: int) -> list[Validation]:
    """The validations of a run of so many steps."""
    losses, at = numbers(tensors, "validation_losses"), tensors.get("validation_steps")
    places = [] if at is None or at.dtype != torch.int64 or at.dim() != 1 else at.tolist()
    if len(places) != len(losses) or places != sorted(set(places)):
        raise ValueError("its validations do not fit together")
    if not places or places[0] != 0 or places[-1] > steps:
        raise ValueError("its validations are not those of its steps")
    return [Validation(step, loss) for step, loss in zip(places, losses, strict=True)]


def number(facts: Mapping[str, Any], name: str) -> float:
    """A fact that is a finite number, not negative."""
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its {name} is {value!r}, not a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"its {name} is {value}")
    return float(value)


def optional_number(facts: Mapping[str, Any], name: str) -> float | None:
    """A number that may not have been measured."""
    return None if facts.get(name) is None else number(facts, name)


def whole_number(facts: Mapping[str, Any], name: str) -> int | None:
    """A step that may not be known."""
    value = optional_number(facts, name)
    if value is not None and value != int(value):
        raise ValueError(f"its {name} is {value}")
    return None if value is None else int(value)


def count(facts: Mapping[str, Any], name: str) -> int:
    """A fact that counts rollbacks."""
    value = number(facts, name)
    if value != int(value) or value > MOST_ROLLBACKS + 1:
        raise ValueError(f"its {name} is {value}")
    return int(value)
