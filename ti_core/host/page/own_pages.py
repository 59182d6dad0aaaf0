"""Lets the page of this ComfyUI and programs call the routes, but not other sites in a browser.

The host checks the origin of a request only if it arrives at a loopback address (server.py
create_origin_only_middleware); at an address of the local network any site could call them.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import urlsplit

from aiohttp import web
from comfy.cli_args import args

JSON = "application/json"
PORTS = {"http": 80, "https": 443}
FOREIGN = (
    "This request comes from another site ({origin}), not from this ComfyUI ({host}). If they "
    "belong together, make the proxy between them forward the Host header, or start ComfyUI with "
    "--enable-cors-header {origin}."
)
NO_JSON = "Send the request with the header Content-Type: application/json."

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


def for_own_pages(route: Route) -> Route:
    """A route that refuses other sites with 403."""

    @wraps(route)
    async def answer(request: web.Request) -> web.StreamResponse:
        if is_foreign(request):
            origin, host = request.headers.get("Origin", "unknown"), request.host
            return failure(403, FOREIGN.format(origin=origin[:100], host=host[:100]))
        return await route(request)

    return answer


def for_own_commands(route: Route) -> Route:
    """A route that also refuses, with 415, forms and plain text: browsers send these without asking
    the server first.
    """

    @wraps(route)
    async def answer(request: web.Request) -> web.StreamResponse:
        return await route(request) if request.content_type == JSON else failure(415, NO_JSON)

    return for_own_pages(answer)


def is_foreign(request: web.Request) -> bool:
    """Whether a browser sends this for another site. No page can set these headers itself."""
    headers = request.headers
    origin, fetched = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if args.enable_cors_header in ("*", origin) and origin is not None:
        return False
    if fetched == "same-origin":  # Also behind a proxy that calls the server by another name.
        return False
    if origin is None:
        return fetched in ("cross-site", "same-site") and args.enable_cors_header is None
    forwarded = headers.get("X-Forwarded-Host", "").split(",")
    return not any(same_place(origin, host.strip()) for host in (request.host, *forwarded))


def same_place(origin: str, host: str) -> bool:
    """Whether an origin, `https://name:port`, belongs to a host, `name` or `name:port`."""
    try:
        one, other = urlsplit(origin), urlsplit(f"//{host}")
        port = PORTS.get(one.scheme)
        here, there = (one.hostname, one.port or port), (other.hostname, other.port or port)
    except ValueError:  # A port that is no number, or brackets without an address.
        return False
    return one.scheme in PORTS and bool(one.hostname) and here == there


def failure(status: int, reason: str) -> web.Response:
    """An answer that says what is wrong."""
    return web.json_response({"error": reason}, status=status)
