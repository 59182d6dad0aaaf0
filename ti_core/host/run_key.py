"""The run store in the host's folders, and what a run on the host's models depends on."""

import dis
import functools
import re
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor, nn

from ..concept.concept import Concept
from ..store.digest import digest_of
from ..store.run_store import Resume, RunStore
from ..training.settings import TrainingSettings
from ..word.embedding import Embedding
from .models.overlay import known_words
from .models.patches import COMPILED_OPTIONS, GUIDANCE, OVERRIDE, called_wrappers, name_of
from .models.text import encoders

FOLDER = "textual_inversion_runs"
SAMPLED = 16  # values of each weight; a checkpoint has hundreds of weights
WHOLE = 2**20  # values of a tensor of a patch, which may be a mask; weights are larger
DEEPEST = 8
IDLE = (*GUIDANCE, COMPILED_OPTIONS, OVERRIDE)  # options that training does not ask for
SIMPLE = (torch.dtype, torch.device, Enum, PurePath, complex, range, slice, type(...))
STATE = ("original_forward",)  # of an injection while it is in force (core bypass.py)
REFERENCES = ("__dict__", "__weakref__")
SCHEDULE = "model_sampling"
# Checkpoints of SD 1.x have none, and the host leaves there what the memory held before.
UNFILLED = "text_projection.weight"


def run_store(placeholder: str, key: str, resume: Resume, tell: Callable[[str], None]) -> RunStore:
    """The store of the run with that key, below the host's user folder."""
    return RunStore(runs_folder(), f"{folder_start(placeholder)}{key[:16]}", resume, tell)


def runs_folder() -> Path:
    """Where runs are stored."""
    return Path(folder_paths.get_user_directory(), FOLDER)


def folder_start(placeholder: str) -> str:
    """How the folders of a word's runs begin."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', placeholder)}-"


def run_key(
    model: ModelPatcher,
    clip: CLIP,
    vae: Any,
    concept: Concept,
    embedding: Embedding,
    settings: TrainingSettings,
    precision: str,
) -> str:
    """A digest of all that a run depends on, of its length only where the learning rates depend on
    that, so that a run may be made longer or shorter. The same in every process.
    """
    shown = [
        (one.crops, one.weights, one.caption, one.wording, one.repeats, one.framings)
        for one in concept.pictures
    ]
    chosen = (settings.method, settings.batch_size, settings.accumulation, settings.seed)
    schedule = settings.schedule
    rates = (schedule.pieces, schedule.shape, schedule.warmup, schedule.length)
    return digest_of(
        (shown, concept.latents),
        (embedding.placeholder, embedding.initialiser, embedding.vectors, embedding.initial),
        (*chosen, settings.hold_out, *rates, precision, settings.objective),
        (described(model), described_clip(clip), weights_of(vae.first_stage_model, {})),
    )


def described_clip(clip: CLIP) -> object:
    """What a CLIP's conditioning depends on: weights, patches, the layer it stops at, and words
    that it knows already.
    """
    words = dict.fromkeys(encoders(clip), known_words(clip.tokenizer))
    return (described(clip.patcher), clip.layer_idx, plain(clip.tokenizer_options), plain(words))


def described(patcher: ModelPatcher) -> object:
    """What the output of a model depends on in training: class, weights, and patches of all kinds.
    What one of them refers to of the model itself, is in its weights.
    """
    own = Plain(patcher.model.modules())
    held = (patcher.patches, patcher.object_patches, asked_for(patcher), patcher.injections)
    return (
        weights_of(patcher.model, patcher.backup),
        *sampling_of(patcher),
        own.of((*held, patcher.callbacks, called_wrappers(patcher.wrappers)), DEEPEST),
    )


def asked_for(patcher: ModelPatcher) -> dict[str, Any]:
    """The options of a model that training asks for."""
    options = {name: one for name, one in patcher.model_options.items() if name not in IDLE}
    inner = options.get("transformer_options", {})
    return {**options, "transformer_options": {k: v for k, v in inner.items() if k not in IDLE}}


def sampling_of(patcher: ModelPatcher) -> list[object]:
    """The noise schedule of a diffusion model; asked of the patcher, because the module may carry
    that of another clone.
    """
    known = hasattr(patcher.model, SCHEDULE)
    return [plain(patcher.get_model_object(SCHEDULE))] if known else []


def weights_of(module: nn.Module, backup: Mapping[str, Any]) -> object:
    """A sample of every weight, as it is without patches: `backup` has those that the host has
    patched in place.
    """
    held = module.state_dict()
    names = [
        name for name in held if not name.startswith(f"{SCHEDULE}.") and not name.endswith(UNFILLED)
    ]
    originals = {name: backup[name].weight if name in backup else held[name] for name in names}
    return (type(module).__name__, {name: sample(one) for name, one in originals.items()})


def sample(tensor: Tensor) -> object:
    """Kind, shape and some values of a tensor, spread evenly over it."""
    kind = (type(tensor).__name__, str(tensor.dtype), tuple(tensor.shape))
    if type(tensor) not in (Tensor, nn.Parameter):  # Quantised: its parts lie in attributes.
        return (*kind, plain(vars(tensor)))
    if tensor.is_meta or not tensor.numel():
        return kind
    flat = tensor.detach().reshape(-1)
    places = torch.arange(SAMPLED) * (len(flat) - 1) // (SAMPLED - 1)
    return (*kind[1:], flat[places.to(flat.device)].cpu())


def plain(value: Any) -> object:
    """A value as numbers, texts and tensors: objects by class and attributes, functions by what
    they were made with. Raises Undescribed for what nothing can be said of.
    """
    return Plain().of(value, DEEPEST)


class Plain:
    """Describes values; an object that was described already, or is `known`, is only named."""

    def __init__(self, known: Iterable[object] = ()) -> None:
        self.seen = {id(one): one for one in known}  # Kept, so that no other gets its id.
        self.within: list[str] = []

    def of(self, value: Any, depth: int) -> object:
        """A description that goes down at most so deep."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, SIMPLE):
            return str(value)
        if isinstance(value, Tensor):
            small = type(value) in (Tensor, nn.Parameter) and value.numel() <= WHOLE
            return value.detach() if small and not value.is_meta else sample(value)
        if isinstance(value, types.CellType):
            return "memory" if id(value) in self.seen else self.of(cell_value(value), depth)
        if depth == 0:
            raise self.undescribed(value)
        if isinstance(value, np.ndarray):
            return [str(value.dtype), value.shape, value.tobytes()]
        if isinstance(value, Mapping):
            return {str(name): self.of(one, depth - 1) for name, one in value.items()}
        if isinstance(value, set | frozenset):
            return sorted(digest_of(self.of(one, depth - 1)) for one in value)
        if isinstance(value, list | tuple):
            return [self.of(one, depth - 1) for one in value]
        return self.thing(value, depth)

    def thing(self, value: Any, depth: int) -> object:
        """A function with what it was made with, or an object's class and what it holds."""
        name = getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, type | types.ModuleType) or id(value) in self.seen:
            return (name, getattr(value, "__name__", ""))
        self.seen[id(value)] = value
        self.within.append(name_of(value))
        found = (name, self.held(value, depth))
        self.within.pop()
        return found

    def held(self, value: Any, depth: int) -> object:
        """What a function was made with, or an object holds."""
        if isinstance(value, ModelPatcher):
            return weights_of(value.model, value.backup)
        if isinstance(value, nn.Module):
            numbers = [numbers_of(module) for module in value.modules()]
            return (weights_of(value, {}), numbers, self.attributes(value, depth))
        if callable(value) and (bound := bound_values(value)) is not None:
            # As deep again, however deep the function lies: it is described once.
            self.seen |= {id(cell): cell for cell in state_of(value)}
            return [self.of(one, DEEPEST) for one in bound]
        if not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__"):
            raise self.undescribed(value)
        return self.attributes(value, depth)

    def attributes(self, value: Any, depth: int) -> dict[str, object]:
        """What an object holds under its names; of a module, what it shows."""
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        held = {name: getattr(value, name, None) for name in slots if name not in REFERENCES}
        held |= getattr(value, "__dict__", {})
        hidden = isinstance(value, nn.Module)
        return {
            name: self.of(one, depth - 1)
            for name, one in held.items()
            if name not in STATE and not (hidden and name.startswith("_"))
        }

    def undescribed(self, value: Any) -> "Undescribed":
        """What to say of a value that cannot be described."""
        owner = self.within[0] if self.within else "the model"
        return Undescribed(
            f"This run cannot be taken up again, because the patch {owner} holds a "
            f"{type(value).__qualname__}, of which nobody can tell whether it is the same the next "
            f"time."
        )


class Undescribed(ValueError):
    """A value of which nothing can be said that is the same in another process."""


def numbers_of(module: nn.Module) -> dict[str, float]:
    """The settings of a module, such as the `p` of a dropout."""
    held = vars(module).items()
    return {k: v for k, v in held if type(v) in (int, float) and not k.startswith("_")}


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
        return [function.__qualname__]
    return None


def code_of(code: types.CodeType) -> list[object]:
    """What a function does: instructions, the names that they use, constants, and the functions
    inside of it.
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
