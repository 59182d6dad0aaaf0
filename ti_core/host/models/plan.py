"""What a training step takes of a device's memory, and what of the weights stays there meanwhile:
arithmetic alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

KIB = 2**10


class Rate(NamedTuple):
    """KiB of activations per latent pixel and byte of the compute dtype: at the peak of a step that
    keeps them all, and of one whose blocks run again. Both the same: they always run again.
    """

    full: float
    lean: float


# By the host's class of model, counted on real-size networks by benchmarks/activations.py.
RATES = {
    "BaseModel": Rate(91, 24),
    "SDXL": Rate(154, 27),
    "SD3": Rate(26, 26),
    "Flux": Rate(126, 126),
    "Lumina2": Rate(91, 91),
    "QwenImage": Rate(108, 108),
}
# Of another model, by the host's estimate for sampling (memory_usage_factor), the highest ratio of
# those.
PER_FACTOR = Rate(192, 60)


class Weights(NamedTuple):
    """Bytes of the diffusion model's weights and of the text encoders'."""

    network: int
    encoders: int


class Activations(NamedTuple):
    """Bytes that a step needs beyond the weights: with everything kept, and with blocks that run
    again.
    """

    full: int
    lean: int


class Plan(NamedTuple):
    """How a step goes: whether blocks run again, bytes of activations, of weights that stay on the
    device, and of those that are copied to it in every pass.
    """

    recompute: bool
    activations: int
    resident: int
    streamed: int

    @property
    def peak(self) -> int:
        """Bytes on the device at the peak."""
        return self.resident + self.activations

    @property
    def traffic(self) -> int:
        """Bytes of weights that a step copies to the device: forward, again, and backward."""
        return self.streamed * (3 if self.recompute else 2)


def activations(
    kind: str, factor: float, rows: int, latent_shape: Sequence[int], size: int
) -> Activations:
    """Of `rows` latents `[c, ...]` through a model of a `kind`, computed in `size` bytes a number;
    `factor` is the host's memory_usage_factor.
    """
    pixels = rows * math.prod(latent_shape[1:])
    full, lean = RATES.get(kind) or (factor * rate for rate in PER_FACTOR)
    return Activations(int(pixels * size * full * KIB), int(pixels * size * lean * KIB))


def planned(weights: Weights, needed: Activations, budget: int, recompute: bool | None) -> Plan:
    """What to do with `budget` bytes of a device. `recompute` None: only if the rest would not fit,
    because that costs less than weights that are copied in every step.
    """
    total = weights.network + weights.encoders
    again = total + needed.full > budget if recompute is None else recompute
    again = again or needed.full == needed.lean
    took = needed.lean if again else needed.full
    resident = max(0, min(total, budget - took))
    return Plan(again, took, resident, total - resident)
