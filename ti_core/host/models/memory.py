"""What training takes of the device's memory, and what is left of it."""

import gc
from collections.abc import Sequence
from typing import Any

import comfy.model_management as memory
import torch
from comfy.clip_model import CLIPLayer
from comfy.sd import CLIP

from .compatibility import end_prefetches
from .plan import Activations, Weights, activations

# Numbers that a CLIP layer keeps for the backward pass, per token and width: what its linears,
# norms and attention are given, and four times the width between them.
NUMBERS_PER_LAYER = 18
TOKENS = 77


def compute_dtype(model: Any) -> torch.dtype:
    """What the diffusion model will compute in, patches included that are not loaded yet."""
    return model.get_model_object("manual_cast_dtype") or model.model.get_dtype()


def needed(model: Any, clip: CLIP, rows: int, latent_shape: Sequence[int]) -> Activations:
    """Bytes that a training step needs beyond the weights; the host's own estimate is for sampling,
    which keeps no activations.
    """
    found = activations(
        type(model.model).__name__,
        model.model.memory_usage_factor,
        rows,
        latent_shape,
        memory.dtype_size(compute_dtype(model)),
    )
    text = rows * text_activations(clip)
    return Activations(found.full + text, found.lean + text // NUMBERS_PER_LAYER)


def text_activations(clip: CLIP) -> int:
    """Bytes that a caption's way through CLIP keeps, in fp32 (core sd.py:265); other encoders are
    recomputed block by block.
    """
    layers = [m for m in clip.cond_stage_model.modules() if isinstance(m, CLIPLayer)]
    widths = sum(layer.layer_norm1.normalized_shape[0] for layer in layers)
    return 4 * TOKENS * NUMBERS_PER_LAYER * widths


def weights_of(model: Any, clip: CLIP) -> Weights:
    """Bytes of weights that a device of its own has to hold; the CPU holds them anyway."""
    if memory.is_device_cpu(model.load_device):
        return Weights(0, 0)
    return Weights(model.model_size(), clip.patcher.model_size())


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
