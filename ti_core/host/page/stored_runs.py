"""Runs of the store, as the page shows them."""

import re
from contextlib import suppress
from typing import Any

from ...store.checkpoint import restored
from ...store.run_store import all_checkpoints, contents, last_states
from ...training.report import why_ended
from ...training.run import RunState
from ..run_folders import folder_start, runs_folder
from .curves import downsampled_means, rounded, shares
from .monitor import MOST_POINTS

MOST_RUNS = 20
MOST_SHARES = 100  # points of a run that is only compared
KEY = r"[0-9a-f]{16}(?:-v\d+)?"


def runs_of(word: str) -> list[dict[str, Any]]:
    """The stored runs of a word, the youngest first: how each was made, and how it went."""
    whole = re.compile(re.escape(folder_start(word)) + KEY)
    found = last_states(runs_folder(), whole.fullmatch, MOST_RUNS)
    return [{"run": name, **compared(state)} for name, state in found]


def compared(state: RunState) -> dict[str, Any]:
    """A run beside others: what was asked for, steps, and the shares of its validations."""
    return {
        **{name: state.about.get(name, "") for name in ("seed", "method", "rate", "batch")},
        "vectors": max(len(rows) for rows in state.vectors.values()),
        "steps": state.step,
        "validations": shares(state, state.history, MOST_SHARES),
    }


def last_run() -> list[dict[str, Any]]:
    """The run that was stored last, as `Monitor.snapshot` shows one; without its words."""
    return [drawn(name, state) for name, state in last_states(runs_folder(), bool, 1)]


def stored_run(name: str) -> list[dict[str, Any]]:
    """The run of that name as `last_run` gives one; none where it is gone, or cannot be read."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        folder = next(one for one in runs_folder().iterdir() if one.name == name)
        return [drawn(name, restored(contents(all_checkpoints(folder)[-1]), None))]
    return []


def drawn(name: str, state: RunState) -> dict[str, Any]:
    """A stored run as the page draws it."""
    validations = shares(state, state.history, MOST_POINTS)
    return {
        "moment": 0,
        "run": name,
        "node": state.about.get("node", ""),
        "workflow": state.about.get("workflow", ""),
        "word": state.about.get("word", ""),
        "initializer": state.about.get("initializer", ""),
        "phase": "done" if state.ended else "stored",
        "why": why_ended(state) if state.ended else "",
        "step": state.step,
        "steps": state.planned or state.step,
        "first": 0,
        "pace": rounded(state.seconds / max(1, state.step)),
        "share": validations[-1][1] if state.step else None,
        "best": state.choice.step,
        "stored": state.step,
        "stored_as": name,
        "losses": downsampled_means(state.losses, MOST_POINTS),
        "validations": validations,
        **{
            "nearest": [],
            "images": {},
            "kept": [],
            "saved": {},
            "notes": [],
            "report": "",
            "asked": [],
            "missed": "",
        },
    }
