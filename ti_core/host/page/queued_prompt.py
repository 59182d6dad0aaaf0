"""The prompt that is being queued, as it was sent: the host checks each node alone, with values
that it has already converted (core execution.py:955-967).
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

from comfy_execution.graph_utils import is_link
from comfy_execution.utils import get_executing_context
from server import PromptServer


class Sent(NamedTuple):
    """A node of the prompt, with its inputs as they were sent."""

    name: str
    kind: str
    inputs: Mapping[str, Any]


NOTHING: Mapping[str, Sent] = MappingProxyType({})
_queued: ContextVar[Mapping[str, Sent]] = ContextVar("queued", default=NOTHING)


def listen_to_queue() -> None:
    """Record each prompt before the host checks it, in the same task; without a server nothing is
    queued.
    """
    server: PromptServer | None = getattr(PromptServer, "instance", None)
    if server is not None:
        server.add_on_prompt_handler(remember)


def remember(request: Any) -> Any:
    """Keep the nodes of a request as they were sent; the request goes on as it is."""
    prompt = request.get("prompt") if isinstance(request, dict) else None
    _queued.set(dict(nodes_of(prompt)) if isinstance(prompt, dict) else {})
    return request


def nodes_of(prompt: Mapping[str, Any]) -> Iterator[tuple[str, Sent]]:
    """The nodes of a prompt, each by its id."""
    for name, node in prompt.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict):
            yield name, Sent(name, str(node.get("class_type")), dict(inputs))


def sent_inputs() -> Mapping[str, Any]:
    """The inputs of the node that is being checked; empty if the host does not say which it is."""
    node = this_node()
    return node.inputs if node else {}


def this_node() -> Sent | None:
    """The node that is being checked."""
    here = get_executing_context()
    return _queued.get().get(here.node_id) if here else None


def source(node: Sent | None, name: str) -> Sent | None:
    """The node whose output is linked to an input of a node."""
    link: Any = node.inputs.get(name) if node else None
    return _queued.get().get(link[0]) if is_link(link) else None


def users(node: Sent | None, name: str) -> Iterator[Sent]:
    """The nodes that have this one linked to their input of this name."""
    for other in _queued.get().values():
        found = source(other, name)
        if found and node and found.name == node.name:
            yield other
