"""Photograph the training node in each of its states, in both renderers, dark and light:
`python scripts/screenshots.py FOLDER [--states learning done]`.

A maintenance script: it needs what the browser tests need, and trains toyworld's model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environment import REPO, find_chromium, prepare, run_child
from headless import Server
from page import chromium, load_workflow, open_comfyui, settle
from playwright.sync_api import Browser, Page

LOOKS = [(vue, theme) for vue in (False, True) for theme in ("dark", "light")]
SIZE = (1280, 720)
STEPS = 400
TRAINER = "app.graph.nodes.find(({ type }) => type === 'TrainTextualInversion')"
SET = """values => {
    for (const node of app.graph.nodes)
        for (const [name, value] of Object.entries(values[node.type] ?? {}))
            node.widgets.find((widget) => widget.name === name).value = value
}"""
SMALL: dict[str, dict[str, Any]] = {
    "LoadImagesAsConcept": {"resolution": 64},
    "CreateEmbedding": {"initialiser": "star"},
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 4},
    "TrainingPreviews": {"every": 50, "steps": 12, "width": 64, "height": 64, "cfg": 4.0},
}
ADD_PREVIEWS = f"""() => {{
    const trainer = {TRAINER}
    if (trainer.inputs.find(({{ name }}) => name === 'previews').link != null) return
    const settings = LiteGraph.createNode('TrainingPreviews')
    app.graph.add(settings)
    settings.pos = [trainer.pos[0] - 400, trainer.pos[1] + 600]
    settings.connect(0, trainer, 'previews')
}}"""
CENTRE = f"""margin => {{
    const node = {TRAINER}
    const {{ ds, canvas }} = app.canvas
    const [x, y, width, height] = node.boundingRect
    ds.scale = Math.min(1, (canvas.clientHeight - margin) / height)
    ds.offset[0] = canvas.clientWidth / 2 / ds.scale - x - width / 2
    ds.offset[1] = canvas.clientHeight / 2 / ds.scale - y - height / 2
    app.canvas.setDirty(true, true)
}}"""
PHASE = f"""() => {TRAINER}.widgets.find(({{ name }}) => name === 'monitor').element.innerText"""


class Studio:
    """A page with the training graph, and where its photographs go."""

    def __init__(self, page: Page, folder: Path):
        self.page = page
        self.folder = folder

    def photograph(self, state: str) -> None:
        """The node in all looks."""
        for vue, theme in LOOKS:
            self.look(vue, theme)
            name = f"{state}-{'nodes2' if vue else 'litegraph'}-{theme}.png"
            self.page.screenshot(path=self.folder / name)
            print(name, flush=True)

    def look(self, vue: bool, theme: str) -> None:
        """Show the node in one renderer and theme."""
        self.page.evaluate(
            "async ([vue, theme]) => { const { setting } = app.extensionManager;"
            " await setting.set('Comfy.VueNodes.Enabled', vue);"
            " await setting.set('Comfy.ColorPalette', theme) }",
            [vue, theme],
        )
        self.page.wait_for_function("on => LiteGraph.vueNodesMode === on", arg=vue)
        settle(self.page)
        self.page.evaluate(CENTRE, 60)
        self.page.wait_for_timeout(500)

    def run(self, **training: Any) -> None:
        """Press Run."""
        self.page.evaluate(SET, {**SMALL, "TrainTextualInversion": training})
        self.page.evaluate("() => { void app.queuePrompt(0) }")

    def wait_for(self, text: str) -> None:
        """Wait until the monitor says something."""
        self.page.wait_for_function(
            f"text => ({PHASE})().includes(text)", arg=text, timeout=300_000
        )

    def press(self, button: str) -> None:
        """Press a button of the monitor, wherever it is on the screen."""
        self.page.evaluate(
            f"name => [...{TRAINER}.widgets.find(({{ name }}) => name === 'monitor').element"
            f".querySelectorAll('button, summary, img')].findLast((one) => (one.alt ||"
            f" one.textContent) === name).click()",
            button,
        )


def idle(studio: Studio) -> None:
    studio.photograph("idle")


def learning(studio: Studio) -> None:
    studio.run(steps=STEPS, seed=1)
    studio.wait_for("tep 110 of")
    studio.photograph("learning")


def done(studio: Studio) -> None:
    studio.run(steps=STEPS, seed=1)
    studio.wait_for("Finished")
    studio.press("Keep this one")
    studio.wait_for("embedding:")
    studio.photograph("done")


def large(studio: Studio) -> None:
    studio.press("step 400")
    studio.photograph("large")
    studio.page.keyboard.press("Escape")


def compared(studio: Studio) -> None:
    studio.run(steps=STEPS, seed=2)
    studio.wait_for("tep 200 of")
    studio.press("Stop and keep")
    studio.wait_for("Stopped")
    studio.press("Compare")
    studio.wait_for("seed 1")
    studio.page.evaluate(
        f"() => {TRAINER}.widgets.find(({{ name }}) => name === 'monitor').element"
        ".querySelector('input').click()"
    )
    studio.photograph("compared")


def cancelled(studio: Studio) -> None:
    studio.run(steps=STEPS, seed=3)
    studio.wait_for("tep 60 of")
    studio.page.evaluate("() => app.api.interrupt()")
    studio.wait_for("goes on from")
    studio.photograph("cancelled")


STATES: dict[str, Callable[[Studio], None]] = {
    shot.__name__: shot for shot in (idle, learning, done, large, compared, cancelled)
}


def main() -> None:
    """Prepare, then go on in the prepared Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    options = parser.parse_args()
    host = prepare(("playwright",))
    if Path(sys.executable) != host.python:
        env = {"COMFYUI_PATH": str(host.comfyui)}
        sys.exit(run_child((host.python, __file__, *sys.argv[1:]), env))
    options.folder.mkdir(parents=True, exist_ok=True)
    with studio_in(host.comfyui, options.folder) as studio:
        for state in options.states:
            STATES[state](studio)


@contextmanager
def studio_in(comfyui: Path, folder: Path) -> Iterator[Studio]:
    """A ComfyUI with toyworld's model, and its page with the template."""
    from demo import CHECKPOINT, SUBJECT, lay_out_base

    program = find_chromium()
    if program is None:
        raise SystemExit("No browser was found. Install Chromium, or set CHROMIUM_PATH to it.")
    workflow = REPO / "example_workflows" / "Textual Inversion 1 Learn an embedding.json"
    SMALL["CheckpointLoaderSimple"] = {"ckpt_name": CHECKPOINT}
    SMALL["LoadImagesAsConcept"]["folder"] = f"input/{SUBJECT}"
    with tempfile.TemporaryDirectory() as base:
        lay_out_base(Path(base))
        with Server(comfyui, Path(sys.executable), Path(base)) as server, chromium(program) as one:
            page = opened(one, server)
            load_workflow(page, json.loads(workflow.read_text(encoding="utf-8")))
            page.evaluate(ADD_PREVIEWS)
            yield Studio(page, folder)


def opened(browser: Browser, server: Server) -> Page:
    """ComfyUI's page."""
    width, height = SIZE
    page = browser.new_page(viewport={"width": width, "height": height})
    page.on("pageerror", lambda error: print("page error:", error))
    open_comfyui(page, server.url, vue_nodes=False)
    page.keyboard.press("Escape")
    return page


if __name__ == "__main__":
    main()
