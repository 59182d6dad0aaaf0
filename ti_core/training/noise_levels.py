"""Which noise levels are trained on: distributions over a model's schedule."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shape = Literal["uniform", "logit-normal", "normal"]


@dataclass(frozen=True)
class NoiseLevels:
    """A distribution of places in a schedule, from 0 (no noise) to 1 (nothing else): uniform, or
    with a normal logit, or normal itself; of these only what lies between `start` and `end`.
    """

    shape: Shape = "uniform"
    mean: float = 0.0
    spread: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __str__(self) -> str:
        text = self.shape
        if self.shape != "uniform":
            text += f" (mean {self.mean:.2f}, spread {self.spread:.2f})"
        whole = (self.start, self.end) == (0.0, 1.0)
        return text if whole else f"{text}, {self.start:g} to {self.end:g} of the schedule"

    def below(self, places: Tensor) -> Tensor:
        """The part of the whole distribution below each place (its CDF)."""
        if self.shape == "uniform":
            return places
        values = places.logit() if self.shape == "logit-normal" else places
        return torch.special.ndtr((values - self.mean) / self.spread)

    def places(self, at_quantiles: Tensor) -> Tensor:
        """The places of these quantiles of what is drawn (inverse CDF)."""
        first, last = self.below(torch.tensor([self.start, self.end], dtype=torch.double))
        whole = first + (last - first) * at_quantiles.double()
        if self.shape == "uniform":
            return whole
        values = self.mean + self.spread * torch.special.ndtri(whole)
        return values.sigmoid() if self.shape == "logit-normal" else values

    def positions(self, at_quantiles: Tensor, count: int) -> Tensor:
        """The same as indices into a schedule of `count` noise levels."""
        return (self.places(at_quantiles) * count).long().clamp(0, count - 1)


def stratified(count: int, generator: torch.Generator) -> Tensor:
    """`count` quantiles, one in each of `count` equal strata, in random order `[count]`."""
    strata = torch.arange(count) + torch.rand(count, generator=generator)
    return (strata / count)[torch.randperm(count, generator=generator)]


def quantiles(count: int) -> Tensor:
    """`count` quantiles, at the middles of equal strata `[count]`."""
    return (torch.arange(count, dtype=torch.double) + 0.5) / count
