"""Weights that the host hands out for the length of an operation only: fetched for the forward
pass, let go, and fetched again in the backward pass.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import comfy.ops as ops
import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from .gradients import checkpointed
from .with_backward import alias

AFFINE = ("Linear", "Conv1d", "Conv2d", "Conv3d")  # What `FrozenAffine` can differentiate.
# Copies of what is smaller are kept for the backward pass, rather than computed again.
SMALL = 2**20


def may_stream(module: nn.Module) -> bool:
    """Whether the host may hand out this module's weights for one operation at a time: it streams,
    casts, patches or dequantizes them (core ops.py cast_bias_weight), or has injected a forward
    that does who knows what.
    """
    return (
        hasattr(module, "_v")
        or injected(module)
        or isinstance(getattr(module, "weight", None), QuantizedTensor)
        or bool(getattr(module, "comfy_cast_weights", False))
        or bool(getattr(module, "weight_function", ()))
        or bool(getattr(module, "bias_function", ()))
    )


def injected(module: nn.Module) -> bool:
    """Whether a module has a forward of its own (core weight_adapter/bypass.py); one that is just
    its class's stays behind when the host takes such a forward out.
    """
    own = module.__dict__.get("forward")
    return own is not None and getattr(own, "__func__", None) is not type(module).forward


def uses_parameter_directly(module: Any, dtype: torch.dtype) -> bool:
    """Whether the host computes in `dtype` with the loaded parameter itself, which stays where it
    is, so that autograd may keep it.
    """
    return (
        getattr(module, "comfy_patched_weights", False)
        and type(module.weight) in (Tensor, nn.Parameter)
        and module.weight.dtype == dtype
        and not hasattr(module, "_v")
        and not module.weight_function
        and not module.bias_function
    )


def streaming_forwards(root: nn.Module) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """The modules whose weights may be fetched, with a forward that lets autograd keep none of
    them; small ones are left to `private_casts`.
    """
    for module in root.modules():
        weight = getattr(module, "weight", None)
        if weight is None or not may_stream(module):
            continue
        if is_affine(module) or injected(module) or weight.nbytes > SMALL:
            yield module, with_streaming(module, module.forward)


def with_streaming(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` of a module with frozen weights, for any way in which the host hands them out."""
    slowly = checkpointed(forward, in_place=False)
    affine = is_affine(module)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        if not any(one.requires_grad for one in given):
            with torch.no_grad():
                return normal(forward(*args, **kwargs))
        if affine and len(given) == len(args) + len(kwargs) == 1:
            if uses_parameter_directly(module, given[0].dtype):
                return forward(*given)
            return cast(Any, FrozenAffine).apply(given[0], module, forward)
        return slowly(*args, **kwargs)

    return call


def is_affine(module: nn.Module) -> bool:
    """Whether this is the host's own linear or convolution, as the host itself computes it. Custom
    operations (GGUF's), injected forwards and other paddings than zeros are not: of these nothing
    is known but that they can be called twice.
    """
    kind = type(module)
    ours = [getattr(kind, name, None) for name in ("forward", "forward_comfy_cast_weights")]
    if any(getattr(method, "__module__", "") != "comfy.ops" for method in ours):
        return False
    if injected(module):
        return False
    padding = getattr(module, "padding", ())
    return (
        kind.forward.__qualname__.split(".")[-2] in AFFINE
        and "_conv_forward" not in module.__dict__
        and getattr(module, "padding_mode", "zeros") == "zeros"
        and isinstance(padding, tuple)
    )


class FrozenAffine(torch.autograd.Function):
    """A frozen linear or convolution that keeps neither its weight nor its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, forward: Callable[..., Tensor]) -> Tensor:
        ctx.module, ctx.shape = module, x.shape
        # The host clamps the input of an fp8 linear in place (core ops.py fp8_linear).
        return normal(forward(x.clone() if isinstance(module, ops.fp8_ops.Linear) else x.detach()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        cast = ops.cast_bias_weight(
            ctx.module, gradient, offloadable=True, compute_dtype=gradient.dtype
        )
        try:
            weight = plain(cast[0], gradient.dtype)
            if weight.ndim == 2:
                return linear_backward(ctx.module, gradient, weight), None, None
            return convolution_backward(ctx.module, gradient, weight, ctx.shape), None, None
        finally:
            ops.uncast_bias_weight(ctx.module, *cast)


def linear_backward(module: Any, gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient of a linear's input `[..., in]` from that of its output `[..., out]`."""
    found = gradient @ weight
    scale = getattr(module, "pre_quant_scale", None)
    return found if scale is None else found * scale.to(found)


def convolution_backward(module: Any, gradient: Tensor, weight: Tensor, shape: Any) -> Tensor:
    """Gradient of a convolution's input of a `shape`."""
    found = torch.ops.aten.convolution_backward(
        gradient,
        gradient.new_empty(1).expand(shape),  # Of the input, only its shape is asked for.
        weight,
        None,
        module.stride,
        module.padding,
        module.dilation,
        False,
        [0] * len(module.stride),
        module.groups,
        [True, False, False],
    )
    return found[0]


def plain(weight: Any, dtype: torch.dtype) -> Tensor:
    """A weight as numbers of a dtype."""
    return (weight.dequantize() if isinstance(weight, QuantizedTensor) else weight).to(dtype)


def normal(out: Any) -> Any:
    """A result of `torch.no_grad` as a tensor that may be changed in place where gradients are
    recorded: neither an inference tensor nor a view.
    """
    return alias(out) if isinstance(out, Tensor) else out


def unpin_all(root: nn.Module) -> None:
    """Take back what an error has left pinned (core ops.py forward_comfy_cast_weights has no
    `finally` before 0.33), so that dynamic VRAM can move it again.
    """
    for module in root.modules():
        managed: Any = getattr(module, "_v", None)
        if managed is not None:
            module.__dict__.pop("_prefetch", None)
            bar, place, size = managed
            bar.unpin(place, size)


@dataclass
class Streamed:
    """Bytes of weights that the host has copied to the device in some calls; if `timed`, in how
    many seconds, for which the device has to wait.
    """

    calls: int = 0
    bytes: int = 0
    seconds: float = 0.0
    timed: bool = False

    def per_step(self, calls: int) -> str:
        """What a step of some calls copies, and how long the first call waited for it; '' where all
        weights stay.
        """
        if not self.bytes:
            return ""
        copied = self.bytes / max(1, self.calls) * calls / 2**30
        return (
            f"Not all weights stay on the device: a step copies {copied:.2f} GiB of them to it, "
            f"which took {self.seconds * calls:.2f} s of the first one."
        )

    def cast(self, host: Callable[..., Any], s: Any, input: Any, *more: Any, **options: Any) -> Any:
        """`host(s, input, ...)`, noted if the weights were not there."""
        device = more[1] if input is None else input.device
        before, started = getattr(s, "_v_signature", None), self.clock(device)
        found = host(s, input, *more, **options)
        if moved(s, before, device):
            self.bytes += sum(one.nbytes for one in (s.weight, s.bias) if one is not None)
            self.seconds += self.clock(device) - started
        return found

    def clock(self, device: Any) -> float:
        """Seconds, once the device has done all that was queued."""
        if self.timed and device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() if self.timed else 0.0


def moved(s: Any, signature: Any, device: Any) -> bool:
    """Whether the host had to copy a module's weights: they are elsewhere, or were not on the card
    with the `signature` that they had (core ops.py cast_modules_with_vbar).
    """
    if getattr(s, "_v", None) is not None:
        return s._v_signature is None or s._v_signature is not signature
    return s.weight.device != device


@contextmanager
def private_casts(streamed: Streamed | None = None) -> Iterator[None]:
    """Give whoever asks the host for weights while gradients are recorded copies of his own, which
    autograd may keep (core ops.py cast_bias_weight hands out buffers that it uses again).
    """
    original, counted = ops.cast_bias_weight, streamed or Streamed()

    def host(*asked: Any, **options: Any) -> Any:
        return counted.cast(original, *asked, **options)

    def cast_bias_weight(
        s: Any,
        input: Any = None,
        dtype: Any = None,
        device: Any = None,
        bias_dtype: Any = None,
        offloadable: bool = False,
        **more: Any,
    ) -> tuple[Any, ...]:
        asked = (s, input, dtype, device, bias_dtype)
        if not torch.is_grad_enabled():
            return host(*asked, offloadable=offloadable, **more)
        with torch.no_grad():
            weight, bias, cast = host(*asked, offloadable=True, **more)
            try:
                own = kept(weight, s.weight), kept(bias, s.bias)
            finally:
                ops.uncast_bias_weight(s, weight, bias, cast)
        return (*own, None) if offloadable else own

    ops.cast_bias_weight = cast_bias_weight
    try:
        yield
    finally:
        ops.cast_bias_weight = original


def kept(tensor: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    """A tensor that stays as it is: the parameter itself, or a copy."""
    if tensor is None or (tensor is parameter and not tensor.is_inference()):
        return tensor
    return tensor.clone()
