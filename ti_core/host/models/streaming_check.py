"""Whether the gradient through a block whose weights are fetched is the one through weights that
stay.
"""

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import comfy.ops as ops
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .gradients import blocks, checkpointed
from .streamed_weights import is_affine, may_stream, private_casts, uses_parameter_directly

log = logging.getLogger(__name__)

SAME = 0.02  # Of the gradient's norm; the operations are the same, so that only rounding differs.


class GradientProbe:
    """Stands in for a block's forward, and remembers what the block is given if it is the first of
    those that share `reached` through which a gradient goes.
    """

    def __init__(self, name: str, block: nn.Module, reached: list["GradientProbe"]):
        self.name, self.block, self.reached = name, block, reached
        self.forward: Callable[..., Any] = block.forward
        self.given: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.reached and torch.is_grad_enabled() and grad_tensors((args, kwargs)):
            self.given = tree_map(copy_of, (args, kwargs))
            self.reached.append(self)
        return self.forward(*args, **kwargs)

    def gradients(self, forward: Callable[..., Any]) -> list[Tensor | None]:
        """Of half the squared output, for the tensors that the block was given."""
        args, kwargs = tree_map(copy_of, self.given)
        outputs = grad_tensors(forward(*args, **kwargs))
        ahead = [one.detach() for one in outputs]
        inputs = grad_tensors((args, kwargs))
        return list(torch.autograd.grad(outputs, inputs, ahead, allow_unused=True))

    def check(self, streaming: AbstractContextManager[None], in_place: bool) -> None:
        """Raise RuntimeError if the gradients differ; inside of `streaming` weights are fetched."""
        with streaming:
            found = self.gradients(self.block.forward)
        try:
            with private_casts():  # Of every weight a copy, which stays.
                kept = self.gradients(checkpointed(self.block.forward, in_place))
        except RuntimeError as error:  # No memory for the copies, or a kernel without a backward.
            log.info("The gradient of %s through weights that stay: %s", self.name, error)
            return
        pairs = [(one, other) for one, other in zip(found, kept, strict=True) if other is not None]
        off = max((distance(one, other) for one, other in pairs), default=0.0)
        if not off <= SAME:
            raise RuntimeError(
                f"The gradient through {self.name} ({type(self.block).__name__}) is not the same "
                f"when its weights are copied to the device for each use as when they stay there "
                f"(it is off by {off:.0%}), so training would go wrong. Load the model with one of "
                f"ComfyUI's own loader nodes, or set another dtype, and please report this with "
                f"the model's name."
            )


def distance(one: Tensor | None, other: Tensor) -> float:
    """How far a gradient is off, as a part of the other's norm."""
    if one is None:
        return math.inf
    norm = float(other.double().norm())
    off = float((one.double() - other.double()).norm())
    return off / norm if norm else off


def copy_of(value: Any) -> Any:
    """A leaf like the given tensor; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def grad_tensors(values: Any) -> list[Tensor]:
    """The tensors of nested values that gradients flow through."""
    return [one for one in tree_leaves(values) if isinstance(one, Tensor) and one.requires_grad]


def gradient_probes(network: nn.Module, dtype: torch.dtype) -> list[GradientProbe]:
    """For all blocks of a network whose weights are fetched."""
    names = {id(block): name for name, block in network.named_modules()}
    reached: list[GradientProbe] = []
    return [
        GradientProbe(names[id(block)], block, reached)
        for block in blocks(network)
        if any(is_streamed(module, dtype) for module in block.modules())
    ]


def is_streamed(module: Any, dtype: torch.dtype) -> bool:
    """Whether this linear's or convolution's weight is fetched for a computation in `dtype`, and
    the host itself knows a gradient (its fast linear for fp8 has none).
    """
    held = getattr(module, "weight", None) is not None
    known = held and is_affine(module) and not isinstance(module, ops.fp8_ops.Linear)
    return known and may_stream(module) and not uses_parameter_directly(module, dtype)
