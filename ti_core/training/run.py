"""All that a run has to remember: to go on exactly where it was, and to tell what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from .stopping import OVERSHOT, Validation, best_of, significantly_worse

Keep = Literal["best", "last"]
Ended = Literal["", "steps", "rule", "user", "memory", "not finite"]

MAX_ROLLBACKS = 3
MAX_OVERSHOOTS = 2
OVERSHOOT_FACTOR = 0.25  # of the learning rate, after each
# Polynomial-decay averaging (Shamir and Zhang, arXiv 1212.1824, eta = 3): the mean looks back over
# about the last quarter of the steps, however many there were.
DECAY = 3


@dataclass
class RunState:
    """A run after some of its steps: vectors `[n, dim]` per encoder key (the live ones, their mean,
    which is the word that the run gives, and the best mean that was validated), the method's
    memory, and what was measured.

    `initializer_loss` is the validation loss of the word that training started from, the 100 %
    line. `validations` are those of the mean in turn, of which the best and the last one know their
    samples; `closing` is that of the mean at the end, which is none of them: a run that goes on is
    the one that never ended; `closing_trouble` says why that mean could not be validated. `ended`
    says why the run is at its end, and `planned` of how many steps that was; `drawn` counts the
    steps whose images and noise are used up, those that failed among them; `trouble` says what the
    last rollback was for; `overshoots` counts how often the first steps led away from the start,
    and were taken back; `origin` names what it was trained on, and `about` what was asked for, to
    tell stored runs apart.
    """

    vectors: dict[str, Tensor]
    mean: dict[str, Tensor]
    best: dict[str, Tensor]
    loss_scale: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    closing: Validation | None = None
    closing_trouble: str = ""
    initializer_loss: float | None = None
    ended: Ended = ""
    planned: int = 0
    drawn: int = 0
    rollbacks: int = 0
    trouble: str = ""
    overshoots: int = 0
    seconds: float = 0.0
    origin: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied by: each rollback halves it, and each overshoot
        quarters it.
        """
        return 0.5**self.rollbacks * OVERSHOOT_FACTOR**self.overshoots

    @property
    def validated(self) -> bool:
        """Whether the mean has been validated."""
        return bool(self.validations) and self.validations[-1].step == self.step

    @property
    def history(self) -> list[Validation]:
        """The validations, with that of the end."""
        return [*self.validations, *([self.closing] if self.closing else [])]

    @property
    def is_significantly_worse(self) -> bool:
        """Whether the mean that was validated last is clearly worse than the best one, or no number
        comes of it.
        """
        if self.closing_trouble:
            return True
        latest, best = self.history[-1].samples, best_of(self.validations).samples
        return latest is not best and significantly_worse(latest, best)

    @property
    def has_overshot(self) -> bool:
        """Whether the steps so far have only led away from the start: no mean was better, and the
        one that was validated last is worse, so that the learning rate is too high for this start.
        """
        best = best_of(self.validations)
        return (
            best.step == 0 < self.step
            and self.overshoots < MAX_OVERSHOOTS
            and significantly_worse(self.validations[-1].samples, best.samples, OVERSHOT)
        )

    @property
    def choice(self) -> Validation:
        """The validation of the word that counts as best: the last, unless it went wrong."""
        return best_of(self.validations) if self.is_significantly_worse else self.history[-1]

    @property
    def averaging_weight(self) -> float:
        """What the next vectors count in the mean."""
        return (DECAY + 1) / (self.step + 1 + DECAY)

    def as_of(self, step: int, mean: dict[str, Tensor]) -> "RunState":
        """The run as it was after an earlier step, which had that mean, and counts as its best."""
        return replace(
            self,
            mean=mean,
            losses=self.losses[:step],
            rates=self.rates[:step],
            validations=[Validation(v.step, v.loss) for v in self.validations if v.step <= step],
            closing=None,
            closing_trouble="",
        )

    def advance(
        self,
        loss: float,
        rate: float,
        vectors: dict[str, Tensor],
        mean: dict[str, Tensor],
        memory: dict[str, Tensor],
        loss_scale: float,
    ) -> None:
        """Take over what a step did."""
        self.vectors, self.mean = vectors, mean
        self.memory, self.loss_scale = memory, loss_scale
        self.closing, self.closing_trouble = None, ""
        self.drawn += 1
        self.losses.append(loss)
        self.rates.append(rate)

    def validate(self, losses: Tensor) -> None:
        """Take over the validation losses `[n]` of the mean."""
        self.validations.append(self.measured(losses))
        if best_of(self.validations) is self.validations[-1]:
            self.best = copies(self.mean)

    def close(self, losses: Tensor) -> None:
        """Take over the validation losses `[n]` of the mean at the end."""
        self.closing = self.measured(losses)

    def measured(self, losses: Tensor) -> Validation:
        """The validation of the mean after this step, from the losses `[n]` of its samples."""
        return Validation(self.step, float(losses.mean()), losses)

    def take_back(self) -> None:
        """Go back to the start after an overshoot; it is validated already."""
        self.overshoots += 1
        self.validations.pop()
        self.go_back()

    def roll_back(self, trouble: str) -> None:
        """Go back to the best word after a step that failed."""
        self.rollbacks, self.trouble = self.rollbacks + 1, trouble
        self.go_back()

    def go_back(self) -> None:
        """Go on from the best word, with a method that remembers nothing of the way from there; it
        is validated already.
        """
        self.vectors, self.mean = copies(self.best), copies(self.best)
        self.memory, self.closing = {}, None
        best = best_of(self.validations)
        if not self.validated:
            self.validations.append(replace(best, step=self.step))
        self.validations[-1] = replace(self.validations[-1], samples=best.samples)

    def kept(self, keep: Keep) -> dict[str, Tensor]:
        """The vectors that the run gives; never those of which no number comes."""
        best = self.closing_trouble or (keep == "best" and self.is_significantly_worse)
        return copies(self.best if best else self.mean)

    def kept_loss(self, keep: Keep) -> float:
        """The validation loss of these vectors, as far as it was measured: else the last one."""
        best = keep == "best" or self.closing_trouble
        return self.choice.loss if best else self.history[-1].loss


def copies(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that nothing else changes."""
    return {key: rows.detach().clone() for key, rows in vectors.items()}
