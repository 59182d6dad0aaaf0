"""The nodes in the page: what a user finds on them, in both renderers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from headless import PACK, REPO, Server
from page import settle
from view import View

SPHERICAL = ("method.learning_rate", "method.prior")
FREE = tuple(
    f"method.{name}" for name in ("learning_rate", "beta1", "beta2", "norm_pull", "gradient_clip")
)
TRAINING = (
    ("steps", "method"),
    (
        *("batch_size", "seed", "schedule", "warmup", "accumulation", "precision"),
        *("checkpointing", "auto_stop", "keep", "hold_out", "resume"),
    ),
)
MONITOR = "monitor"
WIDGETS = {
    "LoadImagesAsConcept": (
        *("folder", "resolution", "kind", "captions"),
        *("repeats", "subfolders", "unreadable", "images"),
    ),
    "CreateEmbedding": ("placeholder", "initializer", "vectors", "encoders"),
    "TrainTextualInversion": (*TRAINING[0], *SPHERICAL, *TRAINING[1], MONITOR),
    "TrainingObjective": (
        *("noise_levels", "from", "to", "weighting", "gamma", "offset_noise", "guidance"),
    ),
    "TrainingPreviews": (
        *("every", "prompt", "negative", "steps", "cfg", "sampler", "scheduler"),
        *("width", "height", "seed"),
    ),
    "SaveEmbedding": ("name", "storage", "overwrite", "format"),
    "ApplyEmbeddingToCLIP": ("strength",),
}
SOCKETS = {
    "LoadImagesAsConcept": (
        ["images", "masks", "fit", "caption_options", "mask_options"],
        ["concept", "crops", "report"],
    ),
    "CreateEmbedding": (["clip"], ["embedding", "word"]),
    "TrainTextualInversion": (
        ["model", "clip", "vae", "concept", "embedding", "previews", "objective"],
        ["embedding", "loss_map", "report", "previews"],
    ),
    "TrainingObjective": ([], ["objective"]),
    "TrainingPreviews": ([], ["previews"]),
    "SaveEmbedding": (["embedding", "image"], ["path"]),
    "ApplyEmbeddingToCLIP": (["clip", "embedding"], ["clip"]),
}
FACE = ("steps", "method", "learning_rate", "batch_size", "seed")
ADVANCED = (
    *("method.prior", "schedule", "warmup", "accumulation", "precision", "checkpointing"),
    *("auto_stop", "keep", "hold_out", "resume"),
)

ADD = """type => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    node.pos = [200, 120]
    return node.id
}"""
WIDGET_NAMES = """id => app.graph.getNodeById(id).widgets.map(({ name }) => name).filter(
    (name) => name !== 'more')"""
SOCKET_NAMES = """id => {
    const { inputs, outputs } = app.graph.getNodeById(id)
    return [inputs.filter((input) => !input.widget), outputs].map(
        (sockets) => sockets.map(({ name }) => name))
}"""
CHOOSE = """([id, name, value]) => {
    const widget = app.graph.getNodeById(id).widgets.find((widget) => widget.name === name)
    widget.value = value
    widget.callback?.(value)
}"""
ROW = re.compile(r"^\| `([^`]+)`(?: \(\*\w+\*\))? \|", re.MULTILINE)
PROMPT = "async () => JSON.parse(JSON.stringify((await app.graphToPrompt()).output))"


def add(view: View, node_type: str) -> str:
    """Put a node on the graph and return its id."""
    node = view.page.evaluate(ADD, node_type)
    settle(view.page)
    return node


def test_the_page_opens_without_complaints_about_the_pack(view: View) -> None:
    for node_type in WIDGETS:
        add(view, node_type)
    ours = re.compile("|".join((PACK, "TI_", *WIDGETS)))
    found = [complaint for complaint in view.complaints if ours.search(complaint)]
    # How the page tells that a graph was refused, which other tests want.
    assert [complaint for complaint in found if "PromptExecutionError" not in complaint] == []


@pytest.mark.parametrize("node_type", WIDGETS)
def test_a_node_has_its_widgets_and_sockets(view: View, node_type: str) -> None:
    node = add(view, node_type)
    assert tuple(view.page.evaluate(WIDGET_NAMES, node)) == WIDGETS[node_type]
    assert tuple(view.page.evaluate(SOCKET_NAMES, node)) == SOCKETS[node_type]


def test_choosing_the_method_changes_its_inputs_and_what_is_sent(view: View) -> None:
    node = add(view, "TrainTextualInversion")
    for method, inputs, rate in (("adamw", FREE, "0.005"), ("spherical", SPHERICAL, "0.4")):
        view.page.evaluate(CHOOSE, [node, "method", method])
        settle(view.page)
        expected = (*TRAINING[0], *inputs, *TRAINING[1])
        assert tuple(view.page.evaluate(WIDGET_NAMES, node)) == (*expected, MONITOR)
        sent = view.page.evaluate(PROMPT)[str(node)]["inputs"]
        assert tuple(sent) == expected
        assert (sent["method"], sent["method.learning_rate"]) == (method, rate)


def test_advanced_inputs_are_there_and_nodes2_hides_them_at_first(view: View) -> None:
    node = add(view, "TrainTextualInversion")
    assert set(ADVANCED) <= set(view.page.evaluate(WIDGET_NAMES, node))
    if view.vue_nodes:
        drawn = view.page.locator(f"[data-node-id='{node}']")
        for name in FACE:
            assert drawn.get_by_text(name, exact=True).count() == 1
        for name in ADVANCED:
            assert drawn.get_by_text(name.split(".")[-1], exact=True).count() == 0
        drawn.get_by_text("Show advanced inputs").click()
        drawn.get_by_text("gradient checkpointing", exact=True).wait_for()


def test_every_node_has_a_help_page_with_a_line_for_each_input_the_advanced_ones_last(
    server: Server, object_info: dict[str, Any]
) -> None:
    ours = [name for name, schema in object_info.items() if PACK in schema["python_module"]]
    assert set(WIDGETS) <= set(ours)
    for node_type in ours:
        schema, text = object_info[node_type], help_page(server, node_type)
        inputs = {shown_name(*one): one[1] for one in all_inputs(schema["input"])}
        rows = [name for name in ROW.findall(text.split("| Output |")[0]) if name in inputs]
        assert sorted(rows) == sorted(inputs), node_type
        advanced = [is_advanced(inputs[name]) for name in rows]
        assert advanced == sorted(advanced), node_type
        assert set(schema["output_name"]) <= set(re.findall(r"`([\w ]+)`", text)), node_type


def shown_name(name: str, spec: list[Any]) -> str:
    """What the page calls an input."""
    return (spec[1].get("display_name") if len(spec) > 1 else None) or name


def help_page(server: Server, node_type: str) -> str:
    """The page that ComfyUI asks for first."""
    text = server.get(f"/extensions/{PACK}/docs/{node_type}/en.md").decode()
    assert text == (REPO / "web" / "docs" / node_type / "en.md").read_text(encoding="utf-8")
    return text


def test_the_help_page_opens_from_the_node(view: View) -> None:
    node = add(view, "TrainTextualInversion")
    view.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", node)
    view.page.get_by_test_id("info-button").dispatch_event("click")
    view.page.get_by_text("The loss is nan. The model overflows").wait_for()
    assert [complaint for complaint in view.complaints if "/docs/Train" in complaint] == []


def all_inputs(groups: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Every input of a schema with its spec, those of the choices too."""
    for name, spec in {**groups.get("required", {}), **groups.get("optional", {})}.items():
        yield name, spec
        if spec[0] == "COMFY_DYNAMICCOMBO_V3":
            for choice in spec[1]["options"]:
                yield from all_inputs(choice["inputs"])


def is_advanced(spec: list[Any]) -> bool:
    """Whether the page hides an input at first."""
    return len(spec) > 1 and bool(spec[1].get("advanced"))
