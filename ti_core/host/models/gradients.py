"""Let gradients flow through the host's loaded models, and leave no trace."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import comfy.model_management
import torch
from comfy.clip_model import CLIPLayer
from comfy.ldm.modules.attention import SpatialTransformer, get_attention_function
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel
from torch import Tensor, nn
from torch.autograd.graph import allow_mutation_on_saved_tensors
from torch.utils._pytree import tree_flatten, tree_unflatten

from .random_numbers import drawing_from, generator_states
from .with_backward import alias, with_backward


class differentiable:  # noqa: N801 - reads like torch.no_grad
    """Let autograd save the weights of modules that were loaded under `torch.inference_mode` (core
    execution.py:751), without copying them.

    Swaps every parameter and buffer for a normal tensor on the same memory, for the length of a
    `with` block; made once and entered in every step, because finding the weights takes
    milliseconds. A weight that the host replaces meanwhile stays as the host wants it.
    """

    def __init__(self, *modules: nn.Module):
        self.slots = [(slots, name) for slots, name, _ in weights(modules)]
        self.aliases: dict[int, tuple[Tensor, Tensor]] = {}
        self.swapped: list[tuple[dict[str, Any], str, Tensor, Tensor]] = []

    def __enter__(self) -> None:
        try:
            for slots, name in self.slots:
                tensor = slots[name]
                slots[name] = normal = self.alias(tensor)
                self.swapped.append((slots, name, tensor, normal))
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for slots, name, tensor, normal in self.swapped:
            if slots.get(name) is normal:
                slots[name] = tensor
        self.swapped.clear()

    def forget(self) -> None:
        """Let go of the weights' memory, which the host may be about to free."""
        self.aliases.clear()

    def alias(self, tensor: Tensor) -> Tensor:
        """The normal tensor for a weight, the same one each time."""
        known = self.aliases.get(id(tensor))
        if known is None or known[0] is not tensor:
            known = self.aliases[id(tensor)] = (tensor, alias(tensor))
        return known[1]


def weights(modules: Iterable[nn.Module]) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Every parameter and buffer that stays where it is, with the slot that holds it: without
    quantized tensors and what dynamic VRAM manages, which are fetched whenever they are used.
    """
    for module in modules:
        for child in module.modules():
            if hasattr(child, "_v"):
                continue
            for slots in (child._parameters, child._buffers):
                for name, tensor in list(slots.items()):
                    if type(tensor) in (Tensor, nn.Parameter):
                        yield slots, name, cast(Tensor, tensor)


def checkpointed(forward: Callable[..., Any], in_place: bool) -> Callable[..., Any]:
    """`forward` with gradient checkpointing, for any nesting of tensors in arguments and results:
    only the arguments are kept, and the backward pass runs it again with the same random numbers.

    `in_place` says that it changes tensors in place that autograd has saved (core clip_model.py
    CLIPLayer, t5.py, flux/layers.py); with these the stock `torch.utils.checkpoint` under
    `allow_mutation_on_saved_tensors` gives wrong gradients without an error.

    Dicts among the arguments are copied at the call: the UNet changes `transformer_options` as it
    runs, and block patches read their position from it.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        given, arguments = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]
        if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in tensors):
            return forward(*args, **kwargs)
        made: list[Any] = []
        results: Any = None

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            nonlocal made, results
            args, kwargs = tree_unflatten(exchanged(given, inputs), arguments)
            made, results = tree_flatten(forward(*args, **kwargs))
            return tuple(leaf for leaf in made if isinstance(leaf, Tensor))

        outputs = cast(Any, _Checkpoint).apply(run, in_place, *tensors)
        whole = tree_unflatten(exchanged(made, outputs), results)
        made = []  # Hold no activations until the backward pass.
        return whole

    return call


def exchanged(leaves: list[Any], tensors: Iterable[Tensor]) -> list[Any]:
    """The leaves, with other tensors in the places of their tensors."""
    fresh = iter(tensors)
    return [next(fresh) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


class _Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., tuple[Tensor, ...]], in_place: bool, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.function, ctx.in_place, ctx.random_states = function, in_place, generator_states()
        ctx.save_for_backward(*inputs)
        outputs = function(*(tensor.clone() for tensor in inputs))
        ctx.mark_non_differentiable(
            *(tensor for tensor in outputs if not tensor.is_floating_point())
        )
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        leaves = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with (
            torch.enable_grad(),
            with_backward(),
            drawing_from(ctx.random_states),
            allow_mutation_on_saved_tensors() if ctx.in_place else nullcontext(),
        ):
            outputs = ctx.function(*(leaf.clone() for leaf in leaves))
            reached = [
                (out, grad)
                for out, grad in zip(outputs, gradients, strict=True)
                if out.requires_grad and grad is not None
            ]
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            found = iter(
                torch.autograd.grad(
                    [out for out, _ in reached],
                    wanted,
                    [grad for _, grad in reached],
                    allow_unused=True,
                )
            )
        return (None, None, *(next(found) if leaf.requires_grad else None for leaf in leaves))


@contextmanager
def replacing_forwards(forwards: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Give modules another `forward` for the length of the block."""
    replaced: list[tuple[nn.Module, Any]] = []
    try:
        for module, forward in forwards:
            replaced.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = forward  # nn.Module.__setattr__ takes its time.
        yield
    finally:
        for module, own in reversed(replaced):
            del module.__dict__["forward"]
            if own is not None:
                module.__dict__["forward"] = own


def out_of_place(layer: CLIPLayer) -> Callable[..., Tensor]:
    """The forward of a CLIP layer (core clip_model.py CLIPLayer) without its in-place sums, which
    overwrite what autograd has saved; the numbers are the same.
    """

    def forward(x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None) -> Tensor:
        x = x + layer.self_attn(layer.layer_norm1(x), mask, optimized_attention)
        return x + layer.mlp(layer.layer_norm2(x))

    return forward


@contextmanager
def training_flag(training: bool = True) -> Iterator[None]:
    """Make the host choose kernels with a backward, or those without (core flux/math.py:47 and
    others look at `in_training`).
    """
    before = comfy.model_management.in_training
    comfy.model_management.in_training = training
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def attention_with_backward(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Attention override: PyTorch's kernel. Sage and Flash have no backward here, and the chunked
    ones ask for free memory at run time (ComfyUI issue 15845).
    """
    kernel = cast(Any, get_attention_function("pytorch"))
    return kernel(*args, **kwargs)


def works_in_place(network: nn.Module) -> bool:
    """Whether the network changes in place what autograd has saved; the UNet of SD 1, 2 and XL does
    not.
    """
    return not isinstance(network, UNetModel)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks that are worth recomputing. In a UNet the residual and transformer blocks: a
    wrapped `TimestepEmbedSequential` would never be called (core openaimodel.py:36).
    """
    if isinstance(network, UNetModel):
        return [
            module
            for module in network.modules()
            if isinstance(module, ResBlock | SpatialTransformer)
        ]
    return listed_blocks(network)


def listed_blocks(network: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules, which are the blocks of a transformer."""
    if isinstance(network, nn.ModuleList):
        return list(network)
    return [block for child in network.children() for block in listed_blocks(child)]
