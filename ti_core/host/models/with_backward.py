"""Run the host's models so that all they compute can be differentiated."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._library.custom_ops import OPDEFS
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .compatibility import plain_kernel

OPERATORS = (OpOverloadPacket, OpOverload)  # what stands under torch.ops
TORCH_NAMESPACES = ("aten", "prim", "prims")


class with_backward(TorchFunctionMode):  # noqa: N801 - reads like torch.no_grad
    """Give a backward pass to what the host's models call without one, for the length of a block.

    Inference tensors, such as the weights of a hypernetwork, are taken as normal ones, which
    autograd may save. Results that are written into a given tensor (`out=`: core
    text_encoders/llama.py:686 since 0.33) are computed and then copied into it. Kernels of
    comfy_kitchen give way to the same computation in plain torch. Any other foreign kernel that has
    no backward is an error that names it. Where nothing asks for a gradient, all is called as it
    was.

    Modes belong to a thread, and autograd runs backward passes of CUDA tensors in a thread of its
    own: what computes again there has to enter it again.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_grad_enabled():
            args = normal(args)
            kwargs = {name: normal(value) for name, value in kwargs.items()}
        if kwargs.get("out") is not None and asks_for_gradient(args, kwargs):
            return written_into(func, args, **kwargs)
        if isinstance(func, OPERATORS) and asks_for_gradient(args, kwargs):
            return differentiably(func, args, kwargs)
        return func(*args, **kwargs)


def normal(value: Any) -> Any:
    """A tensor, or some in a list or tuple, as autograd may save them."""
    if isinstance(value, Tensor):
        plain = type(value) in (Tensor, nn.Parameter)
        return alias(value) if plain and value.is_inference() else value
    return type(value)(map(normal, value)) if type(value) in (tuple, list) else value


def alias(tensor: Tensor) -> Tensor:
    """A normal tensor, without gradient, on the memory of `tensor`, which may be an inference
    tensor.
    """
    if not tensor.is_inference():
        return tensor.detach()
    with torch.inference_mode(False):
        empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )


def tensors(*values: Any) -> Iterator[Tensor]:
    """All tensors in some nested values."""
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def asks_for_gradient(*values: Any) -> bool:
    """Whether autograd would record a call with these arguments."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors(values))


def written_into(func: Callable[..., Any], args: tuple[Any, ...], out: Any, **kwargs: Any) -> Any:
    """`func(*args, out=out)` as autograd can record it: callers may use the given tensor, the
    result, or both.
    """
    for place, result in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
        place.copy_(result)
    return out


def differentiably(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operator that torch knows by its name, or the same computation in plain torch; raise
    RuntimeError that names operator and module if there is no backward for it.
    """
    namespace, name = str(func).split(".")[:2]
    if namespace in TORCH_NAMESPACES:
        return func(*args, **kwargs)
    plain = plain_kernel(namespace, name)
    if plain is not None:
        return plain(*args, **kwargs)
    results = func(*args, **kwargs)
    if lacks_backward(f"{namespace}::{name}", results):
        raise RuntimeError(
            f"{calling_module()} calls the operator {namespace}.{name}, which has no backward "
            f"pass, so no word can be trained through it. Update ComfyUI, remove the node that "
            f"adds this operator (an attention or kernel patch) from the model for training, or "
            f"start ComfyUI without the option that selects it."
        )
    return results


def lacks_backward(operator: str, results: Any) -> bool:
    """Whether a gradient would end, silently or with an error, at the results of an operator."""
    floating = [result for result in tensors(results) if result.is_floating_point()]
    if not floating:
        return False
    nodes = [result.grad_fn for result in floating if result.grad_fn is not None]
    if not nodes or any("NotImplemented" in node.name() for node in nodes):
        return True
    definition = OPDEFS.get(operator)
    return definition is not None and definition._backward_fn is None


def calling_module() -> str:
    """The class of the innermost module whose method is running."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module):
            return f"{type(module).__module__}.{type(module).__qualname__}"
        frame = frame.f_back
    return "The model"
