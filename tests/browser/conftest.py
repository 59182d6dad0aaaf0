"""A real ComfyUI with the pack, and its page in a real Chromium, in both of its renderers."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the browser tests need playwright (PyPI)")

from environment import find_chromium
from headless import Server
from page import EMPTY, chromium, load_workflow, open_comfyui
from playwright.sync_api import Browser, ViewportSize
from template_plans import LEARN_A_WORD
from view import View, listen


@pytest.fixture(scope="session")
def object_info(server: Server) -> dict[str, Any]:
    """The schemas of all nodes."""
    return server.object_info()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    program = find_chromium()
    if program is None:
        pytest.fail("There is no Chromium; install one, or set CHROMIUM_PATH to it.")
    with chromium(program) as running:
        yield running


@pytest.fixture(scope="session", params=[False, True], ids=["litegraph", "nodes2"])
def opened_view(request: pytest.FixtureRequest, server: Server, browser: Browser) -> Iterator[View]:
    """The page in one renderer; opened once, because that takes seconds."""
    context = browser.new_context(viewport=ViewportSize(width=1600, height=1000))
    context.set_default_timeout(60_000)  # A busy machine is slow; a wait ends when it may.
    opened = View(context.new_page(), request.param)
    listen(opened)
    open_comfyui(opened.page, server.url, request.param)
    yield opened
    context.close()


@pytest.fixture
def view(opened_view: View) -> View:
    """The page with an empty graph."""
    load_workflow(opened_view.page, EMPTY)
    return opened_view


@pytest.fixture(scope="session")
def example() -> dict[str, Any]:
    """The first template, as the page saved it."""
    return LEARN_A_WORD.workflow()
