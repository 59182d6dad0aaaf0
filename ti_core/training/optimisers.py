"""How the vectors move: on the sphere at the vocabulary's norm (spherical), or freely (AdamW)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

ADAM_MEMORY = ("step", "exp_avg", "exp_avg_sq")
# Some hundred steps are too few for a longer memory; not measured against other values.
SPHERICAL_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class SphericalSettings:
    """Fixed norm, Adam on the sphere; `prior` is kappa, the pull of the von Mises-Fisher prior
    towards the initialiser (DTI, arXiv 2512.13672).
    """

    prior: float = 1e-4


@dataclass(frozen=True)
class FreeSettings:
    """AdamW on the raw vectors without weight decay; `norm_pull` draws their norm towards the
    vocabulary's by that fraction each step; `gradient_clip` bounds the gradient's norm (0 = off).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    norm_pull: float = 0.0
    gradient_clip: float = 1.0


class Method(Protocol):
    """Owns the live vectors: fp32 leaves `[n, dim]` per encoder key."""

    vectors: dict[str, Tensor]

    def step(self, learning_rate: float) -> None:
        """Move the vectors against their gradients."""
        ...

    def memory(self) -> dict[str, Tensor]:
        """Copies of all that the method remembers of earlier steps, by name."""
        ...

    def restore(self, vectors: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
        """Go on from the vectors and the memory of another run; without memory, from the vectors
        alone. Raises ValueError for what is not this method's.
        """
        ...


class Adam:
    """What the methods share: the live vectors and torch's AdamW on them, without weight decay."""

    def __init__(
        self,
        initial: Mapping[str, Tensor],
        norms: Mapping[str, float],
        betas: tuple[float, float],
        eps: float = 1e-8,
    ):
        self.norms = norms
        self.vectors = {key: leaf(rows) for key, rows in initial.items()}
        groups = [{"params": [rows]} for rows in self.vectors.values()]
        self.adam = torch.optim.AdamW(groups, betas=betas, eps=eps, weight_decay=0.0)

    def move(self, rates: Iterable[float]) -> None:
        """A step of Adam with a learning rate for each encoder key."""
        for group, rate in zip(self.adam.param_groups, rates, strict=True):
            group["lr"] = rate
        self.adam.step()

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
        shapes = {"step": torch.zeros(())}
        check_memory(
            memory,
            {
                f"{key}.{name}": shapes.get(name, rows)
                for key, rows in self.vectors.items()
                for name in ADAM_MEMORY
            },
        )
        for key, rows in self.vectors.items():
            self.adam.state[rows] = {name: memory[f"{key}.{name}"].clone() for name in ADAM_MEMORY}


class Spherical(Adam):
    """Adam on the sphere whose radius is the vocabulary's mean norm: it sees the gradient along the
    sphere alone, and each step ends on the sphere.

    The learning rate is an angle in radians: that of a step when all recent gradients agree. They
    hardly do, so that a step usually turns by a third of it.
    """

    def __init__(
        self, settings: SphericalSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.prior = settings.prior
        self.mean = {key: F.normalize(rows.float(), dim=-1) for key, rows in initial.items()}
        start = {key: direction * norms[key] for key, direction in self.mean.items()}
        super().__init__(start, norms, SPHERICAL_BETAS, eps=1e-15)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for key, rows in self.vectors.items():
            assert rows.grad is not None  # The loop has checked it.
            gradient = self.norms[key] * rows.grad - self.prior * self.mean[key]
            rows.grad.copy_(tangent(gradient, F.normalize(rows, dim=-1)))
        self.move(
            learning_rate * self.norms[key] / math.sqrt(rows.shape[-1])
            for key, rows in self.vectors.items()
        )
        for key, rows in self.vectors.items():
            rows.copy_(self.norms[key] * F.normalize(rows, dim=-1))


class Free(Adam):
    """AdamW on the raw vectors."""

    def __init__(
        self, settings: FreeSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.settings = settings
        super().__init__(initial, norms, (settings.beta1, settings.beta2))

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        if self.settings.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(list(self.vectors.values()), self.settings.gradient_clip)
        self.move([learning_rate] * len(self.vectors))
        for key, rows in self.vectors.items():
            rows.mul_(pull(rows, self.norms[key], self.settings.norm_pull))


def begin_method(
    settings: SphericalSettings | FreeSettings,
    initial: Mapping[str, Tensor],
    norms: Mapping[str, float],
) -> Method:
    """The method that `settings` belongs to, started at `initial` `[n, dim]`; `norms` is the
    vocabulary's mean norm per encoder key.
    """
    return (
        Spherical(settings, initial, norms)
        if isinstance(settings, SphericalSettings)
        else Free(settings, initial, norms)
    )


def tangent(rows: Tensor, direction: Tensor) -> Tensor:
    """The part of `rows` `[n, d]` that is orthogonal to unit vectors `[n, d]`."""
    return rows - (rows * direction).sum(-1, keepdim=True) * direction


def pull(rows: Tensor, norm: float, fraction: float) -> Tensor:
    """Factor `[n, 1]` that draws the norms of `rows` by `fraction` towards `norm`."""
    return 1.0 + fraction * (norm / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) - 1.0)


def at_rest(memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a method remembers of earlier steps, without the direction that it was moving in."""
    return {
        name: torch.zeros_like(value) if name.endswith(".exp_avg") else value.clone()
        for name, value in memory.items()
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
