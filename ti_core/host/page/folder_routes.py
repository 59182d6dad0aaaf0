"""What the page shows of image folders before any run: a list, each at a glance, and its
images in small.
"""

import asyncio
from functools import partial

from aiohttp import web
from server import PromptServer

from ...concept.file_kinds import rules
from ..images.folder_summary import Wanted, glance
from ..images.folders import image_file
from ..images.image_folders import image_counts
from ..images.ordinary_files import reason_of
from ..images.thumbnails import TYPE, thumbnail
from .image_threads import GLANCES, THUMBNAILS, aside
from .own_pages import failure, for_own_pages

LIST_ROUTE = "/textual_inversion/folders"
KINDS_ROUTE = "/textual_inversion/file_kinds"
SUMMARY_ROUTE = "/textual_inversion/folder"
THUMBNAIL_ROUTE = "/textual_inversion/thumbnail"
RESOLUTION = 512


def add_folder_routes() -> None:
    """Offer them; without a server (a script, a test) nobody asks."""
    host: PromptServer | None = getattr(PromptServer, "instance", None)
    if host is not None:
        host.routes.get(LIST_ROUTE)(for_own_pages(answer_list))
        host.routes.get(KINDS_ROUTE)(for_own_pages(answer_kinds))
        host.routes.get(SUMMARY_ROUTE)(for_own_pages(answer_summary))
        host.routes.get(THUMBNAIL_ROUTE)(for_own_pages(answer_thumbnail))


async def answer_list(request: web.Request) -> web.Response:
    """`{"input/cats": 5, ...}`: the folders with images, and how many each has."""
    return web.json_response(await asyncio.to_thread(image_counts))


async def answer_kinds(request: web.Request) -> web.Response:
    """`{"images": [".png", ...], ...}`: what counts as what, for files that are dropped."""
    return web.json_response(rules())


async def answer_summary(request: web.Request) -> web.Response:
    """`{"count": 5, "names": [...], "findings": [...], "compared": true, "folders": [...]}` of
    `?folder=input/cats`, with the node's `resolution`, and `captions=1` if its images need some,
    `masks=0` if they come over a wire, `deep=0` without sub-folders; where not all have been
    compared, the next time goes further. `{"error": text}` with 404 for a folder that is not there,
    with 400 for what is not understood.
    """
    asked = request.rel_url.query
    try:
        resolution = int(asked.get("resolution", RESOLUTION))
    except ValueError:
        return failure(400, "The resolution is no number.")
    masks, deep = asked.get("masks") != "0", asked.get("deep") != "0"
    wanted = Wanted(resolution, asked.get("captions") == "1", masks, deep)
    try:
        look = partial(glance, asked.get("folder", ""), wanted)
        found = await aside(GLANCES, request, look)
    except ValueError as error:
        return failure(404, str(error))
    except OSError as error:  # Its files change while they are looked at.
        return failure(404, f"The folder cannot be read ({reason_of(error)}).")
    return web.json_response(found._asdict())


async def answer_thumbnail(request: web.Request) -> web.Response:
    """A small copy of `?image=input/cats/1.png`; 404 where there is none, or it is broken."""
    try:
        path = image_file(request.rel_url.query.get("image", ""))
    except ValueError as error:
        return failure(404, str(error))
    small = await aside(THUMBNAILS, request, partial(thumbnail, path))
    if small is None:
        return failure(404, "The image cannot be read.")
    return web.Response(body=small.file, content_type=TYPE)
