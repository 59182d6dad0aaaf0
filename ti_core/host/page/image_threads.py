"""Threads for images only, so that other requests of the page never wait for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

# One each: images are decoded one at a time anyway, because a large one takes much memory, and a
# glance at a folder is not to wait behind the thumbnails of another.
THUMBNAILS = ThreadPoolExecutor(1, "textual-inversion-thumbnails")
GLANCES = ThreadPoolExecutor(1, "textual-inversion-glances")

Result = TypeVar("Result")


async def aside(
    threads: ThreadPoolExecutor, request: web.Request, work: Callable[[], Result]
) -> Result:
    """The result of `work` for a request, unless the client is gone when its turn comes."""

    def unless_gone() -> Result:
        if request.transport is None or request.transport.is_closing():
            raise asyncio.CancelledError
        return work()

    return await asyncio.get_running_loop().run_in_executor(threads, unless_gone)
