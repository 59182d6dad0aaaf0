"""Worlds in which the host streams weights, on a CPU: partial loading whose cast buffers are
overwritten right after use, and dynamic VRAM on a simulated comfy-aimdo that evicts.

What is evicted or handed back is filled with 0xFF, which is NaN in every float dtype, through
another tensor than the one that was handed out, so that autograd does not notice: as on a GPU.
"""

import copy
import ctypes
import inspect
import mmap
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

import comfy.memory_management
import comfy.model_management as memory
import comfy.ops as ops
import comfy_aimdo.host_buffer
import comfy_aimdo.model_vbar
import comfy_aimdo.torch
import comfy_aimdo.vram_buffer
import torch
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from comfy.quant_ops import QuantizedTensor
from comfy.sd import CLIP
from torch import Tensor

POISON = 0xFF
PAGE = 64 * 1024
CARD = torch.device("cpu", 0)  # Not equal to torch.device("cpu"), which its tensors name.


def poison(tensor: Tensor | None) -> None:
    """Overwrite the memory of a tensor behind autograd's back."""
    if isinstance(tensor, QuantizedTensor):
        for name in cast(Any, tensor).__tensor_flatten__()[0]:
            poison(getattr(tensor, name))
    elif tensor is not None:
        torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).fill_(POISON)


@contextmanager
def partly_loaded(share: float = 0.0) -> Iterator[None]:
    """Let the host load a `share` of each model, as on a card that is too small, and lose what it
    casts of the rest as soon as it is told that it was used.
    """
    loads, casts, uncasts = (
        memory.LoadedModel.model_load,
        ops.cast_bias_weight,
        ops.uncast_bias_weight,
    )

    def model_load(self: Any, *_: Any, **options: Any) -> Any:
        room = share * self.model.model_size() - self.model.loaded_size()
        return loads(self, room if self.model.loaded_size() else max(room, 0.1), **options)

    def cast_bias_weight(s: Any, *given: Any, **options: Any) -> Any:
        found = casts(s, *given, **options)
        if getattr(s, "comfy_patched_weights", False) or not options.get("offloadable"):
            return found
        if isinstance(s, torch.nn.Embedding):
            return found  # A vocabulary is large, and what is taken out of it is a copy already.
        weight, bias, _ = found
        with torch.no_grad():
            lent = [None if one is None else one.clone() for one in (weight, bias)]
        return *lent, ("lent", *lent)

    def uncast_bias_weight(s: Any, weight: Any, bias: Any, lent: Any) -> None:
        if lent is None or lent[0] != "lent":
            return uncasts(s, weight, bias, lent)
        for one in lent[1:]:
            poison(one)

    with (
        patch.object(memory.LoadedModel, "model_load", model_load),
        patch.object(ops, "cast_bias_weight", cast_bias_weight),
        patch.object(ops, "uncast_bias_weight", uncast_bias_weight),
    ):
        yield


@dataclass
class Card:
    """A simulated comfy-aimdo: `capacity` in bytes; `evicts` is the chance of each unpinned page to
    go at each fault, 1 lets it go as soon as it is unpinned.
    """

    evicts: float = 0.0
    capacity: int = 2**40
    streams: int = 2
    draws: random.Random = field(default_factory=lambda: random.Random(0))
    vbars: list["ModelVBAR"] = field(default_factory=list)  # The last has the highest priority.
    buffers: list["VRAMBuffer"] = field(default_factory=list)
    serial: int = 0

    @property
    def resident(self) -> int:
        """Pages that are on the card."""
        return sum(len(vbar.pages) for vbar in self.vbars)

    @property
    def pinned(self) -> int:
        """Pins that nobody has taken back."""
        return sum(sum(vbar.pins.values()) for vbar in self.vbars)

    def spans(self) -> list[range]:
        """The addresses of its memory, cast buffers included."""
        return [
            range(one.base_addr, one.base_addr + len(one.memory))
            for one in (*self.vbars, *self.buffers)
        ]

    def make_room(self, pages: int, wanted: Iterable[int], owner: "ModelVBAR") -> bool:
        """Evict until `pages` more fit; pages of what is more important stay."""
        kept = set(wanted)
        for vbar in self.vbars[: self.vbars.index(owner) + 1]:
            for page in sorted(vbar.pages, reverse=True):
                if (self.resident + pages) * PAGE <= self.capacity:
                    return True
                if not vbar.pins.get(page) and not (vbar is owner and page in kept):
                    vbar.evict(page)
        return (self.resident + pages) * PAGE <= self.capacity


class ModelVBAR:
    """As `comfy_aimdo.model_vbar.ModelVBAR`, with small pages of anonymous memory."""

    card: Card

    def __init__(self, size: int, device: int):
        self.memory = mmap.mmap(-1, size + PAGE)
        self.base_addr = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.max_size, self.offset = size, 0
        self.pages: dict[int, int] = {}  # What is resident, with its serial.
        self.pins: dict[int, int] = {}
        self.card.vbars.insert(0, self)

    def prioritize(self, *_: Any) -> None:
        self.card.vbars.remove(self)
        self.card.vbars.append(self)

    def alloc(self, size: int) -> tuple[Any, int, int]:
        self.offset = (self.offset + 511) & ~511
        if self.offset + size > self.max_size:
            raise MemoryError("VBAR OOM")
        self.offset += size
        return self, self.base_addr + self.offset - size, size

    def span(self, address: int, size: int) -> range:
        start = address - self.base_addr
        return range(start // PAGE, (start + size - 1) // PAGE + 1)

    def evict(self, page: int) -> None:
        del self.pages[page]
        ctypes.memset(self.base_addr + page * PAGE, POISON, PAGE)

    def fault(self, address: int, size: int) -> Any:
        for vbar in self.card.vbars:
            for page in list(vbar.pages):
                if not vbar.pins.get(page) and self.card.draws.random() < self.card.evicts:
                    vbar.evict(page)
        span = self.span(address, size)
        missing = [page for page in span if page not in self.pages]
        if not self.card.make_room(len(missing), span, self):
            return None
        for page in missing:
            self.card.serial += 1
            self.pages[page] = self.card.serial
            ctypes.memset(self.base_addr + page * PAGE, POISON, PAGE)
        for page in span:
            self.pins[page] = self.pins.get(page, 0) + 1
        return (ctypes.c_uint32 * len(span))(*(self.pages[page] for page in span))

    def unpin(self, address: int, size: int) -> None:
        for page in self.span(address, size):
            self.pins[page] = max(0, self.pins.get(page, 0) - 1)
            if not self.pins[page] and self.card.evicts == 1.0 and page in self.pages:
                self.evict(page)

    def loaded_size(self) -> int:
        return len(self.pages) * PAGE

    def free_memory(self, size: float) -> int:
        free = [page for page in sorted(self.pages, reverse=True) if not self.pins.get(page)]
        gone = free[: int(min(size, 2**60)) // PAGE + 1]
        for page in gone:
            self.evict(page)
        return len(gone) * PAGE


class VRAMBuffer:
    """As `comfy_aimdo.vram_buffer.VRAMBuffer`; what lies in it is lost when it is used again."""

    card: Card

    def __init__(self, *_: Any):
        self.memory, self.used = mmap.mmap(-1, 2**30), 0
        self.base_addr = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.card.buffers.append(self)

    def size(self) -> int:
        return self.used

    def get(self, size: int, offset: int = 0) -> tuple[Any, int, int]:
        if offset == 0:
            ctypes.memset(self.base_addr, POISON, self.used)
            self.used = 0
        self.used = max(self.used, offset + size)
        return self, self.base_addr + offset, size


class HostBuffer:
    """As `comfy_aimdo.host_buffer.HostBuffer`, where nothing is pinned."""

    size = 0

    def __init__(self, *_: Any, **__: Any):
        pass

    def truncate(self, *_: Any, **__: Any) -> None:
        pass


class Stream:
    """A stream that is always done."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def wait_stream(self, _: Any) -> None: ...

    def synchronize(self) -> None: ...


def tensor_at(place: tuple[Any, int, int], _: Any) -> Tensor:
    """A new tensor on the memory of a vbar or a buffer, with its own version counter."""
    owner, address, size = place
    start = address - owner.base_addr
    return torch.frombuffer(owner.memory, dtype=torch.uint8, count=size, offset=start)


def without_the_guards_for_cpus(function: Callable[..., Any]) -> Callable[..., Any]:
    """`comfy.ops.cast_bias_weight` for a card whose tensors say that they are on the CPU; fails if
    the host's source is another one than is expected here.
    """
    source = inspect.getsource(function)
    for guard, instead in (
        (r"comfy\.model_management\.is_device_cpu\(device\)", "False"),
        (r'hasattr\(s, "_v"\) and s\.weight\.device != device', 'hasattr(s, "_v")'),
    ):
        source, count = re.subn(guard, instead, source)
        assert count == 1, f"{guard} stands {count} times in comfy.ops.{function.__name__}"
    made: dict[str, Any] = {}
    exec(compile(source, inspect.getfile(function), "exec"), function.__globals__, made)  # noqa: S102
    return made[function.__name__]


@contextmanager
def dynamic_vram(card: Card) -> Iterator[Card]:
    """Dynamic VRAM on `card`; see `dynamic` for models of it."""
    pool = [Stream() for _ in range(card.streams)]
    vbar = type("ModelVBAR", (ModelVBAR,), {"card": card})
    buffer = type("VRAMBuffer", (VRAMBuffer,), {"card": card})
    changes: list[tuple[Any, str, Any]] = [
        (comfy_aimdo.model_vbar, "ModelVBAR", vbar),
        (comfy_aimdo.model_vbar, "vbars_analyze", lambda *_: 0),
        (comfy_aimdo.model_vbar, "vbars_reset_watermark_limits", lambda: None),
        (comfy_aimdo.vram_buffer, "VRAMBuffer", buffer),
        (comfy_aimdo.host_buffer, "HostBuffer", HostBuffer),
        (comfy_aimdo.torch, "aimdo_to_tensor", tensor_at),
        (memory, "is_device_cpu", lambda device: device.type == "cpu" and device.index is None),
        (memory, "get_offload_stream", lambda _: card.draws.choice(pool) if pool else None),
        (memory, "STREAM_AIMDO_CAST_BUFFERS", {}),
        (comfy.memory_management, "aimdo_enabled", True),
        (args, "disable_pinned_memory", True),
        (ops, "cast_bias_weight", without_the_guards_for_cpus(ops.cast_bias_weight)),
    ]
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        try:
            yield card
        finally:
            memory.free_memory(1e32, CARD)
            card.vbars.clear()
            card.buffers.clear()


def dynamic(model: ModelPatcher, clip: CLIP) -> tuple[ModelPatcher, CLIP]:
    """MODEL and CLIP as dynamic VRAM hands them over, with modules of their own on the same
    weights, patches included.
    """
    memory.unload_all_models()  # Else the weights that they share would be patched ones.
    own_clip = clip.clone()
    own_clip.patcher = dynamic_patcher(clip.patcher)
    own_clip.cond_stage_model = own_clip.patcher.model
    return dynamic_patcher(model), own_clip


def dynamic_patcher(plain: ModelPatcher) -> ModelPatcher:
    """The same model under the host's dynamic patcher."""
    whole = twin(plain.model)
    for name in ("model_loaded_weight_memory", "current_weight_patches_uuid", "device"):
        vars(whole).pop(name, None)
    made = ModelPatcherDynamic(whole, CARD, torch.device("cpu"), plain.size)
    made.patches = {key: list(patches) for key, patches in plain.patches.items()}
    made.model_options = copy.deepcopy(plain.model_options)
    made.object_patches = dict(plain.object_patches)
    made.injections = dict(plain.injections)
    assert made.is_dynamic()
    return made


def twin(module: torch.nn.Module) -> Any:
    """A copy of a module that shares all its tensors, and what the host's models are made from."""
    kept = [*module.parameters(), *module.buffers(), getattr(module, "model_config", None)]
    return copy.deepcopy(module, {id(one): one for one in kept})
