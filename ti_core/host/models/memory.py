"""What training takes of the device's memory, and what is left of it."""

import gc
import math
from collections.abc import Sequence
from typing import Any

import comfy.model_management as memory
import torch
from comfy.clip_model import CLIPLayer
from comfy.sd import CLIP

from .compatibility import end_prefetches

# Activations per latent pixel and byte of the compute dtype: an SD 1.5 UNet at 512 px, where the
# host's memory_usage_factor is 1, adds 2.2 GB in fp32 and 1.2 GB in bf16, CLIP included
# (benchmarks/results/speed-cpu.md). Checkpointing keeps a third of that.
ACTIVATION_BYTES = 0.1 * 2**20
CHECKPOINTED_SHARE = 0.4


def compute_dtype(model: Any) -> torch.dtype:
    """What the diffusion model will compute in, patches included that are not loaded yet."""
    return model.get_model_object("manual_cast_dtype") or model.model.get_dtype()


def memory_estimate(model: Any, clip: CLIP, rows: int, latent_shape: Sequence[int]) -> int:
    """Bytes that a training step needs beyond the weights, without checkpointing; the host's own
    estimate is for sampling, which keeps no activations.
    """
    area = rows * math.prod(latent_shape[1:])
    size = memory.dtype_size(compute_dtype(model))
    activations = area * size * ACTIVATION_BYTES * model.model.memory_usage_factor
    return int(activations) + cast_bytes(clip)


def cast_bytes(clip: CLIP) -> int:
    """What autograd keeps of the CLIP layers' weights, which the host casts to fp32 (sd.py:265);
    other encoders are checkpointed block by block.
    """
    layers = [m for m in clip.cond_stage_model.modules() if isinstance(m, CLIPLayer)]
    cast = [w for m in layers for w in m.parameters() if w.dtype != torch.float32]
    return sum(4 * weight.numel() for weight in cast)


def free_memory(device: torch.device) -> int:
    """Free bytes on the device."""
    free: Any = memory.get_free_memory(device)
    return int(free)


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
