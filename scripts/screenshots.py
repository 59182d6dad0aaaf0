"""Photograph the training node in each of its states, and the nodes before and behind it, in both
renderers, dark and light: `python scripts/screenshots.py FOLDER [--states learning done]`.

A maintenance script: it needs what the browser tests need, and trains toyworld's model. With
`--help-pages` the images of the help pages and the README are made anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environment import REPO, find_chromium, prepare, run_child
from headless import Server
from page import chromium, load_workflow, open_comfyui, settle
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page
from template_plans import LEARN_A_WORD

LOOKS = [(vue, theme) for vue in (False, True) for theme in ("dark", "light")]
SIZE = (1280, 1000)
BARS = (90, 90)  # pixels of the page's own bars beside and above the graph
MARGIN = 12
STEPS = 240
HELP = REPO / "web" / "docs"
SHOWN = ("dropped_images", "learning", "saved")  # in the help pages: Nodes 2.0, dark
TRAINER = "app.graph.nodes.find(({ type }) => type === 'TrainTextualInversion')"
MONITOR = f"{TRAINER}.widgets.find(({{ name }}) => name === 'monitor').element"
SET = """values => {
    for (const node of app.graph.nodes)
        for (const [name, value] of Object.entries(values[node.type] ?? {})) {
            const widget = node.widgets.find((one) => one.name === name)
            widget.value = value
            widget.callback?.(value)
        }
}"""
SMALL: dict[str, dict[str, Any]] = {
    "LoadImagesAsConcept": {"resolution": 64},
    "CreateEmbedding": {"placeholder": "my-star", "initializer": "star"},
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 4},
    "TrainingPreviews": {
        **{"every": 40, "prompt": "a photo of {}"},
        **{"steps": 12, "width": 64, "height": 64, "cfg": 4.0},
    },
}
# Put a node below the page's bars, in its true size, and tell where it is with a margin.
FRAME = """([type, side, bars, margin]) => {
    const node = app.graph.nodes.find((one) => one.type === type)
    const { ds } = app.canvas
    const [x, y, across, down] = node.boundingRect
    ds.scale = 1
    ds.offset[0] = side + margin - x
    ds.offset[1] = bars + margin - y
    app.canvas.setDirty(true, true)
    const drawn = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id='${node.id}']`)
    const [width, height] = [across, drawn ? drawn.offsetHeight : down].map((a) => a + 2 * margin)
    return { x: side, y: bars, width, height }
}"""


class Studio:
    """A page with the training graph, and where its photographs go."""

    def __init__(self, page: Page, folder: Path):
        self.page = page
        self.folder = folder

    def photograph(self, state: str, node: str = "TrainTextualInversion") -> None:
        """A node in all looks."""
        for vue, theme in LOOKS:
            place = self.look(vue, theme, node)
            self.page.screenshot(path=self.file(state, vue, theme), clip=place)
            print(state, "Nodes 2.0" if vue else "LiteGraph", theme, flush=True)

    def file(self, state: str, vue: bool, theme: str) -> Path:
        """Where a photograph lies."""
        return self.folder / f"{state}-{'nodes2' if vue else 'litegraph'}-{theme}.png"

    def look(self, vue: bool, theme: str, node: str) -> FloatRect:
        """Show a node in one renderer and theme; gives the place around it."""
        self.page.evaluate(
            "async ([vue, theme]) => { const { setting } = app.extensionManager;"
            " await setting.set('Comfy.VueNodes.Enabled', vue);"
            " await setting.set('Comfy.ColorPalette', theme) }",
            [vue, theme],
        )
        self.page.wait_for_function("on => LiteGraph.vueNodesMode === on", arg=vue)
        settle(self.page)
        self.page.evaluate(FRAME, [node, *BARS, MARGIN])
        self.page.wait_for_timeout(1000)
        return self.page.evaluate(FRAME, [node, *BARS, MARGIN])

    def run(self, **values: dict[str, Any]) -> None:
        """Press Run, with other values on some nodes."""
        self.page.evaluate(SET, SMALL)
        self.page.evaluate(SET, values)
        self.page.evaluate("() => { void app.queuePrompt(0) }")

    def train(self, seed: int) -> None:
        """Press Run for a training."""
        self.run(TrainTextualInversion={"steps": STEPS, "seed": seed, "auto_stop": False})

    def wait_for(self, text: str) -> None:
        """Wait until the monitor says something."""
        self.page.wait_for_function(
            f"text => {MONITOR}.innerText.includes(text)", arg=text, timeout=900_000
        )

    def press(self, button: str) -> None:
        """Press a button of the monitor, wherever it is on the screen."""
        self.page.evaluate(
            f"name => [...{MONITOR}.querySelectorAll('button, summary, img')].findLast("
            f"(one) => (one.alt || one.textContent) === name).click()",
            button,
        )


def idle(studio: Studio) -> None:
    studio.photograph("idle")


def dropped_images(studio: Studio) -> None:
    studio.photograph("dropped_images", "LoadImagesAsConcept")


def learning(studio: Studio) -> None:
    studio.train(seed=1)
    studio.wait_for("tep 165 of")
    studio.photograph("learning")


def done(studio: Studio) -> None:
    studio.train(seed=1)
    studio.wait_for("Finished")
    studio.press("Keep this one")
    studio.wait_for("embedding:")
    studio.photograph("done")


def saved(studio: Studio) -> None:
    studio.page.get_by_text("embedding:my-star").last.wait_for(state="attached")
    studio.photograph("saved", "SaveEmbedding")


def large(studio: Studio) -> None:
    studio.press(f"step {STEPS}")
    studio.page.screenshot(path=studio.folder / "large.png")
    studio.page.keyboard.press("Escape")


def compared(studio: Studio) -> None:
    studio.train(seed=2)
    studio.wait_for("tep 85 of")
    studio.press("Stop and keep")
    studio.wait_for("Stopped")
    studio.press("Compare")
    studio.wait_for("seed 1")
    studio.page.evaluate(f"() => {MONITOR}.querySelector('input').click()")
    studio.photograph("compared")


def cancelled(studio: Studio) -> None:
    studio.train(seed=3)
    studio.wait_for("tep 30 of")
    studio.page.evaluate("() => app.api.interrupt()")
    studio.wait_for("goes on from")
    studio.photograph("cancelled")


def failed(studio: Studio) -> None:
    studio.run(TrainingPreviews={"prompt": "a photo of a cat"})
    studio.wait_for("does not contain")
    studio.photograph("failed")


STATES: dict[str, Callable[[Studio], None]] = {
    state.__name__: state
    for state in (idle, dropped_images, learning, done, saved, large, compared, cancelled, failed)
}


def main() -> None:
    """Prepare, then go on in the prepared Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    parser.add_argument("--help-pages", action="store_true", help="make their images anew")
    options = parser.parse_args()
    host = prepare(("playwright",))
    if Path(sys.executable) != host.python:
        env = {"COMFYUI_PATH": str(host.comfyui)}
        sys.exit(run_child((host.python, __file__, *sys.argv[1:]), env))
    options.folder.mkdir(parents=True, exist_ok=True)
    with studio_in(host.comfyui, options.folder) as studio:
        for state in options.states:
            STATES[state](studio)
    if options.help_pages:
        for state in SHOWN:
            made = Image.open(studio.file(state, True, "dark")).convert("RGB")
            made.quantize(256).save(HELP / f"{state}.png", optimize=True)


@contextmanager
def studio_in(comfyui: Path, folder: Path) -> Iterator[Studio]:
    """A ComfyUI with toyworld's model, and its page with the template."""
    from demo import CHECKPOINT, SUBJECT, lay_out_base

    program = find_chromium()
    if program is None:
        raise SystemExit("No browser was found. Install Chromium, or set CHROMIUM_PATH to it.")
    SMALL["LoadImagesAsConcept"]["folder"] = f"input/{SUBJECT}"
    with tempfile.TemporaryDirectory() as base:
        lay_out_base(Path(base))
        with Server(comfyui, Path(sys.executable), Path(base)) as server, chromium(program) as one:
            page = opened(one, server)
            load_workflow(page, template(CHECKPOINT))
            page.evaluate(SET, SMALL)
            yield Studio(page, folder)


def opened(browser: Browser, server: Server) -> Page:
    """ComfyUI's page."""
    width, height = SIZE
    page = browser.new_page(viewport={"width": width, "height": height})
    page.on("pageerror", lambda error: print("page error:", error))
    open_comfyui(page, server.url, vue_nodes=False)
    page.keyboard.press("Escape")
    badges = "app.extensionManager.setting.set('Comfy.NodeBadge.NodeSourceBadgeMode', 'None')"
    page.evaluate(f"async () => {{ await {badges} }}")
    return page


def template(checkpoint: str) -> dict[str, Any]:
    """The first template, with a checkpoint that is there: the page complains of others."""
    workflow = LEARN_A_WORD.workflow()
    for node in workflow["nodes"]:
        if node["type"] == "CheckpointLoaderSimple":
            node["widgets_values"] = [checkpoint]
            node["properties"].pop("models")
    return workflow


if __name__ == "__main__":
    main()
