"""What a node has to say stands on it, in both renderers: reports, refusals, errors, notices."""

from collections.abc import Iterator
from typing import Any

import pytest
from headless import Server
from page import load_workflow, settle
from playwright.sync_api import Page
from test_example import RUN, SET, SMALL
from test_nodes import PROMPT, add
from view import View

SAID = """type => {
    const node = app.graph.nodes.find((node) => node.type === type)
    const { element } = node.widgets?.find(({ name }) => name === 'says') ?? {}
    if (!element?.isConnected) return null
    const { height, bottom } = element.getBoundingClientRect()
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    const { canvas, ds } = app.canvas
    const below = ds.convertOffsetToCanvas([0, node.pos[1] + node.size[1]])[1]
    const end = drawn?.bottom ?? canvas.getBoundingClientRect().top + below
    return { text: element.innerText, inside: height > 8 && bottom <= end + 1 }
}"""
SAYS = f"([type, text]) => ({SAID})(type)?.text.includes(text)"
SILENT = f"type => !({SAID})(type)?.text"
ENDED = "() => window.ended !== null"
CONNECT = """([from, output, to, input]) => {
    const find = (type) => app.graph.nodes.find((node) => node.type === type)
    find(from).connect(output, find(to), input)
}"""


def says(page: Page, node_type: str, text: str) -> None:
    """Wait until the node says it, inside of its frame."""
    page.wait_for_function(SAYS, arg=[node_type, text])
    page.wait_for_function(f"type => ({SAID})(type).inside", arg=node_type)


def run(page: Page) -> None:
    """Press Run, and wait for the end."""
    page.evaluate(RUN)
    page.wait_for_function(ENDED)


def graph(view: View, *links: tuple[str, int, str, str], **values: dict[str, Any]) -> None:
    """Nodes with links between them and values on them."""
    types = list(dict.fromkeys(name for one, _, other, _ in links for name in (one, other)))
    for number, node_type in enumerate(types):
        node = add(view, node_type)
        place = [number % 3 * 450 + 80, number // 3 * 480 + 80]
        view.page.evaluate("([id, at]) => { app.graph.getNodeById(id).pos = at }", [node, place])
    for link in links:
        view.page.evaluate(CONNECT, list(link))
    view.page.evaluate(SET, {**SMALL, **values})
    view.page.evaluate("() => { app.canvas.ds.scale = 0.6; app.canvas.setDirty(true, true) }")
    settle(view.page)


WORD: tuple[tuple[str, int, str, str], ...] = (
    ("CheckpointLoaderSimple", 1, "CreateEmbedding", "clip"),
    ("CreateEmbedding", 0, "SaveEmbedding", "embedding"),
)
PROMPTED = (
    WORD[0],
    ("CheckpointLoaderSimple", 1, "ApplyEmbeddingToCLIP", "clip"),
    ("CreateEmbedding", 0, "ApplyEmbeddingToCLIP", "embedding"),
    ("ApplyEmbeddingToCLIP", 0, "CLIPTextEncode", "clip"),
    ("CLIPTextEncode", 0, "PreviewAny", "source"),
)


@pytest.fixture
def clipboard(view: View) -> Iterator[Any]:
    """Reads what was copied."""
    view.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield lambda: view.page.evaluate("() => navigator.clipboard.readText()")
    view.page.context.clear_permissions()


def test_a_refusal_stands_on_its_node_until_it_is_mended(view: View):
    page = view.page
    graph(view, *WORD, CreateEmbedding={"placeholder": "my cat"})
    page.evaluate(RUN)
    says(page, "CreateEmbedding", "The trigger word 'my cat' cannot be written in a prompt.")
    values = {"placeholder": f"refused-{view.vue_nodes}", "initializer": "star"}
    page.evaluate(SET, {"CreateEmbedding": values})
    run(page)
    says(page, "CreateEmbedding", "starts as 'star': 1 vector, for SD 1")
    assert "cannot be written" not in page.evaluate(SAID, "CreateEmbedding")["text"]


def test_the_text_for_a_prompt_is_copied_and_no_path_is_shown(
    view: View, server: Server, clipboard: Any
):
    page = view.page
    word = f"copied-{view.vue_nodes}"
    graph(
        view,
        *WORD,
        CreateEmbedding={"placeholder": word, "initializer": "cat"},
        SaveEmbedding={"name": f"pets/{word}"},
    )
    run(page)
    says(page, "SaveEmbedding", f"Saved as pets/{word}")
    assert str(server.directory) not in page.evaluate(SAID, "SaveEmbedding")["text"]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Copy", exact=True).dispatch_event("click")
    page.get_by_role("button", name="Copied", exact=True).wait_for()
    assert clipboard().startswith(f"embedding:pets/{word}")
    saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    assert "Saved as" not in saved
    assert "says" not in str(page.evaluate(PROMPT))


def test_a_prompt_without_the_word_is_told_on_the_node_that_has_no_effect(view: View):
    page = view.page
    word = f"unsaid-{view.vue_nodes}"
    graph(
        view,
        *PROMPTED,
        CreateEmbedding={"placeholder": word, "initializer": "cat"},
        CLIPTextEncode={"text": f"a photo of {word.replace('-', ' ')}"},
    )
    run(page)
    says(page, "ApplyEmbeddingToCLIP", f"No prompt contains '{word}', so it has no effect.")
    load_workflow(page, page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))
    assert page.evaluate(SILENT, "ApplyEmbeddingToCLIP")  # The page knows of the last run no more.
    run(page)
    says(page, "ApplyEmbeddingToCLIP", f"No prompt contains '{word}', so it has no effect.")
    page.evaluate(SET, {"CLIPTextEncode": {"text": f"a photo of {word}"}})
    run(page)
    page.wait_for_function(SILENT, arg="ApplyEmbeddingToCLIP")


def test_an_error_stands_on_its_node(view: View):
    page = view.page
    graph(view, *PROMPTED, CreateEmbedding={"initializer": "<|endoftext|>"})
    run(page)
    assert page.evaluate("() => window.ended.kind") == "execution_error"
    says(page, "CreateEmbedding", "The init word '<|endoftext|>' has no tokens.")


def test_what_a_concept_and_its_audit_say_begins_with_the_verdict(view: View):
    page = view.page
    graph(view, ("LoadImagesAsConcept", 0, "ConceptAudit", "concept"))
    run(page)
    says(page, "LoadImagesAsConcept", "images at 64 x 64, captions: 'object'.")
    says(page, "ConceptAudit", "Nothing needs attention.\n")
    sheet = """() => {
        const node = app.graph.nodes.find(({ type }) => type === 'ConceptAudit')
        const drawn = document.querySelector(`[data-node-id='${node.id}'] img`)
        return (LiteGraph.vueNodesMode ? drawn : node.imgs?.[0])?.naturalWidth > 0
    }"""
    page.wait_for_function(sheet)


def test_advanced_inputs_are_folded_and_the_switch_survives(view: View):
    """In LiteGraph by this pack, in Nodes 2.0 by the page; what is stored is the same."""
    page = view.page
    node = add(view, "TrainTextualInversion")
    shown = """id => {
        const node = app.graph.getNodeById(id)
        return node.widgets.filter((one) => !one.options.canvasOnly && one.serialize !== false
            && node.isWidgetVisible(one)).map(({ name }) => name.split('.').pop())
    }"""
    if view.vue_nodes:
        assert page.get_by_text("more inputs").count() == 0
        return
    face = ["steps", "method", "learning_rate", "batch_size", "seed"]
    assert page.evaluate(shown, node) == face
    low = page.evaluate("id => app.graph.getNodeById(id).size[1]", node)
    before = page.evaluate("() => app.graph.serialize().nodes[0].widgets_values")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="more inputs").click()
    assert len(page.evaluate(shown, node)) > 10
    assert page.evaluate("id => app.graph.getNodeById(id).size[1]", node) > low + 100
    assert page.evaluate("() => app.graph.serialize().nodes[0].widgets_values") == before
    load_workflow(page, page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))
    assert len(page.evaluate(shown, page.evaluate("() => app.graph.nodes[0].id"))) > 10
    page.get_by_role("button", name="Fewer inputs").click()
    assert page.evaluate(shown, page.evaluate("() => app.graph.nodes[0].id")) == face


def test_own_wires_have_colors_that_a_palette_leaves(view: View):
    page = view.page
    colors = """() => {
        const ours = Object.values(LiteGraph.registered_node_types).map(({ nodeData }) => nodeData)
            .filter((data) => data?.category?.startsWith('model/training/textual inversion'))
        const kinds = ours.flatMap(({ outputs }) => outputs.map(({ type }) => type))
            .filter((kind) => kind.startsWith('TI_'))
        const style = getComputedStyle(document.documentElement)
        return [...new Set(kinds)].map((kind) => [kind, LGraphCanvas.link_type_colors[kind],
            style.getPropertyValue(`--color-datatype-${kind}`).trim()])
    }"""
    set_palette = "name => app.extensionManager.setting.set('Comfy.ColorPalette', name)"
    before = page.evaluate(colors)
    assert {"TI_CONCEPT", "TI_EMBEDDING", "TI_OBJECTIVE"} <= {kind for kind, *_ in before}
    assert all(wire == shown and str(wire).startswith("#") for _, wire, shown in before), before
    assert len({wire for _, wire, _ in before}) == len(before)
    for palette in ("light", "dark"):
        page.evaluate(set_palette, palette)
        page.wait_for_timeout(200)
        assert page.evaluate(colors) == before


CAPTIONED = (
    WORD[0],
    ("CheckpointLoaderSimple", 0, "ConceptAutoCaption", "model"),
    ("CheckpointLoaderSimple", 1, "ConceptAutoCaption", "clip"),
    ("CheckpointLoaderSimple", 2, "ConceptAutoCaption", "vae"),
    ("CreateEmbedding", 0, "ConceptAutoCaption", "embedding"),
    ("LoadImagesAsConcept", 0, "ConceptAutoCaption", "concept"),
    ("ConceptAutoCaption", 1, "PreviewAny", "source"),
)
FIELD = """([kind, field]) => app.graph.nodes.find(({ type }) => type === kind).widgets
    .find(({ name }) => name === field).value"""
CAPTION_TEXT = ["ConceptAutoCaption", "captions"]


def test_captions_that_were_found_can_be_edited_on_the_node(view: View):
    page = view.page
    quick = {"samples": 1, "fragments": "a photo of {} [place]\n[place]\non grass\nat night"}
    graph(view, *CAPTIONED, CreateEmbedding={"initializer": "star"}, ConceptAutoCaption=quick)
    run(page)
    says(page, "ConceptAutoCaption", "images read in")
    lines = page.evaluate(FIELD, CAPTION_TEXT).splitlines()
    assert len(lines) > 1 and all(": a photo of {}" in line for line in lines), lines
    edited = "\n".join([lines[0].replace("a photo", "a drawing"), *lines[1:]])
    page.evaluate(SET, {"ConceptAutoCaption": {"captions": edited}})
    run(page)
    says(page, "ConceptAutoCaption", "0 images read")
    assert page.evaluate(FIELD, CAPTION_TEXT) == edited
    page.evaluate(SET, {"ConceptAutoCaption": {"captions": "\n".join(lines[1:])}})
    run(page)
    says(page, "ConceptAutoCaption", "1 image read")
    assert sorted(page.evaluate(FIELD, CAPTION_TEXT).splitlines()) == sorted(lines)


DESCRIBED = (
    ("CheckpointLoaderSimple", 0, "ConceptInitWord", "model"),
    ("CheckpointLoaderSimple", 1, "ConceptInitWord", "clip"),
    ("CheckpointLoaderSimple", 2, "ConceptInitWord", "vae"),
    ("LoadImagesAsConcept", 0, "ConceptInitWord", "concept"),
    WORD[0],
    ("ConceptInitWord", 0, "CreateEmbedding", "initializer"),
    ("CreateEmbedding", 1, "PreviewAny", "source"),
)
LOOKS = ["ConceptInitWord", "looks"]


def test_an_init_word_that_was_found_can_be_edited_on_the_node(view: View):
    page = view.page
    quick = {"noun": "star", "samples": 1, "fragments": "[color] {}\n[color]\npurple\nwhite"}
    graph(view, *DESCRIBED, ConceptInitWord=quick, CreateEmbedding={"vectors": 0})
    run(page)
    says(page, "ConceptInitWord", "images read in")
    words = page.evaluate(FIELD, LOOKS)
    assert words in ("star", "purple star", "white star")
    says(page, "CreateEmbedding", f"starts as '{words}'")
    page.evaluate(SET, {"ConceptInitWord": {"looks": "golden star"}})
    run(page)
    says(page, "ConceptInitWord", "Init word: golden star (from the field)")
    says(page, "CreateEmbedding", "starts as 'golden star'")
    assert page.evaluate(FIELD, LOOKS) == "golden star"
