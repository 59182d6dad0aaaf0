"""Build example_workflows/ and subgraphs/ in the ComfyUI page: `python scripts/build_workflows.py`.

A maintenance script: it needs what the browser tests need. The files are what the page saves, so
that they open without conversions; the image beside each is what the template browser shows.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from environment import REPO, find_chromium, prepare
from headless import PACK, Server
from page import chromium, fit, load_workflow, open_comfyui, settle
from PIL import Image, ImageDraw
from playwright.sync_api import Page
from template_plans import FILES, TEMPLATES, WORDS, Blueprint, Template, registered
from template_plans import LEARN_A_WORD_BLUEPRINT as BLUEPRINT

FIRST = REPO / "docs" / "template.jpg"
LEARNED = REPO / "docs" / "learned.png"
CELL, LABEL = 256, 32  # pixels of the images there, and of the line above them
PHOTOGRAPH = (1800, 860)
MARGIN = 20  # graph units around the graph

BUILD = """({ id, nodes, links, groups, pack, cnr }) => {
    app.graph.clear()
    app.graph.id = id
    const made = {}
    for (const [name, type, pos, size, title, widgets, properties] of nodes) {
        const node = (made[name] = LiteGraph.createNode(type))
        app.graph.add(node)
        node.pos = pos
        node.size = size
        node.updateArea()
        if (title) node.title = title
        const ours = node.constructor.nodeData?.python_module?.endsWith(pack)
        Object.assign(node.properties, properties, ours ? cnr : {})
        for (const [widgetName, value] of Object.entries(widgets)) {
            const widget = node.widgets?.find(({ name }) => name === widgetName)
            if (!widget) throw new Error(`${type} has no widget ${widgetName}`)
            widget.value = value
            widget.callback?.(value)
        }
    }
    for (const [source, output, target, input] of links) {
        const slot = made[source].findOutputSlot(output)
        const place = made[target].findInputSlot(input)
        if (slot < 0 || place < 0 || !made[source].connect(slot, made[target], place))
            throw new Error(`no link from ${source} ${output} to ${target} ${input}`)
    }
    for (const [title, color, members] of groups) {
        const group = new LiteGraph.LGraphGroup(title)
        group.color = color
        group.resizeTo(members.map((name) => made[name]), 20)
        app.graph.add(group)
    }
    return Object.fromEntries(nodes.map(([name]) => [name, made[name].id]))
}"""

# As the page's "Publish subgraph" does, with names for what is promoted.
FOLD = """({ id, name, description, ids, inputs, outputs, cnr }) => {
    const inside = (name) => app.graph.getNodeById(ids[name])
    const all = new Set(Object.keys(ids).map(inside))
    const { subgraph, node } = app.graph.convertToSubgraph(all)
    for (const promoted of [...subgraph.inputs]) subgraph.removeInput(promoted) // seeds, unasked
    const nodes = Object.fromEntries(Object.entries(ids).map(
        ([name, id]) => [name, subgraph.getNodeById(id)]))
    for (const [label, [owner, widget]] of Object.entries(inputs)) {
        const slot = nodes[owner].inputs.find((input) => input.widget?.name === widget)
        subgraph.addInput(label, String(slot.type)).connect(slot, nodes[owner])
    }
    for (const [label, [owner, output]] of Object.entries(outputs)) {
        const slot = nodes[owner].outputs.find((slot) => slot.name === output)
        subgraph.addOutput(label, slot.type).connect(slot, nodes[owner])
    }
    node.title = subgraph.name = name
    Object.assign(node.properties, cnr)
    const folded = app.canvas._serializeItems([node])
    const whole = {
        id, revision: 0, last_node_id: node.id, last_link_id: 0, nodes: folded.nodes, links: [],
        version: 0.4, definitions: { subgraphs: folded.subgraphs },
        extra: { BlueprintDescription: description } }
    return JSON.stringify(whole).replaceAll(subgraph.id, id)
}"""


SHOW = """([width, height, margin]) => {
    const boxes = [...app.graph.groups, ...app.graph.nodes].map(
        (item) => item.boundingRect ?? item._bounding)
    const [left, top] = [0, 1].map((axis) => Math.min(...boxes.map((box) => box[axis])) - margin)
    const [right, bottom] = [0, 1].map(
        (axis) => Math.max(...boxes.map((box) => box[axis] + box[axis + 2])) + margin)
    const scale = Math.min(width / (right - left), height / (bottom - top))
    app.canvas.ds.scale = scale
    app.canvas.ds.offset = [
        (width / scale - left - right) / 2, (height / scale - top - bottom) / 2]
    app.canvas.setDirty(true, true)
}"""


def main() -> None:
    """Build the workflows, their thumbnails, and the README's image of the first."""
    host = prepare(("playwright",))
    program = find_chromium()
    if program is None:
        raise SystemExit("No browser was found. Install Chromium, or set CHROMIUM_PATH to it.")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(host.comfyui, host.python, Path(folder)) as server,
        chromium(program) as browser,
    ):
        lay_out_files(server.directory / "models")
        width, height = PHOTOGRAPH
        page = browser.new_page(viewport={"width": width, "height": height})
        open_comfyui(page, server.url, vue_nodes=False)
        for template in TEMPLATES:
            write(template.file, build(page, template))
            thumbnail(template).save(template.file.with_suffix(".jpg"), quality=85)
            print(f"{template.name}: {len(template.nodes)} nodes, {len(template.links)} links")
        write(BLUEPRINT.file, fold(page, BLUEPRINT))
        open_comfyui(page, server.url, vue_nodes=True)
        load_workflow(page, TEMPLATES[0].workflow())
        photograph(page, FIRST)


def lay_out_files(models: Path) -> None:
    """Empty files of the names that the templates choose, so that the page offers them."""
    words = (models / "embeddings" / name for name in WORDS)
    for path in (*(models / file.folder / file.name for file in FILES), *words):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(file: Path, workflow: dict[str, Any]) -> None:
    """Store a workflow."""
    file.parent.mkdir(exist_ok=True)
    text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")


def build(page: Page, template: Template) -> dict[str, Any]:
    """Build a workflow in the page, and return what the page would save."""
    page.evaluate(BUILD, {**template._asdict(), "pack": PACK, "cnr": registered()})
    settle(page)
    fit(page)
    # As the menu's Export; as text, because a value that is undefined would come over as null.
    saved = page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).workflow)")
    return json.loads(saved)


def fold(page: Page, blueprint: Blueprint) -> dict[str, Any]:
    """Build a blueprint in the page, and return what the page would publish."""
    cnr = registered()
    plan = {**blueprint._asdict(), "groups": [], "pack": PACK, "cnr": cnr}
    ids = page.evaluate(BUILD, plan)
    settle(page)
    folded = json.loads(page.evaluate(FOLD, {**plan, "ids": ids}))
    (inside,) = folded["definitions"]["subgraphs"]
    for slot in (*inside["inputs"], *inside["outputs"]):
        slot["id"] = str(
            uuid5(UUID(blueprint.id), slot["name"])
        )  # The page's differ in each build.
    return folded


def thumbnail(template: Template) -> Image.Image:
    """Images that the demo drew, in a square with the template's caption."""
    square = Image.new("RGB", (2 * CELL, 2 * CELL), "#20242c")
    with Image.open(LEARNED) as strip:
        for place, cell in enumerate(template.cells):
            left = cell * CELL
            image = strip.crop((left, LABEL, left + CELL, LABEL + CELL))
            square.paste(image, (place % 2 * CELL, place // 2 * CELL))
    middle = (CELL * 3 // 2, CELL * 3 // 2)
    ImageDraw.Draw(square).text(middle, template.caption, "white", anchor="mm", font_size=28)
    return square


def photograph(page: Page, target: Path) -> None:
    """An image of the graph without the page's menus."""
    page.evaluate(
        "async () => { await app.extensionManager.command.execute('Workspace.ToggleFocusMode') }"
    )
    page.evaluate(SHOW, [*PHOTOGRAPH, MARGIN])
    page.wait_for_timeout(1000)  # Nodes 2.0 draws sharply once the view rests.
    page.screenshot(path=target, type="jpeg", quality=70)


if __name__ == "__main__":
    main()
