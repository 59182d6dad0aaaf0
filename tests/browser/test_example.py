"""The templates in the page, in both renderers: they open, fit, and a user's first word is learned
as the README says.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from demo import CHECKPOINT, SUBJECT
from graphs import draw_images
from headless import PACK, Server
from page import boxes, fit, load_workflow, overlaps, settle
from playwright.sync_api import Locator
from template_plans import LEARN_A_WORD, TEMPLATES, Template
from template_plans import LEARN_A_WORD_BLUEPRINT as BLUEPRINT
from view import View, drop
from workflow import to_prompt

SMALL: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": CHECKPOINT},
    "LoadImagesAsConcept": {"folder": f"input/{SUBJECT}", "resolution": 64},
    "TrainingPreviews": {"every": 1000, "steps": 2, "width": 64, "height": 64},
}
SMALL_INSIDE = {**SMALL, "CheckpointLoaderSimple": {}, "LoadImagesAsConcept": {"resolution": 64}}
PROMPT = "async () => JSON.stringify((await app.graphToPrompt()).output)"
SET = """values => {
    for (const node of app.graph.nodes)
        for (const [name, value] of Object.entries(values[node.type] ?? {}))
            node.widgets.find((widget) => widget.name === name).value = value
}"""
LISTEN = """() => {
    window.ended = null
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, ({ detail }) => { window.ended = { kind, ...detail } })
}"""
RUN = f"() => {{ ({LISTEN})(); return app.queuePrompt(0) }}"
SHOWN = """title => {
    const node = app.graph.nodes.find((node) => node.title === title)
    const drawn = document.querySelector(`[data-node-id='${node.id}'] img`)
    return (LiteGraph.vueNodesMode ? drawn : node.imgs?.[0])?.naturalWidth > 0
}"""
MISSING = """() => app.graph.nodes.map(({ type }) => type).filter(
    (type) => !(type in LiteGraph.registered_node_types))"""
CHOSEN = """folder => app.graph.nodes.find(({ type }) => type === 'LoadImagesAsConcept')
    .widgets.find(({ name }) => name === 'folder').value === folder"""
OUTER = """() => app.graph.nodes.map(({ title, widgets, outputs }) =>
    [title, widgets.map(({ name }) => name), outputs.map(({ name }) => name)])"""
FILL = """([outer, inner]) => {
    const [node] = app.graph.nodes
    const fill = (node, values) => {
        for (const [name, value] of Object.entries(values))
            node.widgets.find((widget) => widget.name === name).value = value
    }
    fill(node, outer)
    for (const inside of node.subgraph.nodes) fill(inside, inner[inside.type] ?? {})
}"""
CARDS = "[data-testid^='template-workflow-']"
ID = "type => app.graph.nodes.find((node) => node.type === type).id"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_opens_whole_and_without_overlaps_and_asks_for_what_it_says(
    view: View, object_info: dict[str, Any], template: Template
) -> None:
    saved = template.workflow()
    load_workflow(view.page, saved)
    assert view.page.evaluate(MISSING) == []
    assert view.page.evaluate("() => app.graph.nodes.length") == len(template.nodes)
    fit(view.page)
    titles = {str(node["id"]): node.get("title", node["type"]) for node in saved["nodes"]}
    found = overlaps(boxes(view.page))
    assert [(titles[one], titles[other]) for one, other in found] == []
    # What the demo, without a browser, makes of it.
    assert to_prompt(saved, object_info) == json.loads(view.page.evaluate(PROMPT))


def test_a_search_for_what_it_does_finds_the_templates(view: View) -> None:
    page = view.page
    if view.vue_nodes:
        pytest.skip("the templates are shown alike in both renderers")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_text("All Templates").first.click()
    for words in ("textual inversion", "embedding"):
        page.get_by_placeholder("Search").last.fill(words)
        page.wait_for_function(
            f'() => document.querySelectorAll("{CARDS}").length === {len(TEMPLATES)}',
        )
        names = page.locator(CARDS).evaluate_all("cards => cards.map((one) => one.dataset.testid)")
        assert set(names) == {f"template-workflow-{one.name}" for one in TEMPLATES}, words
        page.get_by_placeholder("Search").last.fill("")
    page.keyboard.press("Escape")


def test_the_first_word_is_learned_as_the_readme_says(
    view: View, server: Server, tmp_path: Path
) -> None:
    page, photos = view.page, tmp_path / f"cat-{view.vue_nodes}"
    draw_images(photos)
    embeddings = server.directory / "models" / "embeddings"
    before = set(embeddings.glob("my-cat*.safetensors"))
    open_template(view, LEARN_A_WORD.name)  # 1
    drop(view, page.evaluate(ID, "LoadImagesAsConcept"), photos)  # 2
    page.wait_for_function(CHOSEN, arg=f"input/{photos.name}")
    choose(view, "CheckpointLoaderSimple", "ckpt_name", CHECKPOINT)  # 3
    write(view, "CreateEmbedding", placeholder="my-cat", initializer="cat")  # 4
    # Smaller than the README says. A seed for each renderer: nothing comes from the other's cache.
    training = {"TrainTextualInversion": {"steps": 4, "seed": int(view.vue_nodes)}}
    page.evaluate(SET, {**SMALL, "LoadImagesAsConcept": {"resolution": 64}, **training})
    page.evaluate(LISTEN)
    page.get_by_test_id("queue-button").click()  # 5
    page.wait_for_function("() => window.ended !== null", timeout=240_000)
    ended = page.evaluate("() => window.ended")
    assert ended["kind"] == "execution_success", ended
    page.wait_for_function(SHOWN, arg="step by step")
    assert len(set(embeddings.glob("my-cat*.safetensors")) - before) == 1
    fit(page)
    assert overlaps(boxes(page)) == []  # Nodes grow with what they show.


def test_the_blueprint_is_found_and_learns_a_word(view: View, server: Server) -> None:
    page = view.page
    page.keyboard.press("Escape")
    # What a double click opens; a busy machine's two clicks are too slow for one.
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_role("combobox", name="Add a node...").fill("textual inversion learn")
    page.get_by_role("option", name=BLUEPRINT.name).first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("() => app.graph.nodes.length === 1")
    settle(page)
    shown = [BLUEPRINT.name, [*BLUEPRINT.inputs, "monitor"], list(BLUEPRINT.outputs)]
    assert page.evaluate(OUTER) == [shown]
    word = f"blue-{view.vue_nodes}".lower()
    values = {
        "folder": f"input/{SUBJECT}",
        "trigger word": word,
        "init word": "star",
        "checkpoint": CHECKPOINT,
    }
    page.evaluate(FILL, [values, {**SMALL_INSIDE, "TrainTextualInversion": {"steps": 2}}])
    page.evaluate(RUN)
    page.wait_for_function("() => window.ended !== null", timeout=240_000)
    ended = page.evaluate("() => window.ended")
    assert ended["kind"] == "execution_success", ended
    assert (server.directory / "models" / "embeddings" / f"{word}.safetensors").is_file()
    monitor = "app.graph.nodes[0].widgets.find(({ name }) => name === 'monitor').element"
    says = f"() => {monitor}.isConnected && {monitor}.innerText.includes('Finished at step 2 of 2')"
    page.wait_for_function(says)


def open_template(view: View, name: str) -> None:
    """Choose a template as the README tells."""
    page = view.page
    page.keyboard.press("Escape")  # A new ComfyUI opens with its own templates.
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_text(PACK).first.click()
    page.get_by_test_id(f"template-workflow-{name}").click()
    page.wait_for_function(f"() => app.graph.nodes.length === {len(LEARN_A_WORD.nodes)}")
    settle(page)


def choose(view: View, node_type: str, name: str, value: str) -> None:
    """Choose from a list; LiteGraph's is drawn, and is set."""
    page = view.page
    if not view.vue_nodes:
        page.evaluate(SET, {node_type: {name: value}})
        return
    drawn(view, node_type).get_by_role("combobox", name=name).click()
    page.get_by_role("option", name=value).click()


def write(view: View, node_type: str, **texts: str) -> None:
    """Write into lines of text; LiteGraph's are drawn, and are set."""
    if not view.vue_nodes:
        view.page.evaluate(SET, {node_type: texts})
        return
    for name, text in texts.items():
        drawn(view, node_type).get_by_role("textbox", name=name).fill(text)


def drawn(view: View, node_type: str) -> Locator:
    """The one node of a class, as Nodes 2.0 draws it."""
    return view.page.locator(f"[data-node-id='{view.page.evaluate(ID, node_type)}']")
