"""Stop and keep: a training ends after its current step, and the graph goes on with the word."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from aiohttp import web
from server import PromptServer

ROUTE = "/textual_inversion/stop"
LONGEST_BODY = 1024  # bytes


class Running(NamedTuple):
    """A training that can be stopped, and the id of its node ("12", in a subgraph "7:12")."""

    node_id: str
    stopped: threading.Event


_running: list[Running] = []
_lock = threading.Lock()


@contextmanager
def stoppable(node_id: str | None) -> Iterator[Callable[[], bool]]:
    """Let `stop` reach the training on a node for the length of the block; gives what tells
    whether it was stopped.
    """
    entry = Running(node_id or "", threading.Event())
    with _lock:
        _running.append(entry)
    try:
        yield entry.stopped.is_set
    finally:
        with _lock:
            # By identity: two trainings may have the same node.
            _running[:] = [one for one in _running if one is not entry]


def stop(node_id: str | None = None) -> list[str]:
    """Stop the trainings on a node, or all; returns the ids of their nodes."""
    with _lock:
        found = [entry for entry in _running if node_id in (None, entry.node_id)]
        for entry in found:
            entry.stopped.set()
    return [entry.node_id for entry in found]


def add_route() -> None:
    """Offer `POST /textual_inversion/stop` with `{"node_id": "12"}`, or without a body for all;
    without a server (a script, a test) nobody asks.
    """
    host: PromptServer | None = getattr(PromptServer, "instance", None)
    if host is not None:
        host.routes.post(ROUTE)(answer)


async def answer(request: web.Request) -> web.Response:
    """`{"stopped": [ids]}`; `{"error": text}` with 404 if nothing trains there, with 400 for a body
    that is not understood.
    """
    body = await request.clone(client_max_size=LONGEST_BODY).read()
    try:
        node_id = wanted(body)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)
    stopped = stop(node_id)
    if not stopped:
        where = "in this ComfyUI" if node_id is None else f"on node '{node_id}'"
        return web.json_response({"error": f"No training is running {where}."}, status=404)
    return web.json_response({"stopped": stopped})


def wanted(body: bytes) -> str | None:
    """The node that a request names, None for all; ValueError for anything else."""
    if not body:
        return None
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None
    if isinstance(request, dict) and set(request) <= {"node_id"}:
        node_id = request.get("node_id")
        if node_id is None or isinstance(node_id, str):
            return node_id
    raise ValueError('Send {"node_id": "12"} with the node\'s id as text, or no body for all.')
