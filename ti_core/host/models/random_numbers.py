"""Random numbers that patches draw of torch itself: the run's own, and the same when a block is
computed again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_management import get_torch_device
from torch import Tensor


def generators() -> list[Any]:
    """The modules of torch's own generators: the CPU's, and that of the device in use."""
    device = getattr(torch, get_torch_device().type, None)
    return [torch.random, *([device] if hasattr(device, "get_rng_state") else [])]


def generator_states() -> list[Tensor]:
    """Where torch's own generators stand."""
    return [source.get_rng_state() for source in generators()]


@contextmanager
def drawing_from(start: int | list[Tensor]) -> Iterator[None]:
    """Draw from a seed, or on from some states, inside the block; torch's own generators are
    afterwards as they were.
    """
    used = generators()  # Asked for once: a Cancel can come out of any question to ComfyUI.
    before = [one.get_rng_state() for one in used]
    try:
        if isinstance(start, int):
            torch.manual_seed(start)
        else:
            set_states(used, start)
        yield
    finally:
        set_states(used, before)


def set_states(used: list[Any], states: list[Tensor]) -> None:
    """Set generators to some states."""
    for one, state in zip(used, states, strict=True):
        one.set_rng_state(state)
