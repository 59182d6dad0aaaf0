"""What the page may ask of the runs on its nodes, over HTTP."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from server import PromptServer

from ...word.formats import file_advice
from .known_runs import known
from .monitor import Monitor, moments
from .own_pages import Route, failure, for_own_commands, for_own_pages
from .queued_prompt import listen_to_queue
from .stored_runs import last_run, runs_of, stored_run

ROOT = "/textual_inversion"
LONGEST_BODY = 1024  # bytes
ANSWERED = 'Send {"node_id": "12"} with the node\'s id as text, or {"run": "..."}'
Command = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class NothingThere(Exception):
    """What was asked for is not there."""


def add_routes() -> None:
    """Offer the routes; without a server (a script, a test) nobody asks."""
    host: PromptServer | None = getattr(PromptServer, "instance", None)
    if host is not None:
        listen_to_queue()
        host.routes.get(f"{ROOT}/state")(for_own_pages(state))
        host.routes.get(f"{ROOT}/runs")(for_own_pages(runs))
        for name, command in COMMANDS.items():
            host.routes.post(f"{ROOT}/{name}")(answering(command))


async def state(request: web.Request) -> web.Response:
    """`{"runs": [...]}`: those that train and the last ones, the youngest last; of a server that
    has trained nothing yet, the run that was stored last. With `?stored=my-cat-0123456789abcdef`
    that stored run, if it is there.
    """
    if name := request.query.get("stored"):
        return web.json_response({"runs": await asyncio.to_thread(stored_run, name)})
    found = [monitor.snapshot() for monitor in known()]
    return web.json_response({"runs": found or await asyncio.to_thread(last_run)})


async def runs(request: web.Request) -> web.Response:
    """`{"runs": [...]}`: the stored runs of `?word=my-cat` with their settings and validations."""
    word = request.query.get("word", "")
    return web.json_response({"runs": await asyncio.to_thread(runs_of, word)})


async def stop(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """End the trainings after their current step: `{"stopped": [ids], "moment": 7}`; news of a
    later moment have `stop` among what is `asked` until they have ended.
    """
    moment, found = wished(wanted, lambda monitor: monitor.stop)
    return {"stopped": found, "moment": moment}


async def preview(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the word after the current step: `{"asked": [ids], "moment": 7}`; news of a later moment
    have `preview` among what is `asked` until it has been drawn, or could not be.
    """
    moment, found = wished(wanted, lambda monitor: monitor.draw)
    return {"asked": found, "moment": moment}


def wished(
    wanted: Mapping[str, Any], wish: Callable[[Monitor], threading.Event]
) -> tuple[int, list[str]]:
    """Note a wish with the trainings that are asked for: a moment after which their news have it,
    and the ids of their nodes.
    """
    found = training(wanted)
    for monitor in found:
        wish(monitor).set()
    moment = next(moments)
    for monitor in found:
        monitor.changed()
    return moment, [monitor.node_id for monitor in found]


async def save(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Write the word of the youngest run, as it is or as it was after `step`, to a new file in the
    embeddings folder: `{"step": 50, "name": "my-cat-2", "advice": ""}`.
    """
    found = asked_for(wanted)
    if not found:
        raise NothingThere(f"No run is known {where(wanted)}.")
    saved = await asyncio.to_thread(found[-1].save, wanted.get("step"))
    return {**saved._asdict(), "advice": file_advice(found[-1].embedding)}


COMMANDS: dict[str, Command] = {"stop": stop, "preview": preview, "save": save}
FIELDS: dict[str, type] = {"node_id": str, "run": str, "step": int}


def training(wanted: Mapping[str, Any]) -> list[Monitor]:
    """The runs that are asked for and not over."""
    found = [monitor for monitor in asked_for(wanted) if not monitor.over]
    if not found:
        raise NothingThere(f"No training is running {where(wanted)}.")
    return found


def asked_for(wanted: Mapping[str, Any]) -> list[Monitor]:
    """The runs that are asked for."""
    return known(wanted.get("node_id"), wanted.get("run"))


def where(wanted: Mapping[str, Any]) -> str:
    """What was asked for, in words."""
    node = wanted.get("node_id")
    return "in this ComfyUI" if node is None else f"on node '{node}'"


def answering(command: Command) -> Route:
    """The route of a command, for JSON of our own pages. It answers `{"error": text}` with 404 for
    what is not there, with 400 for a body that is not understood, and with 500 for a file that
    cannot be written.
    """

    async def answer(request: web.Request) -> web.Response:
        body = await request.clone(client_max_size=LONGEST_BODY).read()
        try:
            wanted = understood(body)
        except ValueError as error:
            return failure(400, str(error))
        try:
            return web.json_response(await command(wanted))
        except (NothingThere, ValueError) as error:
            return failure(404, str(error))
        except RuntimeError as error:  # The disk is full, or not for us.
            return failure(500, str(error))

    return for_own_commands(answer)


def understood(body: bytes) -> dict[str, Any]:
    """The fields of a request, without those that are null; none of an empty one. ValueError for
    anything else.
    """
    if not body:
        return {}
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict) and set(given) <= set(FIELDS):
        wanted = {name: value for name, value in given.items() if value is not None}
        if all(type(value) is FIELDS[name] for name, value in wanted.items()):
            return wanted
    raise ValueError(f"{ANSWERED}, and a step as a number; or no body for all.")
