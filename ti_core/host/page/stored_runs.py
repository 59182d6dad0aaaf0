"""Runs of the store, as the page shows them."""

import re
from typing import Any

from ...store.run_store import last_states
from ...training.curves import rounded, shares, stretches
from ...training.report import why_ended
from ...training.run import RunState
from ..run_key import folder_start, runs_folder
from .monitor import MOST_POINTS

MOST_RUNS = 20
MOST_SHARES = 100  # points of a run that is only compared
KEY = re.compile(r"[0-9a-f]{16}(?:-v\d+)?")


def runs_of(word: str) -> list[dict[str, Any]]:
    """The stored runs of a word, the youngest first: how each was made, and how it went."""
    start = folder_start(word)
    return [
        {"run": name, **compared(state)}
        for name, state in last_states(runs_folder(), start, MOST_RUNS)
        if KEY.fullmatch(name.removeprefix(start))
    ]


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
    return [drawn(name, state) for name, state in last_states(runs_folder(), "", 1)]


def drawn(name: str, state: RunState) -> dict[str, Any]:
    """A stored run as the page draws it."""
    validations = shares(state, state.history, MOST_POINTS)
    return {
        "moment": 0,
        "run": name,
        "node": state.about.get("node", ""),
        "workflow": state.about.get("workflow", ""),
        "word": state.about.get("word", ""),
        "initialiser": state.about.get("initialiser", ""),
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
        "losses": stretches(state.losses, MOST_POINTS),
        "validations": validations,
        **{"nearest": [], "pictures": {}, "kept": [], "saved": {}, "notes": [], "report": ""},
    }
