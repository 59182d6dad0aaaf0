"""Build example_workflows/ in the ComfyUI page itself: `python scripts/build_workflows.py`.

A maintenance script: it needs what the browser tests need. The file is what the page saves, so
that it opens without conversions; the picture beside it is what the template browser shows.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from environment import REPO, find_chromium, prepare
from headless import Server
from page import chromium, fit, load_workflow, open_comfyui, settle
from playwright.sync_api import Page

TARGET = REPO / "example_workflows" / "train_and_sample.json"
THUMBNAIL = (1800, 860)
MARGIN = 20  # graph units around the graph
LIGHT = 200_000  # bytes
# The same in every build, so that a build without changes changes nothing.
WORKFLOW_ID = "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a11"

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CHECKPOINT_URL = (
    "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
    f"{CHECKPOINT}?download=true"
)
# Lets the page offer the download where the file is missing.
MODELS = {"models": [{"name": CHECKPOINT, "url": CHECKPOINT_URL, "directory": "checkpoints"}]}

HOW_TO = """\
### Teach the model a new word

1. Drop **3 to 20 pictures** of one thing, or their folder, onto **Load Images as Concept**. For a \
style, set **kind** to *style*.
2. In **Create Embedding**, say as **initialiser** what it is: *cat*, *vase*, *backpack*. The \
closer, the faster it learns.
3. **Run**.

**before** is the prompt with the untrained word, **after** with the learned one; the seed is the \
same. Change the prompt and run again: the training is not repeated.

The word is kept in *models/embeddings*. Later, *embedding:my-concept* in any prompt brings it \
back. For another name, change **placeholder** and the prompt.
"""


class Node(NamedTuple):
    """A node of a workflow, by the name that links and groups use."""

    name: str
    type: str
    position: tuple[int, int]
    size: tuple[int, int]
    title: str = ""
    widgets: dict[str, Any] = {}
    properties: dict[str, Any] = {}


class Group(NamedTuple):
    """A titled frame around nodes."""

    title: str
    color: str
    members: tuple[str, ...]


SAMPLER = {
    "steps": 20,
    "cfg": 7.5,
    "sampler_name": "dpmpp_2m",
    "scheduler": "karras",
    "control_after_generate": "fixed",
}


def sampling(side: str, top: int) -> list[Node]:
    """The nodes that make one of the two pictures."""
    return [
        Node(f"apply {side}", "ApplyEmbeddingToCLIP", (1760, top), (290, 130)),
        Node(f"prompt {side}", "CLIPTextEncode", (1760, top + 200), (290, 120), f"prompt ({side})"),
        Node(f"sample {side}", "KSampler", (2100, top), (290, 330), f"sample ({side})", SAMPLER),
        Node(f"decode {side}", "VAEDecode", (2100, top + 400), (290, 70)),
        Node(f"save {side}", "SaveImage", (2440, top), (410, 470), side, {"filename_prefix": side}),
    ]


NODES = [
    Node("note", "MarkdownNote", (0, 0), (390, 330), "How to use this", {"text": HOW_TO}),
    Node(
        "checkpoint",
        "CheckpointLoaderSimple",
        (0, 390),
        (390, 130),
        widgets={"ckpt_name": CHECKPOINT},
        properties=MODELS,
    ),
    Node("pictures", "LoadImagesAsConcept", (0, 640), (390, 430), widgets={"folder": "none"}),
    # Room below nodes that grow with what they say, and with their advanced inputs.
    Node("crops", "PreviewImage", (0, 1450), (390, 270), "what is trained on"),
    Node("create", "CreateEmbedding", (460, 0), (350, 150)),
    Node("train", "TrainTextualInversion", (460, 330), (350, 540)),
    Node("save", "SaveEmbedding", (460, 1150), (350, 230)),
    Node("report", "PreviewAny", (860, 0), (420, 390), "report"),
    Node("loss", "LossGraphNode", (860, 460), (420, 530), "loss"),
    Node(
        "prompt",
        "PrimitiveStringMultiline",
        (1370, 0),
        (290, 150),
        "prompt",
        {"value": "a photo of my-concept on a beach"},
    ),
    Node(
        "negative",
        "CLIPTextEncode",
        (1370, 220),
        (290, 150),
        "negative prompt",
        {"text": "blurry, low quality"},
    ),
    Node("seed", "PrimitiveInt", (1370, 440), (290, 110), "seed", {"value": 1}),
    Node("size", "EmptyLatentImage", (1370, 620), (290, 150)),
    *sampling("before", 0),
    *sampling("after", 660),
]


def sampling_links(side: str, word: str) -> list[tuple[str, str, str, str]]:
    """The links that make one of the two pictures with the word of a node."""
    return [
        ("checkpoint", "CLIP", f"apply {side}", "clip"),
        (word, "embedding", f"apply {side}", "embedding"),
        (f"apply {side}", "clip", f"prompt {side}", "clip"),
        ("prompt", "STRING", f"prompt {side}", "text"),
        ("checkpoint", "MODEL", f"sample {side}", "model"),
        (f"prompt {side}", "CONDITIONING", f"sample {side}", "positive"),
        ("negative", "CONDITIONING", f"sample {side}", "negative"),
        ("size", "LATENT", f"sample {side}", "latent_image"),
        ("seed", "INT", f"sample {side}", "seed"),
        (f"sample {side}", "LATENT", f"decode {side}", "samples"),
        ("checkpoint", "VAE", f"decode {side}", "vae"),
        (f"decode {side}", "IMAGE", f"save {side}", "images"),
    ]


LINKS = [
    ("pictures", "crops", "crops", "images"),
    ("checkpoint", "CLIP", "create", "clip"),
    ("checkpoint", "MODEL", "train", "model"),
    ("checkpoint", "CLIP", "train", "clip"),
    ("checkpoint", "VAE", "train", "vae"),
    ("pictures", "concept", "train", "concept"),
    ("create", "embedding", "train", "embedding"),
    ("train", "embedding", "save", "embedding"),
    ("train", "loss_map", "loss", "loss"),
    ("train", "report", "report", "source"),
    ("checkpoint", "CLIP", "negative", "clip"),
    *sampling_links("before", "create"),
    *sampling_links("after", "train"),
]

GROUPS = [
    Group("1 Pictures", "#3f789e", ("pictures", "crops")),
    Group("2 Train", "#8A8", ("create", "train", "save", "report", "loss")),
    Group("3 Prompt for both", "#b58b2a", ("prompt", "negative", "seed", "size")),
    Group("4 Before", "#88A", tuple(node.name for node in sampling("before", 0))),
    Group("5 After", "#A88", tuple(node.name for node in sampling("after", 0))),
]

BUILD = """({ id, nodes, links, groups }) => {
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
        Object.assign(node.properties, properties)
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
    """Build the workflow and its thumbnail."""
    host = prepare(("playwright",))
    program = find_chromium()
    if program is None:
        raise SystemExit("No browser was found. Install Chromium, or set CHROMIUM_PATH to it.")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(host.comfyui, host.python, Path(folder)) as server,
        chromium(program) as browser,
    ):
        # An empty file of the checkpoint's name, so that the picture does not show it missing.
        (server.directory / "models" / "checkpoints" / CHECKPOINT).touch()
        width, height = THUMBNAIL
        page = browser.new_page(viewport={"width": width, "height": height})
        open_comfyui(page, server.url, vue_nodes=False)
        workflow = build(page)
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        TARGET.write_text(text, encoding="utf-8")
        open_comfyui(page, server.url, vue_nodes=True)
        load_workflow(page, workflow)
        photograph(page, TARGET.with_suffix(".jpg"))
    print(f"{TARGET}: {len(NODES)} nodes, {len(LINKS)} links")


def build(page: Page) -> dict[str, Any]:
    """Build the workflow in the page, and return what the page would save."""
    plan = {"id": WORKFLOW_ID, "nodes": NODES, "links": LINKS, "groups": GROUPS}
    page.evaluate(BUILD, plan)
    settle(page)
    fit(page)
    # As the menu's Export; as text, because a value that is undefined would come over as null.
    saved = page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).workflow)")
    return json.loads(saved)


def photograph(page: Page, target: Path) -> None:
    """A picture of the graph without the page's menus."""
    width, height = THUMBNAIL
    page.evaluate(
        "async () => { await app.extensionManager.command.execute('Workspace.ToggleFocusMode') }"
    )
    page.evaluate(SHOW, [width, height, MARGIN])
    page.wait_for_timeout(1000)  # Nodes 2.0 draws sharply once the view rests.
    page.screenshot(path=target, type="jpeg", quality=70)
    if target.stat().st_size > LIGHT:
        raise SystemExit(f"{target} is too heavy ({target.stat().st_size} bytes).")


if __name__ == "__main__":
    main()
