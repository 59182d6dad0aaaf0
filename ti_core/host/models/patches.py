"""Patches that the graph puts on a MODEL: what they are called, which of them act in training, and
how a gradient flows through them.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import merge_nested_dicts
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .compatibility import is_interrupt
from .memory import out_of_memory
from .with_backward import tensors

# Where the host keeps what only guidance and samplers ask for (core samplers.py).
GUIDANCE = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
    "denoise_mask_function",
    "context_handler",
)
BLOCKS = ("patches", "patches_replace")
WRAPPER = "model_function_wrapper"
# What wraps more than one call of the model (core patcher_extension.py WrappersMP).
SAMPLING = ("outer_sample", "prepare_sampling", "sampler_sample", "predict_noise")
SAMPLING += ("calc_cond_batch",)
CALLS = ("apply_model", "diffusion_model")
# core torch_helpers/torch_compile.py COMPILE_KEY, TORCH_COMPILE_KWARGS
COMPILED, COMPILED_OPTIONS = "torch.compile", "torch_compile_kwargs"
OVERRIDE = "optimized_attention_override"


class PatchError(RuntimeError):
    """A patch that no gradient can flow through."""


def name_of(patch: Any) -> str:
    """What a patch is called, which most often is its node: `FreeU_V2` for a function that this
    class has made.
    """
    if isinstance(patch, functools.partial):
        return name_of(patch.func)
    owner = getattr(patch, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        return name_of(owner)
    if not hasattr(patch, "__qualname__"):
        patch = type(patch)
    *owners, name = patch.__qualname__.replace("<locals>.", "").split(".")
    return owners[0] if owners else name


def leaves(nested: Any) -> Iterator[Any]:
    """The patches in dicts and lists of them."""
    if isinstance(nested, Mapping):
        nested = list(nested.values())
    if not isinstance(nested, list | tuple):
        yield nested
        return
    for one in nested:
        yield from leaves(one)


def names_of(patches: Any) -> list[str]:
    """The names of patches in dicts and lists, each once."""
    return list(dict.fromkeys(name_of(one) for one in leaves(patches) if one is not None))


def without_effect(model: ModelPatcher) -> list[str]:
    """The patches that act on guidance or on a whole sampling, which training does not have."""
    options, called = model.model_options, called_wrappers(model.wrappers)
    found = names_of([options[name] for name in GUIDANCE if name in options])
    for kind, keyed in model.wrappers.items():
        for key, nested in keyed.items():
            if key not in called.get(kind, {}):
                found += [str(key)] if key else names_of(nested)
    own = options.get("transformer_options", {}).get(OVERRIDE)
    return list(dict.fromkeys([*found, *names_of([own])]))


def patches_in_effect(model: ModelPatcher) -> dict[str, Any]:
    """The patches that act in a call of the model: those of its blocks, and what wraps it."""
    options = model.model_options.get("transformer_options", {})
    found = {kind: options.get(kind, {}) for kind in BLOCKS}
    wrappers = called_wrappers(model.wrappers)
    return {**found, "wrappers": wrappers, "wrapper": model.model_options.get(WRAPPER)}


def merge_wrappers(model: ModelPatcher) -> None:
    """Put the wrappers of the patcher where the model looks for them, as
    `comfy.sampler_helpers.prepare_model_patcher` does.
    """
    options, wrappers = model.model_options["transformer_options"], called_wrappers(model.wrappers)
    merge_nested_dicts(options.setdefault("wrappers", {}), wrappers, copy_dict1=False)
    merge_nested_dicts(options.setdefault("callbacks", {}), model.callbacks, copy_dict1=False)


def called_wrappers(wrappers: Mapping[str, Mapping[Any, Any]]) -> dict[str, dict[Any, Any]]:
    """What wraps a call of the model, without what also wraps the sampling, because it is made
    ready there (EasyCache remembers the step before), and without `torch.compile`, which would
    compile each of the forwards that training gives to the blocks.
    """
    aside = {key for kind in SAMPLING for key in wrappers.get(kind, {}) if key is not None}
    aside.add(COMPILED)
    return {
        kind: {key: nested for key, nested in wrappers.get(kind, {}).items() if key not in aside}
        for kind in CALLS
    }


def with_differentiable_patches(options: Mapping[str, Any], in_place: bool) -> dict[str, Any]:
    """`transformer_options` whose patches can be trained through, or say that they cannot;
    `in_place` is a network whose blocks may change anything in place, and so may its patches.
    """
    found = dict(options)
    for kind in BLOCKS:
        if kind in found:
            found[kind] = differentiable_patches(found[kind], in_place)
    return found


def differentiable_patches(nested: Any, in_place: bool) -> Any:
    """The same dicts and lists with each patch as `differentiable_patch` makes it."""
    if isinstance(nested, Mapping):
        return {name: differentiable_patches(one, in_place) for name, one in nested.items()}
    if isinstance(nested, list):
        return [differentiable_patches(one, in_place) for one in nested]
    return differentiable_patch(nested, in_place) if callable(nested) else nested


def differentiable_patch(patch: Callable[..., Any], in_place: bool) -> Callable[..., Any]:
    """A patch that may write into what it is given after it has used it (FreeU_V2, core
    nodes_freelunch.py), and that is named where it cannot be trained through.
    """

    @functools.wraps(patch, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return patch(*args, **kwargs)
        given = [one.clone() if isinstance(one, Tensor) else one for one in args]
        try:
            with nullcontext() if in_place else saving_copies(patch, given):
                results = patch(*given, **kwargs)
        except Exception as error:
            if is_interrupt(error) or isinstance(error, PatchError) or out_of_memory(error):
                raise
            raise patch_error(patch, str(error)) from error
        if requires_gradient(args) and not requires_gradient(results):
            raise patch_error(patch, "its result has no gradient")
        return results

    return call


def saving_copies(patch: Any, given: list[Any]) -> saved_tensors_hooks:
    """Let autograd keep copies of what lies in the memory of some tensors, and name the patch if it
    changes anything else that autograd keeps.
    """
    owned = {one.untyped_storage().data_ptr() for one in given if isinstance(one, Tensor)}

    def keep(tensor: Tensor) -> tuple[Tensor, int]:
        kept = tensor.clone() if tensor.untyped_storage().data_ptr() in owned else tensor
        return kept, kept._version

    def kept(saved: tuple[Tensor, int]) -> Tensor:
        tensor, version = saved
        if tensor._version != version:
            raise patch_error(patch, "it changes what it has used")
        return tensor

    return saved_tensors_hooks(keep, kept)


def requires_gradient(values: Any) -> bool:
    """Whether a gradient is asked for any of some nested tensors."""
    return any(tensor.requires_grad for tensor in tensors(values))


def patch_error(patch: Any, why: str) -> PatchError:
    """That a patch cannot be trained through, and what to do."""
    return PatchError(
        f"The patch {name_of(patch)} in front of the training cannot be trained through ({why}). "
        f"Connect the model from before that node."
    )
