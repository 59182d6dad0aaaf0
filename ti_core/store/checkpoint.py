"""The file of a run's state: kilobytes of safetensors, with a digest of all that is in it."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..quoted import quoted
from ..training.run import MAX_OVERSHOOTS, MAX_ROLLBACKS, Ended, RunState
from ..training.stopping import UNKNOWN, Validation, best_of
from .digest import digest_of

VERSION = 5
FACTS_ROOM = 16 << 10  # bytes of names and facts; some 3,000 in practice
METADATA = "run"
GROUPS = ("vectors", "mean", "best", "memory")
HISTORIES = ("losses", "rates")
SAMPLED = ("best_losses", "last_losses", "closing_losses")
FACTS = (
    "loss_scale",
    "initializer_loss",
    "ended",
    "planned",
    "step",
    "drawn",
    "rollbacks",
    "overshoots",
    "trouble",
    "closing_trouble",
    "seconds",
)
TEXTS = ("origin", "about")  # facts by name, `origin.base_model`


def checkpoint(state: RunState, key: str = "") -> bytes:
    """A safetensors file of the state of the run with that key, with a digest of all that is in it;
    ValueError for a state that could not be read again.
    """
    tensors, facts = packed_state(state)
    unpacked_state(tensors, facts, state.vectors)
    return sealed(tensors, {"version": VERSION, "key": key, **facts})


def room(like: Mapping[str, Tensor], steps: int) -> int:
    """Bytes that a checkpoint after so many steps has at most: the vectors, the mean, the best, and
    two memories of each; a loss, a rate and a validation per step; names and facts.
    """
    values = sum(rows.numel() for rows in like.values())
    return 5 * values * 4 + 4 * steps * 8 + FACTS_ROOM


def version_of(data: bytes) -> int | None:
    """The version of the format that a checkpoint has; None if it is no checkpoint."""
    try:
        version = opened(data)[1].get("version")
    except ValueError:
        return None
    return version if isinstance(version, int) else None


def sealed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """A safetensors file with the facts and a digest; always the same bytes for the same content,
    because one entry of metadata has one order.
    """
    whole = {**facts, "digest": digest_of(tensors, facts)}
    text = json.dumps(whole, sort_keys=True, allow_nan=False)
    return safetensors.torch.save(dict(tensors), {METADATA: text})


def restored(data: bytes, like: Mapping[str, Tensor] | None, key: str | None = None) -> RunState:
    """The state in a checkpoint, for vectors of the shapes of `like`, or of any, of the run with
    that key, or of any; ValueError with what is wrong if anything that it holds has changed.
    """
    tensors, facts = opened(data)
    if facts.get("version") != VERSION:
        raise ValueError(
            f"it has version {quoted(facts.get('version'))}, but this pack reads version {VERSION}"
        )
    digest = facts.pop("digest", None)
    if digest != digest_of(tensors, facts):
        raise ValueError("its content has changed since it was written")
    if key is not None and facts.get("key") != key:
        raise ValueError("it belongs to another run")
    return unpacked_state(tensors, facts, like)


def opened(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a safetensors file."""
    try:
        tensors = safetensors.torch.load(data)
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][METADATA])
    except (SafetensorError, KeyError, TypeError, RecursionError, ValueError) as error:
        raise ValueError(f"it is not a checkpoint ({type(error).__name__})") from error
    plain = str | int | float | None
    if not isinstance(facts, dict) or not all(isinstance(one, plain) for one in facts.values()):
        raise ValueError("its metadata does not describe a run")
    return tensors, facts


def packed_state(state: RunState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as tensors by flat names, and facts that are JSON-ready."""
    tensors = {
        f"{group}/{key}": rows for group in GROUPS for key, rows in getattr(state, group).items()
    }
    tensors |= {name: doubles(getattr(state, name)) for name in HISTORIES}
    tensors |= {name: rows.clone() for name, rows in samples(state).items()}
    tensors["validation_steps"] = torch.tensor([one.step for one in state.validations])
    tensors["validation_losses"] = doubles([one.loss for one in state.validations])
    facts = {name: getattr(state, name) for name in FACTS}
    for group in TEXTS:
        facts |= {f"{group}.{name}": text for name, text in getattr(state, group).items()}
    return tensors, facts


def unpacked_state(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], like: Mapping[str, Tensor] | None
) -> RunState:
    """The state that was packed, for vectors of the shapes of `like`, or of any; ValueError, with
    what is wrong, for anything that `packed_state` would not have made.
    """
    groups = {name: group_of(tensors, name) for name in GROUPS}
    wanted = groups["vectors"] if like is None else like
    shapes = {key: tuple(rows.shape) for key, rows in wanted.items()}
    for name in ("vectors", "mean", "best"):
        found = {key: tuple(rows.shape) for key, rows in groups[name].items()}
        if found != shapes:
            raise ValueError(f"its {name} are {found}, not {shapes}")
    histories = {name: numbers(tensors, name) for name in HISTORIES}
    steps = len(histories["losses"])
    if len(histories["rates"]) != steps or whole_number(facts, "step") != steps:
        raise ValueError("its histories have different lengths")
    return RunState(
        vectors=groups["vectors"],
        mean=groups["mean"],
        best=groups["best"],
        memory=groups["memory"],
        losses=histories["losses"],
        rates=histories["rates"],
        **validated(tensors, steps),
        loss_scale=number(facts, "loss_scale"),
        initializer_loss=optional_number(facts, "initializer_loss"),
        ended=ending(facts),
        planned=whole_number(facts, "planned"),
        drawn=whole_number(facts, "drawn"),
        rollbacks=times(facts, "rollbacks", MAX_ROLLBACKS + 1),
        # Runs that were stored before there were any have none.
        overshoots=times({"overshoots": 0, **facts}, "overshoots", MAX_OVERSHOOTS),
        trouble=str(facts.get("trouble", "")),
        closing_trouble=str(facts.get("closing_trouble", "")),
        seconds=number(facts, "seconds"),
        origin=texts(facts, "origin"),
        about=texts(facts, "about"),
    )


def doubles(values: list[float]) -> Tensor:
    """Numbers without any rounding `[n]`."""
    return torch.tensor(values, dtype=torch.float64)


def group_of(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors `group/name` by their names; ValueError for values that are not finite."""
    found = {
        name.removeprefix(f"{group}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{group}/")
    }
    for name, value in found.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise ValueError(f"its {group} of {name} are not finite numbers")
    return found


def numbers(tensors: Mapping[str, Tensor], name: str) -> list[float]:
    """A history; ValueError if there is none of finite numbers."""
    values = tensors.get(name)
    if values is None or values.dim() != 1 or values.dtype != torch.float64:
        raise ValueError(f"it has no history of {name}")
    if not bool(values.isfinite().all()):
        raise ValueError(f"its history of {name} is not finite")
    return values.tolist()


def samples(state: RunState) -> dict[str, Tensor]:
    """The losses of the samples of the best validation, of the last, and of that of the end."""
    of_end = state.closing.samples if state.closing else UNKNOWN
    found = (best_of(state.validations).samples, state.validations[-1].samples, of_end)
    return dict(zip(SAMPLED, found, strict=True))


def validated(tensors: Mapping[str, Tensor], steps: int) -> dict[str, Any]:
    """`validations` and `closing` of a run of so many steps; the latter may be missing."""
    found = validations(tensors, steps)
    best, last, of_end = (doubles(numbers(tensors, name)) for name in SAMPLED)
    if not len(best) or len(last) != len(best) or len(of_end) not in (0, len(best)):
        raise ValueError("the losses of its validations do not fit together")
    for place, losses in ((-1, last), (found.index(best_of(found)), best)):
        found[place] = replace(found[place], samples=losses)
    closing = Validation(steps, float(of_end.mean()), of_end) if len(of_end) else None
    return {"validations": found, "closing": closing}


def validations(tensors: Mapping[str, Tensor], steps: int) -> list[Validation]:
    """The validations of a run of so many steps."""
    losses, at = numbers(tensors, "validation_losses"), tensors.get("validation_steps")
    places = [] if at is None or at.dtype != torch.int64 or at.dim() != 1 else at.tolist()
    if len(places) != len(losses) or places != sorted(set(places)):
        raise ValueError("its validations do not fit together")
    if not places or places[0] != 0 or places[-1] > steps:
        raise ValueError("its validations are not those of its steps")
    return [Validation(step, loss) for step, loss in zip(places, losses, strict=True)]


def texts(facts: Mapping[str, Any], group: str) -> dict[str, str]:
    """The facts `group.name` by their names."""
    start = f"{group}."
    return {
        name.removeprefix(start): str(text)
        for name, text in facts.items()
        if name.startswith(start)
    }


def number(facts: Mapping[str, Any], name: str) -> float:
    """A fact that is a finite number, not negative."""
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its {name} is {quoted(value)}, not a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"its {name} is {quoted(value)}")
    return float(value)


def optional_number(facts: Mapping[str, Any], name: str) -> float | None:
    """A number that may not have been measured."""
    return None if facts.get(name) is None else number(facts, name)


def whole_number(facts: Mapping[str, Any], name: str) -> int:
    """A fact that counts something."""
    value = number(facts, name)
    if value != int(value):
        raise ValueError(f"its {name} is {quoted(value)}")
    return int(value)


def times(facts: Mapping[str, Any], name: str, most: int) -> int:
    """How often something happened that can happen so often."""
    count = whole_number(facts, name)
    if not 0 <= count <= most:
        raise ValueError(f"its {name} are {count}")
    return count


def ending(facts: Mapping[str, Any]) -> Ended:
    """Why the run ended, '' if it had not."""
    found = next((one for one in get_args(Ended) if one == facts.get("ended")), None)
    if found is None:
        raise ValueError(f"it ended by {quoted(facts.get('ended'))}")
    return found
