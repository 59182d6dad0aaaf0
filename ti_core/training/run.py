"""All that a run has to remember: to go on exactly where it was, and to tell what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
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
NOTHING = torch.zeros(0, dtype=torch.float64)


@dataclass
class RunState:
    """A run after some of its steps: vectors `[n, dim]` per encoder key (the live ones, their mean,
    which is the word that the run gives, and the best mean that was validated), the method's
    memory, and what was measured.

    `initializer_loss` is the validation loss of the word that training started from, the 100 %
    line. `best_losses` and `last_losses` `[n]` are those of the validation's samples, of the best
    mean and of the one validated last; `closing_losses` of the mean at the end, which are no part
    of `validations`: a run that goes on is the one that never ended; `closing_trouble` says why
    that mean could not be validated. `ended` says why the run is at its end, and `planned` of how
    many steps that was; `drawn` counts the steps whose images and noise are used up, those that
    failed among them; `trouble` says what the last rollback was for; `overshoots` counts how often
    the first steps led away from the start, and were taken back; `origin` names what it was
    trained on, and `about` what was asked for, to tell stored runs apart.
    """

    vectors: dict[str, Tensor]
    mean: dict[str, Tensor]
    best: dict[str, Tensor]
    loss_scale: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    best_losses: Tensor = NOTHING
    last_losses: Tensor = NOTHING
    closing_losses: Tensor = NOTHING
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
        if not self.closed:
            return self.validations
        return [*self.validations, Validation(self.step, float(self.closing_losses.mean()))]

    @property
    def closed(self) -> bool:
        """Whether the mean at the end has been validated, if not in its turn."""
        return len(self.closing_losses) > 0

    @property
    def is_significantly_worse(self) -> bool:
        """Whether the mean that was validated last is clearly worse than the best one, or no number
        comes of it.
        """
        if self.closing_trouble:
            return True
        latest = self.closing_losses if self.closed else self.last_losses
        return significantly_worse(latest, self.best_losses)

    @property
    def has_overshot(self) -> bool:
        """Whether the steps so far have only led away from the start: no mean was better, and the
        one that was validated last is worse, so that the learning rate is too high for this start.
        """
        return (
            self.step > 0
            and self.overshoots < MAX_OVERSHOOTS
            and best_of(self.validations).step == 0
            and significantly_worse(self.last_losses, self.best_losses, OVERSHOT)
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
        """The run as it was after an earlier step, which had that mean."""
        return replace(
            self,
            mean=mean,
            losses=self.losses[:step],
            rates=self.rates[:step],
            validations=[one for one in self.validations if one.step <= step],
            last_losses=self.best_losses,
            closing_losses=NOTHING,
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
        self.closing_losses, self.closing_trouble = NOTHING, ""
        self.drawn += 1
        self.losses.append(loss)
        self.rates.append(rate)

    def validate(self, losses: Tensor) -> None:
        """Take over the validation losses `[n]` of the mean."""
        loss = float(losses.mean())
        if not self.validations or loss < best_of(self.validations).loss:
            self.best, self.best_losses = copies(self.mean), losses
        self.validations.append(Validation(self.step, loss))
        self.last_losses = losses

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
        self.memory, self.closing_losses = {}, NOTHING
        if not self.validated:
            self.validations.append(Validation(self.step, best_of(self.validations).loss))
        self.last_losses = self.best_losses

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
