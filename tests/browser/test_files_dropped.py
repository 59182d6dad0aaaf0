"""Embedding files dropped onto the node that reads them, in both renderers."""

import base64
from pathlib import Path

import pytest
import torch
from headless import Server
from page import settle
from safetensors.torch import save
from test_nodes import PROMPT, add
from view import View, wait_for_message

DROP = """async ([id, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([bytes], name))
    const options = { bubbles: true, cancelable: true, dataTransfer }
    const shown = document.querySelector(`[data-node-id="${id}"]`)
    if (shown) {
        for (const kind of ['dragover', 'drop']) shown.dispatchEvent(new DragEvent(kind, options))
    } else {
        const node = app.graph.getNodeById(id)
        const event = new DragEvent('drop', options)
        if (node.onDragOver(event)) node.onDragDrop(event)
    }
}"""
CHOSEN = "([id, value]) => app.graph.getNodeById(id).widgets[0].value === value"


@pytest.mark.parametrize("node_type", ["LoadTextualInversion", "ConvertTextualInversion"])
def test_a_dropped_file_is_uploaded_and_chosen(view: View, server: Server, node_type: str):
    data = save({"emb_params": torch.ones(1, 768)})
    node = add(view, node_type)
    settle(view.page)
    name = f"dropped-{node_type}-{view.vue_nodes}.safetensors"
    view.page.evaluate(DROP, [node, name, base64.b64encode(data).decode()])
    view.page.wait_for_function(CHOSEN, arg=[node, f"input/{name}"])
    assert (Path(server.directory) / "input" / name).read_bytes() == data
    assert view.page.evaluate(PROMPT)[str(node)]["inputs"]["file"] == f"input/{name}"


def test_an_upload_that_fails_says_so_and_leaves_the_choice(view: View):
    node = add(view, "ConvertTextualInversion")
    settle(view.page)
    view.page.route("**/upload/image", lambda route: route.abort())
    try:
        view.page.evaluate(DROP, [node, "lost.safetensors", ""])
        wait_for_message(view.page, "lost.safetensors: Failed to fetch")
    finally:
        view.page.unroute("**/upload/image")
    assert view.page.evaluate(PROMPT)[str(node)]["inputs"]["file"] == "none"
