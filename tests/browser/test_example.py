"""The example workflow in the page, in both renderers: it opens, fits, is right, and runs."""

import json
from typing import Any

import pytest
from demo import CHECKPOINT, SUBJECT
from headless import Server
from page import boxes, fit, load_workflow, overlaps
from view import View
from workflow import to_prompt

SMALL: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": CHECKPOINT},
    "LoadImagesAsConcept": {"folder": f"input/{SUBJECT}", "resolution": 64},
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 2},
}
PROMPT = "async () => JSON.stringify((await app.graphToPrompt()).output)"
SET = """values => {
    for (const node of app.graph.nodes)
        for (const [name, value] of Object.entries(values[node.type] ?? {}))
            node.widgets.find((widget) => widget.name === name).value = value
}"""
RUN = """() => {
    window.ended = null
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, ({ detail }) => { window.ended = { kind, ...detail } })
    return app.queuePrompt(0)
}"""
SHOWN = """title => {
    const node = app.graph.nodes.find((node) => node.title === title)
    const drawn = document.querySelector(`[data-node-id='${node.id}'] img`)
    return (LiteGraph.vueNodesMode ? drawn : node.imgs?.[0])?.naturalWidth > 0
}"""


@pytest.fixture
def opened(view: View, example: dict[str, Any]) -> View:
    """The page with the example workflow."""
    load_workflow(view.page, example)
    return view


def prompt(view: View) -> dict[str, Any]:
    """What the page would send to the server."""
    return json.loads(view.page.evaluate(PROMPT))


def test_it_opens_with_every_node_known(opened: View, example: dict[str, Any]) -> None:
    missing = """() => app.graph.nodes.map(({ type }) => type).filter(
        (type) => !(type in LiteGraph.registered_node_types))"""
    assert opened.page.evaluate(missing) == []
    assert opened.page.evaluate("() => app.graph.nodes.length") == len(example["nodes"])


def test_nothing_overlaps(opened: View, example: dict[str, Any]) -> None:
    fit(opened.page)
    titles = {str(node["id"]): node.get("title", node["type"]) for node in example["nodes"]}
    found = overlaps(boxes(opened.page))
    assert [(titles[one], titles[other]) for one, other in found] == []


def test_what_the_page_sends_fits_the_schemas(opened: View, object_info: dict[str, Any]) -> None:
    sent = prompt(opened)
    for node in sent.values():
        schema = object_info[node["class_type"]]["input"]
        assert set(schema["required"]) <= set(node["inputs"]), node["class_type"]
    for node in sent.values():
        for value in node["inputs"].values():
            if isinstance(value, list):
                source, slot = value
                assert slot < len(object_info[sent[source]["class_type"]]["output"])


def test_the_conversion_without_a_browser_gives_the_same_prompt(
    opened: View, example: dict[str, Any], object_info: dict[str, Any]
) -> None:
    assert to_prompt(example, object_info) == prompt(opened)


def test_before_and_after_differ_in_the_word_alone(opened: View) -> None:
    sent = prompt(opened)
    before, after = (described(sent, saved(sent, side)) for side in ("before", "after"))
    assert before != after
    assert before.replace("CreateEmbedding", "WORD") == after.replace(
        "TrainTextualInversion", "WORD"
    )


def saved(sent: dict[str, Any], side: str) -> str:
    """Id of the node that saves one of the two pictures."""
    return next(
        node_id
        for node_id, node in sent.items()
        if node["class_type"] == "SaveImage" and node["inputs"]["filename_prefix"] == side
    )


def described(sent: dict[str, Any], node_id: str) -> str:
    """What a node is made from, down to the word and the loaders."""
    node = sent[node_id]
    if node["class_type"] in ("CreateEmbedding", "TrainTextualInversion"):
        return node["class_type"]
    inputs = [
        f"{name}={described(sent, value[0])}.{value[1]}" if isinstance(value, list) else str(value)
        for name, value in node["inputs"].items()
        if name != "filename_prefix"
    ]
    return f"{node['class_type']}({', '.join(inputs)})"


def test_it_runs_and_shows_both_pictures(opened: View, server: Server) -> None:
    page = opened.page
    # A seed for each renderer: nothing comes from the cache of the other.
    training = {"TrainTextualInversion": {"steps": 4, "seed": int(opened.vue_nodes)}}
    page.evaluate(SET, {**SMALL, **training})
    page.evaluate(RUN)
    page.wait_for_function("() => window.ended !== null", timeout=240_000)
    ended = page.evaluate("() => window.ended")
    assert ended["kind"] == "execution_success", ended
    for title in ("before", "after", "loss", "what is trained on"):
        page.wait_for_function(SHOWN, arg=title, timeout=10_000)
    report = page.evaluate(
        "() => app.graph.nodes.find(({ title }) => title === 'report')"
        ".widgets.find(({ name }) => name === 'preview_text').value"
    )
    assert "Validation loss" in report
    assert list((server.directory / "models" / "embeddings").glob("my-concept*.safetensors"))
    fit(page)
    assert overlaps(boxes(page)) == []  # Nodes grow with what they show.
