"""The ComfyUI page in a real Chromium, without a window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

# --no-sandbox: containers and CI run as root, where Chromium's sandbox refuses to start.
CHROMIUM_OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
SIZE = (1600, 1000)
START_MS = 60_000

# Wrapped in `!!`: what the expression gives is sent over, and a node class cannot be.
READY = """() => !!(window.app?.extensionManager && window.app.graph
    && window.LiteGraph?.registered_node_types?.TrainTextualInversion)"""

SETTINGS: dict[str, object] = {
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,
}

EMPTY: dict[str, Any] = {"version": 0.4, "nodes": [], "links": [], "groups": []}


@contextmanager
def chromium(program: Path) -> Iterator[Browser]:
    """A running Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program), args=list(CHROMIUM_OPTIONS)
        )
        yield browser
        browser.close()


def open_comfyui(page: Page, url: str, vue_nodes: bool) -> None:
    """Open ComfyUI with an empty graph, in Nodes 2.0 or in LiteGraph's canvas."""
    page.goto(url)
    page.wait_for_function(READY, timeout=START_MS)
    settings = {**SETTINGS, "Comfy.VueNodes.Enabled": vue_nodes}
    page.evaluate(
        "async settings => { for (const [id, value] of Object.entries(settings))"
        " await app.extensionManager.setting.set(id, value) }",
        settings,
    )
    page.wait_for_function("on => LiteGraph.vueNodesMode === on", arg=vue_nodes)
    load_workflow(page, EMPTY)


def load_workflow(page: Page, workflow: dict[str, Any]) -> None:
    """Open a workflow as the page does when its file is dropped on it."""
    page.evaluate("async workflow => { await app.loadGraphData(workflow) }", workflow)
    settle(page)


def settle(page: Page) -> None:
    """Wait until Nodes 2.0 has drawn every node, and the layout has had its frames."""
    page.wait_for_function(
        "() => !LiteGraph.vueNodesMode || app.graph.nodes.every("
        " node => document.querySelector(`[data-node-id='${node.id}']`))"
    )
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def fit(page: Page) -> None:
    """Show the whole graph."""
    page.evaluate(
        "async () => { await app.extensionManager.command.execute('Comfy.Canvas.FitView') }"
    )
    page.wait_for_timeout(1000)  # FitView glides there.


def boxes(page: Page) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right, bottom of every node with its title, in the graph's units, as drawn."""
    return page.evaluate(
        """() => Object.fromEntries(app.graph.nodes.map(node => {
            const drawn = document.querySelector(`[data-node-id='${node.id}']`)
            if (LiteGraph.vueNodesMode && drawn) {
                const area = app.canvas.canvas.getBoundingClientRect()
                const box = drawn.getBoundingClientRect()
                const graph = (x, y) => app.canvas.ds.convertCanvasToOffset(
                    [x - area.left, y - area.top])
                return [node.id, [...graph(box.left, box.top), ...graph(box.right, box.bottom)]]
            }
            const [x, y, width, height] = node.boundingRect
            return [node.id, [x, y, x + width, y + height]]
        }))"""
    )


def overlaps(found: dict[str, tuple[float, float, float, float]]) -> list[tuple[str, str]]:
    """Ids of the nodes that lie over one another."""
    items = list(found.items())
    return [
        (one, other)
        for index, (one, a) in enumerate(items)
        for other, b in items[index + 1 :]
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
