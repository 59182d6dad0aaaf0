"""What the page shows of picture folders before any run: a list, and each at a glance."""

import asyncio

from aiohttp import web
from server import PromptServer

from ..pictures.glance import glance
from ..pictures.picture_folders import picture_counts

LIST_ROUTE = "/textual_inversion/folders"
GLANCE_ROUTE = "/textual_inversion/folder"
RESOLUTION = 512


def add_folder_routes() -> None:
    """Offer both; without a server (a script, a test) nobody asks."""
    host: PromptServer | None = getattr(PromptServer, "instance", None)
    if host is not None:
        host.routes.get(LIST_ROUTE)(answer_list)
        host.routes.get(GLANCE_ROUTE)(answer_glance)


async def answer_list(request: web.Request) -> web.Response:
    """`{"input/cats": 5, ...}`: the folders with pictures, and how many each has."""
    return web.json_response(await asyncio.to_thread(picture_counts))


async def answer_glance(request: web.Request) -> web.Response:
    """`{"count": 5, "thumbnails": [...], "findings": [...]}` of `?folder=input/cats`, with the
    node's `resolution`, and `captions=1` if its pictures need some, `deep=0` without sub-folders;
    `{"error": text}` with 404 for a folder that is not there, with 400 for what is not understood.
    """
    asked = request.rel_url.query
    try:
        resolution = int(asked.get("resolution", RESOLUTION))
    except ValueError:
        return web.json_response({"error": "The resolution is no number."}, status=400)
    captions, deep = asked.get("captions") == "1", asked.get("deep") != "0"
    try:
        found = await asyncio.to_thread(glance, asked.get("folder", ""), resolution, captions, deep)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=404)
    shown = [picture._asdict() for picture in found.thumbnails]
    return web.json_response({**found._asdict(), "thumbnails": shown})
