"""All that a run has to remember: to go on exactly where it was, and to tell what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .stopping import Validation, best_of

Keep = Literal["best", "last"]
Ended = Literal["", "steps", "rule", "user", "memory", "not finite"]

MOST_ROLLBACKS = 3
# Polynomial-decay averaging (Shamir and Zhang, arXiv 1212.1824, eta = 3): the mean looks back over
# about the last quarter of the steps, however many there were.
DECAY = 3


@dataclass
class RunState:
    """A run after some of its steps: vectors `[n, dim]` per encoder key (the live ones, their mean,
    which is the word that the run gives, and the best mean that was validated), the method's
    memory, and what was measured.

    `initialiser_loss` is the validation loss of the word that training started from, the 100 %
    line; `closing_loss` that of the mean at the end, which is no part of `validations`: a run that
    goes on is the one that never ended. `ended` says why it is at its end, and `planned` of how
    many steps that was; `trouble` says what the last rollback was for; `origin` names what it was
    trained on.
    """

    vectors: dict[str, Tensor]
    mean: dict[str, Tensor]
    best: dict[str, Tensor]
    loss_scale: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    initialiser_loss: float | None = None
    closing_loss: float | None = None
    ended: Ended = ""
    planned: int = 0
    rollbacks: int = 0
    trouble: str = ""
    seconds: float = 0.0
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def drawn(self) -> int:
        """Steps whose pictures and noise are used up: a step that failed has used its own."""
        return self.step + self.rollbacks

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied by: each rollback halves it."""
        return 0.5**self.rollbacks

    @property
    def validated(self) -> bool:
        """Whether the mean has been validated."""
        return bool(self.validations) and self.validations[-1].step == self.step

    @property
    def history(self) -> list[Validation]:
        """The validations, with that of the end."""
        closing = [] if self.closing_loss is None else [Validation(self.step, self.closing_loss)]
        return [*self.validations, *closing]

    @property
    def choice(self) -> Validation:
        """The validation of the best word."""
        return best_of(self.history)

    @property
    def share(self) -> float:
        """What the next vectors count in the mean."""
        return (DECAY + 1) / (self.step + 1 + DECAY)

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
        self.closing_loss = None
        self.losses.append(loss)
        self.rates.append(rate)

    def validate(self, loss: float) -> None:
        """Take over the validation loss of the mean."""
        if not self.validations or loss < best_of(self.validations).loss:
            self.best = copies(self.mean)
        self.validations.append(Validation(self.step, loss))

    def roll_back(self, trouble: str) -> None:
        """Go back to the best word, with a method that remembers nothing of the way on which the
        run failed; it is validated already.
        """
        self.rollbacks, self.trouble = self.rollbacks + 1, trouble
        self.vectors, self.mean = copies(self.best), copies(self.best)
        self.memory, self.closing_loss = {}, None
        if not self.validated:
            self.validations.append(Validation(self.step, best_of(self.validations).loss))

    def kept(self, keep: Keep) -> dict[str, Tensor]:
        """The vectors that the run gives."""
        earlier = keep == "best" and self.choice.step < self.step
        return copies(self.best if earlier else self.mean)

    def kept_loss(self, keep: Keep) -> float:
        """The validation loss of these vectors, as far as it was measured: else the last one."""
        return self.choice.loss if keep == "best" else self.history[-1].loss


def copies(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that nothing else changes."""
    return {key: rows.detach().clone() for key, rows in vectors.items()}
