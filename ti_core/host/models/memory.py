"""What a training step takes of the device's memory, and how many weights stay there meanwhile."""

import gc
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import comfy.model_management as memory
import torch
from comfy.clip_model import CLIPLayer
from comfy.sd import CLIP

from .compatibility import end_prefetches

KIB = 2**10
# Numbers that a CLIP layer keeps for the backward pass, per token and width: what its linears,
# norms and attention are given, and four times the width between them.
NUMBERS_PER_LAYER = 18
TOKENS = 77


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

    checkpointing: bool
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
        return self.streamed * (3 if self.checkpointing else 2)


def training_plan(
    model: Any,
    clip: CLIP,
    rows: int,
    latent_shape: Sequence[int],
    room: float = 1.0,
    checkpointing: bool | None = None,
) -> Plan:
    """How a step of `rows` samples goes, with `room` times the memory that it is estimated to take;
    for `checkpointing` see `planned`. The CPU holds the weights anyway, so that they do not count.
    """
    on_cpu = memory.is_device_cpu(model.load_device)
    weights = Weights(0, 0) if on_cpu else Weights(model.model_size(), clip.patcher.model_size())
    estimated = needed(model, clip, rows, latent_shape)
    wanted = Activations(*(int(one * room) for one in estimated))
    return planned(weights, wanted, budget(model), checkpointing)


def planned(weights: Weights, needed: Activations, budget: int, checkpointing: bool | None) -> Plan:
    """What to do with `budget` bytes of a device. `checkpointing` None: only if the rest would
    not fit, because that costs less than weights that are copied in every step.
    """
    total = weights.network + weights.encoders
    again = total + needed.full > budget if checkpointing is None else checkpointing
    again = again or needed.full == needed.lean
    took = needed.lean if again else needed.full
    resident = max(0, min(total, budget - took))
    return Plan(again, took, resident, total - resident)


def needed(model: Any, clip: CLIP, rows: int, latent_shape: Sequence[int]) -> Activations:
    """Bytes that a training step needs beyond the weights; the host's own estimate is for sampling,
    which keeps no activations.
    """
    # Patches included that are not loaded yet.
    dtype = model.get_model_object("manual_cast_dtype") or model.model.get_dtype()
    kind, factor = type(model.model).__name__, model.model.memory_usage_factor
    found = activations(kind, factor, rows, latent_shape, memory.dtype_size(dtype))
    text = rows * text_activations(clip)
    return Activations(found.full + text, found.lean + text // NUMBERS_PER_LAYER)


def activations(
    kind: str, factor: float, rows: int, latent_shape: Sequence[int], size: int
) -> Activations:
    """Of `rows` latents `[c, ...]` through a model of a `kind`, computed in `size` bytes a number;
    `factor` is the host's memory_usage_factor.
    """
    pixels = rows * math.prod(latent_shape[1:])
    full, lean = RATES.get(kind) or (factor * rate for rate in PER_FACTOR)
    return Activations(int(pixels * size * full * KIB), int(pixels * size * lean * KIB))


def text_activations(clip: CLIP) -> int:
    """Bytes that a caption's way through CLIP keeps, in fp32 (core sd.py:265); other encoders are
    recomputed block by block.
    """
    layers = [m for m in clip.cond_stage_model.modules() if isinstance(m, CLIPLayer)]
    widths = sum(layer.layer_norm1.normalized_shape[0] for layer in layers)
    return 4 * TOKENS * NUMBERS_PER_LAYER * widths


def budget(model: Any) -> int:
    """Bytes of the device that training can have: what is free, and what the host would unload.
    What dynamic VRAM holds counts as free there.
    """
    device = model.load_device
    there: list[Any] = [one for one in memory.current_loaded_models if one.device == device]
    if memory.is_device_cpu(device):
        there = []
    alive = [one for one in there if one.model is not None and not one.model.is_dynamic()]
    loaded = sum(one.model_loaded_memory() for one in alive)
    free: Any = model.get_free_memory(device)
    return int(free + loaded - memory.extra_reserved_memory())


def native_dtypes(device: torch.device) -> list[torch.dtype]:
    """What the device computes in as fast as in fp32 or faster."""
    if memory.is_device_cpu(device):
        return [torch.float32, torch.bfloat16]
    halves = [
        (torch.bfloat16, memory.should_use_bf16(device)),
        (torch.float16, memory.should_use_fp16(device)),
    ]
    return [torch.float32, *(dtype for dtype, good in halves if good)]


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is no memory left, on the device or in the computer."""
    return (
        memory.is_oom(error)
        or isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
    )


def release_memory() -> None:
    """Give all memory back that the host's models take."""
    gc.collect()
    end_prefetches()
    memory.unload_all_models()
    memory.soft_empty_cache()


def reset_peak(device: torch.device) -> None:
    """Start to look for the peak of a device's memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Bytes that were allocated on a device at the peak; None where nobody counts them."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def total_memory(device: torch.device) -> int:
    """Bytes of the device's memory."""
    total: Any = memory.get_total_memory(device)
    return int(total)
