"""What a model depends on, as plain values: weights, settings, and what patches were made with."""

import dis
import functools
import random
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..store.digest import bytes_of, digest_of
from .models.patches import COMPILED_OPTIONS, GUIDANCE, OVERRIDE, called_wrappers, name_of

# Words of 64 bits that are added up; rows of matrices have other lengths than the second, so that
# no two values that change places leave all sums alone.
CHUNKS = (1024, 1021)
WHOLE = 2**20  # values of a tensor of a patch, which may be a mask; weights are larger
DEEPEST = 8
IDLE = (*GUIDANCE, COMPILED_OPTIONS, OVERRIDE)  # options that training does not ask for
SIMPLE = (torch.dtype, torch.device, Enum, PurePath, complex, range, slice, type(...))
STATE = ("original_forward",)  # of an injection while it is in force (core bypass.py)
REFERENCES = ("__dict__", "__weakref__")
SCHEDULE, SCALING = "model_sampling", "latent_format"
# Most checkpoints have none, no model but HiDream asks for it, and the host leaves there what the
# memory held before.
UNFILLED = (
    "clip_l.transformer.text_projection.weight",
    "clip_h.transformer.text_projection.weight",
)
ASKING = "HiDreamTEModel"
# What the host notes on a model of how it is loaded (core model_patcher.py ModelPatcher.__init__).
BOOKKEEPING = ("model_loaded_weight_memory", "model_offload_buffer_memory", "lowvram_patch_counter")
BOOKKEEPING += ("model_lowvram", "weight_function", "bias_function", "training")
LOADED = ("_", "comfy_", "current_weight_patches")  # how names of the same begin on modules
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
FOREIGN = ("torch", "comfy")  # whose code is theirs


def described(patcher: ModelPatcher) -> object:
    """What the output of a model depends on in training: class, weights, settings, and all kinds of
    patches. References from these to the model itself are covered by its weights.
    """
    own = Canonicalizer(dict(patcher.model.named_modules()))
    held = (patcher.patches, patcher.object_patches, asked_for(patcher), patcher.injections)
    more = (getattr(patcher, name, None) for name in ("weight_wrapper_patches", "attachments"))
    others = getattr(patcher, "additional_models", {})
    return (
        weights_of(patcher.model, patcher.backup),
        settings_of(patcher.model),
        *own_of(patcher),
        own.of((*held, *more), DEEPEST),
        own.of((patcher.callbacks, called_wrappers(patcher.wrappers), others), DEEPEST),
        own.of(list(hooks_of(patcher.model)), DEEPEST),
    )


def asked_for(patcher: ModelPatcher) -> dict[str, Any]:
    """The options of a model that training asks for."""
    options = {name: one for name, one in patcher.model_options.items() if name not in IDLE}
    inner = options.get("transformer_options", {})
    return {**options, "transformer_options": {k: v for k, v in inner.items() if k not in IDLE}}


def own_of(patcher: ModelPatcher) -> list[object]:
    """The noise schedule of a diffusion model, and how it scales latents; asked of the patcher,
    because the module may carry those of another clone.
    """
    known = [name for name in (SCHEDULE, SCALING) if hasattr(patcher.model, name)]
    return [plain(patcher.get_model_object(name)) for name in known]


def hooks_of(module: nn.Module) -> Iterator[object]:
    """Callables set on a module and its submodules, by name."""
    for name, one in module.named_modules():
        own = {key: held for key, held in vars(one).items() if plain_function(held)}
        hooks = {key: list(vars(one)[key].values()) for key in HOOKS if vars(one).get(key)}
        if own or hooks:
            yield (name, {**own, **hooks})


def weights_of(module: nn.Module, backup: Mapping[str, Any]) -> object:
    """Sums of every weight without patches; `backup` holds the originals of weights that the host
    patched in place. Large models take seconds, which the host's Cancel ends.
    """
    held = {**dict(module.named_buffers()), **module.state_dict()}
    unfilled = () if type(module).__name__ == ASKING else UNFILLED
    names = [
        name for name in held if not name.startswith(f"{SCHEDULE}.") and not name.endswith(unfilled)
    ]
    originals = {name: backup[name].weight if name in backup else held[name] for name in names}
    found: dict[str, object] = {}
    for name, one in originals.items():
        throw_exception_if_processing_interrupted()
        found[name] = sums(one)
    return (type(module).__name__, found)


def settings_of(module: nn.Module) -> dict[str, object]:
    """The classes and settings of a module and of those inside of it, such as the `p` of a
    dropout.
    """
    inside = [(k, one) for k, one in module.named_modules() if not k.startswith(SCHEDULE)]
    return {name: (type(one).__qualname__, numbers_of(one)) for name, one in inside}


def numbers_of(module: nn.Module) -> dict[str, object]:
    """The numbers and texts that a module shows, and sequences of them."""
    held = vars(module).items()
    shown = {k: v for k, v in held if not k.startswith(LOADED) and k not in BOOKKEEPING}
    # None is what the host has not set yet, such as the device that a text encoder runs on.
    return {k: v for k, v in shown.items() if v is not None and is_setting(v)}


def is_setting(value: object) -> bool:
    """Whether a value is a number or a text, or several."""
    if isinstance(value, list | tuple):
        return all(map(is_setting, value))
    return type(value) in (bool, int, float, str, type(None))


def sums(tensor: Tensor) -> object:
    """Dtype and shape of a tensor, with the sums of the rows and columns of its bits as a table of
    64-bit words: both sums change if a value changes, or if two values change places. Adding is as
    fast as reading the memory.
    """
    kind = (type(tensor).__name__, str(tensor.dtype), tuple(tensor.shape))
    if type(tensor) not in (Tensor, nn.Parameter):  # Quantized: its parts lie in attributes.
        return (*kind, plain(vars(tensor)))
    if tensor.is_meta or not tensor.numel():
        return kind
    flat = bytes_of(resolved(tensor))
    if flat.device.type not in ("cpu", "cuda"):
        flat = flat.cpu()  # Not every device adds words of 64 bits.
    if flat.storage_offset() % 8:
        flat = flat.clone()
    words = flat[: len(flat) // 8 * 8].view(torch.int64)
    tables = [words[: len(words) // n * n].view(-1, n) for n in CHUNKS]
    rest = flat[8 * min(one.numel() for one in tables) :]
    totals = [tables[0].sum(1), *(one.sum(0) for one in tables), rest]
    return (*kind[1:], *(one.cpu() for one in totals))


def resolved(tensor: Tensor) -> Tensor:
    """A tensor's values as they lie in memory when what waits is done."""
    return tensor.detach().resolve_conj().resolve_neg()


def plain(value: Any) -> object:
    """A value as numbers, texts and tensors: objects by class and attributes, functions by what
    they were made with. Raises NotReproducible for a value that has no such description.
    """
    return Canonicalizer().of(value, DEEPEST)


class Canonicalizer:
    """Describes values. An object that was described already, or is `known` under a name, is only
    named. What a patch writes while it is called is its memory, and does not count.
    """

    def __init__(self, known: Mapping[str, object] | None = None) -> None:
        # By id, with the object, so that no other gets its id.
        self.seen = {id(one): (name, one) for name, one in (known or {}).items()}
        self.within: list[str] = []
        self.codes: list[types.CodeType] = []  # of the functions around what is described

    def of(self, value: Any, depth: int) -> object:
        """A description to a limited depth."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, SIMPLE):
            return str(value)
        if isinstance(value, Tensor):
            if value.layout is not torch.strided:
                raise self.undescribed(value)
            small = type(value) in (Tensor, nn.Parameter) and value.numel() <= WHOLE
            return resolved(value) if small and not value.is_meta else sums(value)
        if isinstance(value, types.CellType):
            return "memory" if id(value) in self.seen else self.of(cell_value(value), depth)
        if depth == 0:
            raise self.undescribed(value)
        if isinstance(value, np.ndarray):
            return [str(value.dtype), value.shape, value.tobytes()]
        if isinstance(value, Mapping):
            pairs = [(self.of(k, depth - 1), self.of(one, depth - 1)) for k, one in value.items()]
            return [*self.own_kind(value, dict, depth), pairs]  # Their order may be one of calls.
        if isinstance(value, set | frozenset):
            return sorted(digest_of(self.of(one, depth - 1)) for one in value)
        if isinstance(value, list | tuple):
            inside = [self.of(one, depth - 1) for one in value]
            return [*self.own_kind(value, type(inside), depth), inside]
        return self.thing(value, depth)

    def own_kind(self, value: Any, usual: type, depth: int) -> list[object]:
        """What a class of its own adds to a list or a mapping."""
        if type(value) in (usual, tuple):
            return []
        return [type(value).__qualname__, self.attributes(value, depth)]

    def thing(self, value: Any, depth: int) -> object:
        """A function with what it was made with, or an object's class and what it holds."""
        name = getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, type | types.ModuleType):
            return (name, getattr(value, "__name__", ""))
        if id(value) in self.seen:
            return (name, self.seen[id(value)][0])
        self.seen[id(value)] = (str(len(self.seen)), value)
        self.within.append(name_of(value))
        found = (name, self.held(value, depth))
        self.within.pop()
        return found

    def held(self, value: Any, depth: int) -> object:
        """What a function was made with, or an object holds."""
        if isinstance(value, ModelPatcher):
            return described(value)
        if isinstance(value, nn.Module):
            own = list(hooks_of(value))
            does = {kind.__qualname__: self.does(kind) for kind in classes_in(value)}
            rest = (self.of(own, DEEPEST), does, self.attributes(value, depth))
            return (weights_of(value, {}), settings_of(value), *rest)
        if callable(value) and (bound := bound_values(value)) is not None:
            # As deep again, however deep the function lies: it is described once.
            self.seen |= {id(cell): ("memory", cell) for cell in state_of(value)}
            self.codes += codes_of(value)
            found = [self.of(one, DEEPEST) for one in (*bound, named_in(value))]
            if isinstance(value, types.FunctionType):
                found.append(self.attributes(value, DEEPEST))
            elif isinstance(owner := getattr(value, "__self__", None), type):
                found.append(self.does(owner))
            del self.codes[len(self.codes) - len(codes_of(value)) :]
            return found
        hidden = not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__")
        if hidden or isinstance(value, random.Random):  # Which says nothing of where it is.
            raise self.undescribed(value)
        return self.instance(value, depth)

    def instance(self, value: Any, depth: int) -> object:
        """An object's classes, what it does when it is called, and what it holds."""
        kinds = [kind.__qualname__ for kind in type(value).__mro__]
        codes = codes_in(called_members(type(value), self.codes).values())
        does = self.does(type(value))
        self.codes += codes
        found = (kinds, does, self.attributes(value, depth))
        del self.codes[len(self.codes) - len(codes) :]
        return found

    def does(self, kind: type) -> dict[str, object]:
        """What the objects of a class do when they are called."""
        members = called_members(kind, self.codes)
        codes = codes_in(members.values())
        self.codes += codes
        found = {name: self.of(one, DEEPEST) for name, one in members.items()}
        del self.codes[len(self.codes) - len(codes) :]
        return found

    def attributes(self, value: Any, depth: int) -> dict[str, object]:
        """What an object holds under its names; of a module, what it shows."""
        held = slots_of(value) | getattr(value, "__dict__", {})
        hidden = isinstance(value, nn.Module)
        memory = written_attributes(self.codes) | computed_once(type(value))
        return {
            name: self.of(one, depth - 1)
            for name, one in held.items()
            if name not in STATE and not (hidden and name.startswith("_")) and name not in memory
        }

    def undescribed(self, value: Any) -> "NotReproducible":
        """What to say of a value that cannot be described."""
        owner = self.within[0] if self.within else "the model"
        return NotReproducible(
            f"This run cannot be resumed, because the patch {owner} holds a "
            f"{type(value).__qualname__}, which cannot be compared between runs."
        )


class NotReproducible(ValueError):
    """A value that cannot be described in the same way in another process."""


def bound_values(function: Any) -> list[Any] | None:
    """What a function was made with: its code, the variables around it, defaults, the object that
    it is a method of, the arguments of a partial; None for an object that is merely callable.
    """
    if isinstance(function, functools.partial):
        return [function.func, function.args, function.keywords]
    if isinstance(function, types.MethodType):
        return [function.__func__, function.__self__]
    if isinstance(function, types.FunctionType):
        made = [function.__defaults__, function.__kwdefaults__]
        return [code_of(function.__code__), function.__closure__ or (), *made]
    if isinstance(function, types.BuiltinFunctionType | types.MethodDescriptorType):
        return [function.__qualname__, getattr(function, "__self__", None)]
    return None


def slots_of(value: Any) -> dict[str, object]:
    """What an object holds without a dict."""
    found: dict[str, object] = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            hidden = name.startswith("__") and not name.endswith("__")
            own = f"_{kind.__name__.lstrip('_')}{name}" if hidden else name
            if name not in REFERENCES:
                found[own] = getattr(value, own, None)
    return found


def computed_once(kind: type) -> set[str]:
    """The attributes of a class that an object computes when they are asked for first."""
    held = [item for one in kind.__mro__ for item in vars(one).items()]
    return {name for name, one in held if isinstance(one, functools.cached_property)}


def classes_in(module: nn.Module) -> list[type]:
    """The classes of a module and of those inside of it that others than the host have written."""
    found = dict.fromkeys(type(one) for one in module.modules())
    return [kind for kind in found if root_of(kind.__module__) not in FOREIGN]


def code_of(code: types.CodeType) -> list[object]:
    """What a function does: its instructions, the names they use, its constants, and its inner
    functions.
    """
    constants = [code_of(one) if isinstance(one, types.CodeType) else one for one in code.co_consts]
    return [code.co_code, code.co_names, constants]


def state_of(function: Any) -> list[Any]:
    """The cells in a function's closure that it writes to: its memory, rather than what it was made
    with (ToMe keeps there how the tokens were merged last).
    """
    if not isinstance(function, types.FunctionType):
        return []
    code = function.__code__
    written = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_DEREF"}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return [cell for name, cell in cells if name in written]


def cell_value(cell: Any) -> object:
    """The variable in a closure; one that is not set yet has none."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def behind(value: Any) -> Any:
    """The function behind what a class or a cache makes of one."""
    if isinstance(value, staticmethod | classmethod):
        return behind(value.__func__)
    if isinstance(value, property):
        return value.fget
    if isinstance(value, functools.cached_property):
        return value.func
    if isinstance(value, functools.partialmethod):
        return functools.partial(value.func, *value.args, **value.keywords)
    if hasattr(value, "cache_info"):
        return behind(value.__wrapped__)
    return value


def plain_function(function: Any) -> types.FunctionType | None:
    """The function behind a method or a partial, None where that is none of Python."""
    function = behind(function)
    while isinstance(function, functools.partial | types.MethodType):
        inner = function.func if isinstance(function, functools.partial) else function.__func__
        function = behind(inner)
    return function if isinstance(function, types.FunctionType) else None


def codes_of(function: Any) -> list[types.CodeType]:
    """The code of a function, and of those inside of it."""
    found = plain_function(function)
    return [] if found is None else list(inner_codes(found.__code__))


def codes_in(values: Iterable[Any]) -> list[types.CodeType]:
    """The codes of those values that are functions."""
    return [code for value in values for code in codes_of(value)]


def names_in(codes: Iterable[types.CodeType]) -> set[str]:
    """What codes name, also by a text, as `getattr` does."""
    codes = list(codes)
    texts = (one for code in codes for one in code.co_consts if isinstance(one, str))
    return {*texts, *(name for code in codes for name in code.co_names)}


def inner_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code with those inside of it."""
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from inner_codes(one)


def written_attributes(codes: Iterable[types.CodeType]) -> set[str]:
    """The attributes that some codes write to."""
    found = (one for code in codes for one in dis.get_instructions(code))
    return {one.argval for one in found if one.opname in ("STORE_ATTR", "DELETE_ATTR")}


def called_members(kind: type, codes: Iterable[types.CodeType]) -> dict[str, object]:
    """What the author of a class put into it that is used when an object is called, or by name in
    some codes, and what that uses: methods and values.
    """
    root, found = root_of(kind.__module__), dict[str, object]()
    names, done = {"__call__", "forward", *names_in(codes)}, set[str]()
    if root in FOREIGN:
        return {}
    while names:
        done.add(name := names.pop())
        for one in kind.__mro__:
            member = behind(vars(one).get(name))
            if name in vars(one) and telling(member, root):
                found[f"{one.__qualname__}.{name}"] = member
                names |= names_in(codes_of(member)) - done
    return dict(sorted(found.items()))


def named_in(function: Any) -> dict[str, object]:
    """What a function uses from its module: immutable values, and helper functions by the same
    author. Variables that it writes itself are its memory.
    """
    found = plain_function(function)
    if found is None or own_root(found) in FOREIGN:
        return {}
    codes = list(inner_codes(found.__code__))
    written = {one.argval for code in codes for one in dis.get_instructions(code) if stored(one)}
    return reached(found.__globals__, codes, own_root(found), written)


def reached(
    held: Mapping[str, Any], codes: list[types.CodeType], root: str, done: set[str]
) -> dict[str, object]:
    """What codes name of a module, without what is done, and of the modules and classes of the same
    author that they name.
    """
    found: dict[str, object] = {}
    for name in sorted(names_in(codes) & set(held) - done):
        one = behind(held[name])
        if isinstance(one, types.ModuleType) and root_of(one.__name__) == root:
            found[name] = reached(vars(one), codes, root, done | {name})
        elif isinstance(one, type) and root_of(one.__module__) == root:
            found[name] = called_members(one, codes)
        elif telling(one, root):
            found[name] = one
    return found


def stored(instruction: dis.Instruction) -> bool:
    """Whether an instruction writes to a variable of the module."""
    return instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")


def telling(value: object, root: str) -> bool:
    """Whether a variable of a module is part of what a function does: a function by the same
    author, or a value. Functions of libraries and of the host are not.
    """
    if (function := plain_function(value)) is not None:
        return own_root(function) == root
    if not isinstance(value, type) and root_of(type(value).__module__) == root:
        return True
    if isinstance(value, tuple | frozenset | list | dict | set):
        inner = value.values() if isinstance(value, dict) else value
        return all(telling(one, root) for one in inner)
    return value is None or isinstance(value, bool | int | float | complex | str | bytes | Tensor)


def own_root(function: types.FunctionType) -> str:
    """The package that a function was written in."""
    return root_of(function.__module__ or "")


def root_of(module: str) -> str:
    """The first name of a module; of a custom node, that of its folder too."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "custom_nodes" else 1])
