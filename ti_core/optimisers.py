"""How the vectors move: on the sphere at the vocabulary's norm (spherical), or freely (AdamW)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

ADAM_MEMORY = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class SphericalSettings:
    """Fixed norm, Riemannian SGD; `prior` is kappa, the pull of the von Mises-Fisher prior towards
    the initialiser (DTI, arXiv 2512.13672).
    """

    prior: float = 1e-4


@dataclass(frozen=True)
class FreeSettings:
    """AdamW on the raw vectors without weight decay; `norm_pull` draws their norm towards the
    vocabulary's by that fraction each step; `clip` bounds the gradient's norm (0 = off).
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


class Spherical:
    """Riemannian SGD on the sphere whose radius is the vocabulary's mean norm; the learning rate is
    an angle in radians.
    """

    def __init__(
        self, settings: SphericalSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.prior = settings.prior
        self.norms = norms
        self.mean = {key: F.normalize(rows.float(), dim=-1) for key, rows in initial.items()}
        self.vectors = {key: leaf(direction * norms[key]) for key, direction in self.mean.items()}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for key, rows in self.vectors.items():
            norm, direction = self.norms[key], F.normalize(rows, dim=-1)
            assert rows.grad is not None  # The loop has checked it.
            gradient = norm * rows.grad - self.prior * self.mean[key]
            rows.copy_(norm * spherical_step(direction, gradient, learning_rate))

    def memory(self) -> dict[str, Tensor]:
        return {}

    def restore(self, vectors: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> None:
        check_memory(memory, {})
        overwrite(self.vectors, vectors)


class Free:
    """AdamW without weight decay on the raw vectors."""

    def __init__(
        self, settings: FreeSettings, initial: Mapping[str, Tensor], norms: Mapping[str, float]
    ):
        self.settings = settings
        self.norms = norms
        self.vectors = {key: leaf(rows) for key, rows in initial.items()}
        self.adam = torch.optim.AdamW(
            self.vectors.values(), betas=(settings.beta1, settings.beta2), weight_decay=0.0
        )

    def step(self, learning_rate: float) -> None:
        if self.settings.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(list(self.vectors.values()), self.settings.gradient_clip)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        with torch.no_grad():
            for key, rows in self.vectors.items():
                rows.mul_(pull(rows, self.norms[key], self.settings.norm_pull))

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


def method(
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


def spherical_step(direction: Tensor, gradient: Tensor, radians: float) -> Tensor:
    """Move unit vectors `[n, d]` along the sphere, `radians` against the tangent part of `gradient`
    `[n, d]` (DTI, arXiv 2512.13672, eq. 8).
    """
    tangent = gradient - (gradient * direction).sum(-1, keepdim=True) * direction
    return F.normalize(direction - radians * F.normalize(tangent, dim=-1, eps=1e-30), dim=-1)


def pull(rows: Tensor, norm: float, fraction: float) -> Tensor:
    """Factor `[n, 1]` that draws the norms of `rows` by `fraction` towards `norm`."""
    return 1.0 + fraction * (norm / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) - 1.0)


def gradient_norm(vectors: Iterable[Tensor]) -> float:
    """Norm of all gradients together."""
    return float(
        torch.stack([rows.grad.norm() for rows in vectors if rows.grad is not None]).norm()
    )


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
        raise ValueError(f"The run holds {found}, but its method needs {wanted}.")
