"""How the vectors move: on the sphere at the vocabulary's norm (spherical), or freely (AdamW)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

ADAM_MEMORY = ("step", "exp_avg", "exp_avg_sq")
MOMENTUM_MEMORY = ("step", "exp_avg")
MOMENTUM = 0.9  # of the spherical method; not measured against other values


@dataclass(frozen=True)
class SphericalSettings:
    """Fixed norm, steps on the sphere; `prior` is kappa, the pull of the von Mises-Fisher prior
    towards the initializer (DTI, arXiv 2512.13672).
    """

    prior: float = 1e-4


@dataclass(frozen=True)
class AdamWSettings:
    """AdamW on the raw vectors without weight decay; `norm_pull` draws their norm towards the
    vocabulary's by that fraction each step; `gradient_clip` bounds the gradient's norm (0 = off).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    norm_pull: float = 0.0
    gradient_clip: float = 1.0


METHODS = {"spherical": SphericalSettings, "adamw": AdamWSettings}


class Optimizer(Protocol):
    """Owns the live vectors: fp32 leaves `[n, dim]` per encoder key."""

    vectors: dict[str, Tensor]

    def step(self, learning_rate: float) -> None:
        """Move the vectors against their gradients."""
        ...

    def mean(self, earlier: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
        """The mean of earlier vectors with the live ones, which count `weight` of it."""
        ...

    def memory(self) -> dict[str, Tensor]:
        """Copies of all that the method remembers of earlier steps, by name."""
        ...

    def restore(self, vectors: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
        """Go on from the vectors and the memory of another run; without memory, from the vectors
        alone. Raises ValueError for what is not this method's.
        """
        ...


class Spherical:
    """Momentum over the directions of the gradients (Cutkosky and Mehta, arXiv 2002.03305) on the
    sphere whose radius is the vocabulary's mean norm. The gradient's size does not count, because a
    few samples have gradients many times as long as the others', and teach no more than they.

    The learning rate is an angle in radians: that of a step when all recent gradients agree. They
    hardly do, so that a step usually turns by a third of it.
    """

    def __init__(
        self, settings: SphericalSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.prior = settings.prior
        self.norms = norms
        self.initial = {key: F.normalize(rows.float(), dim=-1) for key, rows in initial.items()}
        self.vectors = {key: leaf(self.on_sphere(key, rows)) for key, rows in self.initial.items()}
        self.restore(self.vectors, {})

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for key, rows in self.vectors.items():
            assert rows.grad is not None  # The loop has checked it.
            gradient = self.norms[key] * rows.grad - self.prior * self.initial[key]
            remembered, count = self.remembered[f"{key}.exp_avg"], self.remembered[f"{key}.step"]
            has_gradient = rows.grad.any(
                dim=-1, keepdim=True
            )  # The prior alone gives no direction.
            turned = heading(gradient, F.normalize(rows, dim=-1)) * has_gradient
            remembered.lerp_(turned, 1 - MOMENTUM)
            count += 1
            turn = learning_rate * remembered / (1 - MOMENTUM**count)
            rows.copy_(self.on_sphere(key, rows / self.norms[key] - turn))

    def mean(self, earlier: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
        between = interpolated(earlier, self.vectors, weight)
        return {key: self.on_sphere(key, rows) for key, rows in between.items()}

    def on_sphere(self, key: str, rows: Tensor) -> Tensor:
        """Rows `[n, d]` at the vocabulary's norm."""
        return self.norms[key] * F.normalize(rows, dim=-1)

    def memory(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.remembered.items()}

    def restore(self, vectors: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
        overwrite(self.vectors, vectors)
        blank = memory_like(self.vectors, MOMENTUM_MEMORY)
        if memory:
            check_memory(memory, blank)
        self.remembered = {name: value.clone() for name, value in (memory or blank).items()}


class AdamW:
    """AdamW on the raw vectors, without weight decay."""

    def __init__(
        self, settings: AdamWSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.settings = settings
        self.norms = norms
        self.vectors = {key: leaf(rows) for key, rows in initial.items()}
        self.adam = torch.optim.AdamW(
            self.vectors.values(), betas=(settings.beta1, settings.beta2), weight_decay=0.0
        )

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        if self.settings.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(list(self.vectors.values()), self.settings.gradient_clip)
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()
        for key, rows in self.vectors.items():
            rows.mul_(pull(rows, self.norms[key], self.settings.norm_pull))

    def mean(self, earlier: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
        return interpolated(earlier, self.vectors, weight)

    def memory(self) -> dict[str, Tensor]:
        return {
            f"{key}.{name}": value.clone()
            for key, rows in self.vectors.items()
            for name, value in self.adam.state[rows].items()
        }

    def restore(self, vectors: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
        self.adam.state.clear()
        overwrite(self.vectors, vectors)
        if not memory:
            return
        check_memory(memory, memory_like(self.vectors, ADAM_MEMORY))
        for key, rows in self.vectors.items():
            self.adam.state[rows] = {name: memory[f"{key}.{name}"].clone() for name in ADAM_MEMORY}


def make_optimizer(
    settings: SphericalSettings | AdamWSettings,
    initial: Mapping[str, Tensor],
    norms: Mapping[str, float],
) -> Optimizer:
    """The method that `settings` belongs to, started at `initial` `[n, dim]`; `norms` is the
    vocabulary's mean norm per encoder key.
    """
    return (
        Spherical(settings, initial, norms)
        if isinstance(settings, SphericalSettings)
        else AdamW(settings, initial, norms)
    )


def heading(gradient: Tensor, direction: Tensor) -> Tensor:
    """Where gradients `[n, d]` point along the sphere at unit vectors `[n, d]`: of length 1, but
    for what is rounding beside the whole gradient.
    """
    along = gradient - (gradient * direction).sum(-1, keepdim=True) * direction
    rounding = 1e-4 * gradient.norm(dim=-1, keepdim=True)
    return along / along.norm(dim=-1, keepdim=True).maximum(rounding).clamp_min(1e-15)


def pull(rows: Tensor, norm: float, fraction: float) -> Tensor:
    """Factor `[n, 1]` that draws the norms of `rows` by `fraction` towards `norm`."""
    return 1.0 + fraction * (norm / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) - 1.0)


@torch.no_grad()
def interpolated(
    earlier: Mapping[str, Tensor], vectors: Mapping[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Earlier vectors `[n, dim]` with a share of others."""
    return {key: earlier[key].lerp(rows, weight) for key, rows in vectors.items()}


def memory_like(vectors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The memory of a method before its first step: a number of steps, and zeros `[n, dim]`."""
    return {
        f"{key}.{name}": torch.zeros(()) if name == "step" else torch.zeros_like(rows)
        for key, rows in vectors.items()
        for name in names
    }


def leaf(rows: Tensor) -> Tensor:
    """A trainable fp32 copy on the CPU."""
    return rows.detach().to("cpu", torch.float32, copy=True).requires_grad_()


@torch.no_grad()
def overwrite(vectors: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    """Give live vectors `[n, dim]` the values of others."""
    check_memory(others, vectors)
    for key, rows in vectors.items():
        rows.copy_(others[key])


def check_memory(memory: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless there is a tensor of the same shape for each of `like`."""
    found, wanted = ({k: tuple(v.shape) for k, v in one.items()} for one in (memory, like))
    if found != wanted:
        raise ValueError(
            f"The stored run holds {found}, but its method needs {wanted}. Set resume "
            f"to 'start over'."
        )
