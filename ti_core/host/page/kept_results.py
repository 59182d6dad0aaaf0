"""Whether a node's output that the host keeps is still valid: a run may not have finished, or a
file may be gone. The host compares only what was typed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import is_link
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import ExecutionContext, get_executing_context

Holds = Callable[[], bool]


@dataclass
class Kept:
    """The last output of a node: how often it had to be made again, and the check that it is still
    valid.
    """

    times: int = 0
    holds: list[Holds] = field(default_factory=list)


_kept: dict[str, Kept] = {}  # by the origins of nodes; some hundred bytes each


def times_given_anew(shared: bool = False) -> int:
    """A number for the fingerprint of the current node, one higher each time that its last output
    has become invalid when it is queued. `shared` is for outputs that the host shares between nodes
    with the same inputs, which are all nodes that do not ask for their id.
    """
    here = here_in_prompt()
    kept = _kept.get(origin("" if shared else here.node_id, here.node_id)) if here else None
    if kept is None:
        return 0
    if not all(map(still, kept.holds)):
        kept.times += 1
        kept.holds.clear()  # Until the node has run, the host has nothing to give.
    return kept.times


def still(holds: Holds) -> bool:
    """Whether a result is still valid; not if its sources can no longer be read."""
    try:
        return holds()
    except (OSError, ValueError):
        return False


def holds_while(holds: Holds, shared: bool = False) -> None:
    """Register once how to check whether the node's current output is still valid; for a list, call
    it for each item. `holds`, and all that it refers to, is kept as long as the server runs.
    """
    here = here_in_prompt()
    if here is None:
        return
    kept = _kept.setdefault(origin("" if shared else here.node_id, here.node_id), Kept())
    if not here.list_index:
        kept.holds.clear()
    kept.holds.append(holds)


def holds_while_same(state: Callable[[], object], *inputs: str) -> None:
    """The node's output is valid as long as `state` returns the same, if an input comes over a
    wire: the fingerprint does not see such inputs, and covers the others itself.
    """
    here = here_in_prompt()
    node = get_progress_state().dynprompt.get_node(here.node_id) if here else {"inputs": {}}
    if any(is_link(node["inputs"].get(name)) for name in inputs):
        before = state()
        holds_while(lambda: state() == before, shared=True)


def here_in_prompt() -> ExecutionContext | None:
    """The node that the host is running, if it belongs to the prompt that the host shows."""
    here = get_executing_context()
    return here if here and here.prompt_id == get_progress_state().prompt_id else None


def origin(called: str, node_id: str) -> str:
    """Identifies a node of the running prompt by `called`, and by the classes and typed inputs of
    it and of the nodes it is linked to, as the host's cache does (core caching.py:109).
    """
    prompt: DynamicPrompt = get_progress_state().dynprompt
    known: dict[str, str] = {}

    def digest(name: str) -> str:
        if name not in known:
            known[name] = ""  # A circle, which the host refuses.
            node = prompt.get_node(name) if prompt.has_node(name) else {}
            inputs = sorted(node.get("inputs", {}).items())
            parts = [
                (key, digest(value[0]), value[1]) if is_link(value) else (key, value)
                for key, value in inputs
            ]
            text = repr((node.get("class_type"), parts))
            known[name] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return known[name]

    return f"{called} {digest(node_id)}"
