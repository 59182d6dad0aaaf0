"""What the page shows of picture folders before any run: a list, each at a glance, and its
pictures in small.
"""

import asyncio

from aiohttp import web
from server import PromptServer

from ..pictures.folders import picture_file
from ..pictures.glance import Wanted, glance
from ..pictures.picture_folders import picture_counts
from ..pictures.thumbnails import TYPE, thumbnail

LIST_ROUTE = "/textual_inversion/folders"
GLANCE_ROUTE = "/textual_inversion/folder"
THUMBNAIL_ROUTE = "/textual_inversion/thumbnail"
RESOLUTION = 512


def add_folder_routes() -> None:
    """Offer them; without a server (a script, a test) nobody asks."""
    host: PromptServer | None = getattr(PromptServer, "instance", None)
    if host is not None:
        host.routes.get(LIST_ROUTE)(answer_list)
        host.routes.get(GLANCE_ROUTE)(answer_glance)
        host.routes.get(THUMBNAIL_ROUTE)(answer_thumbnail)


async def answer_list(request: web.Request) -> web.Response:
    """`{"input/cats": 5, ...}`: the folders with pictures, and how many each has."""
    return web.json_response(await asyncio.to_thread(picture_counts))


async def answer_glance(request: web.Request) -> web.Response:
    """`{"count": 5, "names": [...], "findings": [...], "compared": true}` of `?folder=input/cats`,
    with the node's `resolution`, and `captions=1` if its pictures need some, `masks=0` if they come
    over a wire, `deep=0` without sub-folders; where not all have been compared, the next time goes
    further. `{"error": text}` with 404 for a folder that is not there, with 400 for what is not
    understood.
    """
    asked = request.rel_url.query
    try:
        resolution = int(asked.get("resolution", RESOLUTION))
    except ValueError:
        return failure(400, "The resolution is no number.")
    masks, deep = asked.get("masks") != "0", asked.get("deep") != "0"
    wanted = Wanted(resolution, asked.get("captions") == "1", masks, deep)
    try:
        found = await asyncio.to_thread(glance, asked.get("folder", ""), wanted)
    except ValueError as error:
        return failure(404, str(error))
    return web.json_response(found._asdict())


async def answer_thumbnail(request: web.Request) -> web.Response:
    """A small copy of `?picture=input/cats/1.png`; 404 where there is none, or it is broken."""
    try:
        path = picture_file(request.rel_url.query.get("picture", ""))
    except ValueError as error:
        return failure(404, str(error))
    small = await asyncio.to_thread(thumbnail, path)
    if small is None:
        return failure(404, "The picture cannot be read.")
    return web.Response(body=small.file, content_type=TYPE)


def failure(status: int, reason: str) -> web.Response:
    """An answer that says what is wrong."""
    return web.json_response({"error": reason}, status=status)
