"""Which requests of a browser are answered: those of this ComfyUI's own page."""

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from comfy.cli_args import args

from ti_core.host.page.image_threads import THUMBNAILS, aside
from ti_core.host.page.own_pages import for_own_commands, for_own_pages

LAN = "192.168.1.5:8188"


def asked(method: str, **headers: str) -> tuple[int, str]:
    """Status and text of a route that reads, and of one that changes something."""

    async def route(request: web.Request) -> web.Response:
        return web.json_response({"done": True})

    async def ask() -> tuple[int, str]:
        app = web.Application()
        app.router.add_get("/it", for_own_pages(route))
        app.router.add_post("/it", for_own_commands(route))
        async with TestClient(TestServer(app)) as client:
            given = await client.request(method, "/it", headers=headers, skip_auto_headers=NONE)
            return given.status, await given.text()

    return asyncio.run(ask())


NONE = ("Content-Type",)
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": f"http://{LAN}", "Host": LAN},
        {"Origin": "http://COMFY.local", "Host": "comfy.local:80"},
        {"Origin": "https://comfy.example", "Host": "comfy.example"},
        {"Origin": "http://[::1]:8188", "Host": "[::1]:8188"},
        {"Origin": "https://comfy.example", "Host": LAN, "X-Forwarded-Host": "comfy.example"},
        {"Origin": "https://a.example", "Host": LAN, "X-Forwarded-Host": "b.example, a.example"},
        {"Origin": "https://comfy.example", "Host": LAN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Host": LAN},
    ],
)
def test_a_program_and_the_own_page_are_answered(headers: dict[str, str]):
    assert asked("GET", **headers)[0] == 200
    assert asked("POST", **{**JSON, **headers})[0] == 200
    assert asked("POST", **{**headers, "Content-Type": "application/json; charset=utf-8"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Host": LAN},
        {"Origin": "http://192.168.1.5", "Host": LAN},
        {"Origin": "http://192.168.1.5:80", "Host": LAN},
        {"Origin": "http://192.168.1.5:8188.evil.example", "Host": LAN},
        {"Origin": "null", "Host": LAN},
        {"Origin": "", "Host": LAN},
        {"Origin": "file://", "Host": LAN},
        {"Origin": "http://evil.example:port", "Host": LAN},
        {
            "Origin": "http://localhost:3000",
            "Host": "localhost:8188",
            "Sec-Fetch-Site": "same-site",
        },
        {"Sec-Fetch-Site": "cross-site", "Host": LAN},
        {"Sec-Fetch-Site": "same-site", "Host": LAN},
    ],
)
def test_another_site_is_refused_in_words(headers: dict[str, str]):
    for method in ("GET", "POST"):
        status, text = asked(method, **{**JSON, **headers})
        assert status == 403
        assert "comes from another site" in text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_can_send_changes_nothing(kind: str):
    status, text = asked("POST", **({"Content-Type": kind} if kind else {}))
    assert status == 415
    assert "Content-Type: application/json" in text


@pytest.mark.parametrize(
    ("allowed", "status"), [("*", 200), ("http://friend.example", 200), ("http://x.example", 403)]
)
def test_a_site_that_the_host_was_told_to_trust_is_answered(
    allowed: str, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(args, "enable_cors_header", allowed)
    assert asked("POST", **JSON, Origin="http://friend.example", Host=LAN)[0] == status


def test_images_keep_nobody_else_waiting_and_those_that_nobody_wants_are_not_made():
    """Thirty are asked for, and the first takes as long as it takes the others to be given up."""
    free, made, answers = threading.Event(), [], []

    def make(number: int) -> int:
        made.append(number)
        assert free.wait(60)
        return number

    async def image(request: web.Request) -> web.Response:
        number = int(request.query["number"])
        return web.json_response(await aside(THUMBNAILS, request, lambda: make(number)))

    async def save(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: "saved"))

    async def page() -> list[Any]:
        app = web.Application()
        app.router.add_get("/image", image)
        app.router.add_get("/save", save)
        async with TestClient(TestServer(app)) as client:
            wanted = [
                asyncio.create_task(client.get(f"/image?number={number}")) for number in range(30)
            ]
            while not made:
                await asyncio.sleep(0.01)
            answers.append(await (await client.get("/save")).json())
            for task in wanted[2:]:
                task.cancel()
            await asyncio.wait(wanted[2:])
            await asyncio.sleep(0.2)
            free.set()
            return [await (await one).json() for one in wanted[:2]]

    assert asyncio.run(page()) == [0, 1]
    assert answers == ["saved"]
    THUMBNAILS.submit(lambda: None).result()  # All that waited before it has had its turn.
    assert sorted(made) == [0, 1]
