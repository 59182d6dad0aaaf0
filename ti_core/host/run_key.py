"""The run store in the host's folders, and what a run on the host's models depends on."""

import functools
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import folder_paths
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
from .models.text import encoders

FOLDER = "textual_inversion_runs"
SAMPLED = 16  # values of each weight; a checkpoint has hundreds of weights
DEEPEST = 8
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
        (one.crops, one.weights, one.caption, one.wording, one.repeats) for one in concept.pictures
    ]
    chosen = (settings.method, settings.batch_size, settings.accumulation, settings.seed)
    schedule = settings.schedule
    rates = (schedule.pieces, schedule.shape, schedule.warmup, schedule.length)
    return digest_of(
        (shown, concept.latents),
        (embedding.placeholder, embedding.initialiser, embedding.vectors, embedding.initial),
        (*chosen, settings.hold_out, *rates, precision),
        (described(model), described_clip(clip), weights_of(vae.first_stage_model, {})),
    )


def described_clip(clip: CLIP) -> object:
    """What a CLIP's conditioning depends on: weights, patches, the layer it stops at, and words
    that it knows already.
    """
    words = dict.fromkeys(encoders(clip), known_words(clip.tokenizer))
    return (described(clip.patcher), clip.layer_idx, plain(clip.tokenizer_options), plain(words))


def described(patcher: ModelPatcher) -> object:
    """What the output of a model depends on: class, weights, and patches of all kinds."""
    options = (patcher.patches, patcher.object_patches, patcher.model_options, patcher.wrappers)
    return (weights_of(patcher.model, patcher.backup), *sampling_of(patcher), plain(options))


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
    they were made with.
    """
    return Plain().of(value, DEEPEST)


class Plain:
    """Describes values; an object that was described already is only named."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def of(self, value: Any, depth: int) -> object:
        """A description that goes down at most so deep."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, Tensor):
            return sample(value)
        if depth == 0:
            return type(value).__qualname__
        if isinstance(value, Mapping):
            return {str(name): self.of(one, depth - 1) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(one, depth - 1) for one in value]
        return self.thing(value, depth)

    def thing(self, value: Any, depth: int) -> object:
        """A function with what it was made with, or an object's class and what it holds."""
        name = getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, type) or any(value is other for other in self.seen):
            return (name,)
        self.seen.append(value)
        if isinstance(value, ModelPatcher):
            return (name, weights_of(value.model, value.backup))
        if callable(value) and (bound := bound_values(value)) is not None:
            # As deep again, however deep the function lies: it is described once.
            return (name, [self.of(one, DEEPEST) for one in bound])
        weights = weights_of(value, {}) if isinstance(value, nn.Module) else ()
        held = getattr(value, "__dict__", {})
        own = {
            name: self.of(one, depth - 1)
            for name, one in held.items()
            if not name.startswith("_") and not isinstance(one, nn.Module)
        }
        return (name, weights, own)


def bound_values(function: Any) -> list[Any] | None:
    """What a function was made with: its code, the variables around it, defaults, the object that
    it is a method of, the arguments of a partial; None for an object that is merely callable.
    """
    if isinstance(function, functools.partial):
        return [function.func, function.args, function.keywords]
    if isinstance(function, types.MethodType):
        return [function.__func__, function.__self__]
    if isinstance(function, types.FunctionType):
        cells = [cell_value(cell) for cell in function.__closure__ or ()]
        code = function.__code__
        constants = [one for one in code.co_consts if not isinstance(one, types.CodeType)]
        return [code.co_code, constants, cells, function.__defaults__, function.__kwdefaults__]
    return [] if isinstance(function, types.BuiltinFunctionType) else None


def cell_value(cell: Any) -> object:
    """The variable in a closure; one that is not set yet has none."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
