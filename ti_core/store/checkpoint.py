"""The file of a run's state: kilobytes of safetensors, with a digest of all that is in it."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ..training.run import RunState, packed, unpacked
from .digest import digest_of

VERSION = 2
FACTS = "run"


def checkpoint(state: RunState) -> bytes:
    """A safetensors file of the state, with a digest of all that is in it."""
    tensors, facts = packed(state)
    return sealed(tensors, {"version": VERSION, **facts})


def sealed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """A safetensors file with the facts and a digest; always the same bytes for the same content,
    because one entry of metadata has one order.
    """
    whole = {**facts, "digest": digest_of(tensors, facts)}
    text = json.dumps(whole, sort_keys=True, allow_nan=False)
    return safetensors.torch.save(dict(tensors), {FACTS: text})


def restored(data: bytes, like: Mapping[str, Tensor]) -> RunState:
    """The state in a checkpoint, for vectors of the shapes of `like`; ValueError with what is wrong
    if a single bit of it has changed.
    """
    tensors, facts = opened(data)
    if facts.get("version") != VERSION:
        raise ValueError(f"it is of version {facts.get('version')!r}, this pack reads {VERSION}")
    if sealed(tensors, {k: v for k, v in facts.items() if k != "digest"}) != data:
        raise ValueError("its content has changed since it was written")
    return unpacked(tensors, facts, like)


def opened(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a safetensors file."""
    try:
        tensors = safetensors.torch.load(data)
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][FACTS])
    except (SafetensorError, KeyError, TypeError, RecursionError, ValueError) as error:
        raise ValueError(f"it is no checkpoint ({type(error).__name__})") from error
    plain = str | int | float | None
    if not isinstance(facts, dict) or not all(isinstance(one, plain) for one in facts.values()):
        raise ValueError("its facts are not those of a run")
    return tensors, facts
