"""The button "Stop and keep" and the previews on the training node, in both renderers."""

from collections.abc import Iterator
from typing import Any

import pytest
from headless import Server
from page import load_workflow, settle
from playwright.sync_api import Route
from test_example import RUN, SET, SMALL
from test_nodes import PROMPT, WIDGET_NAMES, add
from view import View, wait_for_message

LABEL, STOPPING = "Stop and keep", "Stopping after this step"
STEPS = 400
BUTTON = """id => {
    const { element } = app.graph.getNodeById(id).widgets.find(
        ({ name }) => name === 'stop_and_keep')
    const { offsetWidth: width, offsetHeight: height } = element // whatever the canvas's zoom
    return { text: element.textContent, disabled: element.disabled,
             shown: element.isConnected && width > 100 && height > 15 }
}"""
STATE = """([id, disabled]) => app.graph.getNodeById(id).widgets.find(
    ({ name }) => name === 'stop_and_keep').element.disabled === disabled"""
PROGRESS = """() => {
    window.step = {}
    app.api.addEventListener('progress', ({ detail: { value, max } }) => {
        window.step[max] = value })
}"""
TRAINER = "() => app.graph.nodes.find(({ type }) => type === 'TrainTextualInversion').id"
IMAGE = """id => {
    const drawn = document.querySelector(`[data-node-id='${id}'] img`)
    const node = app.graph.getNodeById(id)
    return (LiteGraph.vueNodesMode ? drawn : node.imgs?.[0])?.naturalWidth ?? 0
}"""


def press(view: View, node: str) -> None:
    """A click of the mouse on the button, behind the templates that a new ComfyUI opens with."""
    view.page.keyboard.press("Escape")
    view.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", node)
    settle(view.page)
    view.page.get_by_role("button", name=LABEL).click()


@pytest.fixture
def trainer(view: View, server: Server, example: dict[str, Any]) -> Iterator[str]:
    """The training node of the first template, made small and long; stopped at the end."""
    load_workflow(view.page, example)
    # A seed for each renderer: nothing comes from the cache of the other.
    training = {"steps": STEPS, "seed": 50 + view.vue_nodes}
    view.page.evaluate(SET, {**SMALL, "TrainTextualInversion": training})
    yield view.page.evaluate(TRAINER)
    server.interrupt()


def test_the_button_is_there_and_rests_while_nothing_runs(view: View):
    node = add(view, "TrainTextualInversion")
    # The page lays it out after the node itself.
    view.page.wait_for_function(f"id => ({BUTTON})(id).shown", arg=node, timeout=10000)
    found = view.page.evaluate(BUTTON, node)
    assert found == {"text": LABEL, "disabled": True, "shown": True}
    sent = view.page.evaluate(PROMPT)[str(node)]["inputs"]
    assert "stop_and_keep" not in sent
    saved = view.page.evaluate("() => app.graph.serialize().nodes[0].widgets_values")
    names = view.page.evaluate(WIDGET_NAMES, node)
    assert len(saved) <= len(names) - 1
    assert None not in saved


def test_other_nodes_have_none(view: View):
    node = add(view, "CreateEmbedding")
    assert "stop_and_keep" not in view.page.evaluate(WIDGET_NAMES, node)


def test_pressing_it_ends_the_training_and_the_graph_goes_on(
    view: View, server: Server, trainer: str
):
    page = view.page
    page.evaluate(PROGRESS)
    page.evaluate(RUN)
    page.wait_for_function(STATE, arg=[trainer, False], timeout=120_000)
    # Plot Loss Graph, behind it, cannot draw a single loss.
    page.wait_for_function("most => window.step[most] >= 3", arg=STEPS, timeout=120_000)
    press(view, trainer)
    page.wait_for_function("() => window.ended !== null", timeout=120_000)
    ended = page.evaluate("() => window.ended")
    assert ended["kind"] == "execution_success", ended
    entry = server.get_json(f"/history/{ended['prompt_id']}")[ended["prompt_id"]]
    losses = entry["outputs"][str(trainer)]["ti_loss"]
    assert 3 <= len(losses) < STEPS
    assert entry["outputs"][str(trainer)]["text"][0].startswith("Learned")
    page.wait_for_function(STATE, arg=[trainer, True], timeout=10_000)
    assert page.evaluate(BUTTON, trainer)["text"] == LABEL


def believed_running(view: View) -> str:
    """A training node of which the page believes that it runs."""
    node = add(view, "TrainTextualInversion")
    event = """id => app.api.dispatchCustomEvent('progress_state', { prompt_id: 'x', nodes:
        { [id]: { node_id: String(id), display_node_id: String(id), state: 'running' } } })"""
    view.page.evaluate(event, node)
    assert view.page.evaluate(BUTTON, node)["disabled"] is False
    return node


def test_a_press_that_comes_too_late_says_so(view: View):
    """The page believes that the node runs; the server knows of no training."""
    page = view.page
    node = believed_running(view)
    press(view, node)
    wait_for_message(page, f"No training is running on node '{node}'.")
    found = page.evaluate(BUTTON, node)
    assert (found["text"], found["disabled"]) == (LABEL, False)
    page.evaluate("() => app.api.dispatchCustomEvent('execution_error', {})")
    assert page.evaluate(BUTTON, node)["disabled"] is True


@pytest.mark.parametrize(
    ("answer", "says"), [(None, "Failed to fetch"), ("<html>", "is not valid JSON")]
)
def test_a_press_that_does_not_reach_the_server_says_so_and_can_be_repeated(
    view: View, answer: str | None, says: str
):
    page = view.page
    node = believed_running(view)

    def fail(route: Route) -> None:
        route.abort() if answer is None else route.fulfill(status=502, body=answer)

    page.route("**/textual_inversion/stop", fail)
    try:
        press(view, node)
        wait_for_message(page, says)
        found = page.evaluate(BUTTON, node)
    finally:
        page.unroute("**/textual_inversion/stop")
        page.evaluate("() => app.api.dispatchCustomEvent('execution_error', {})")
    assert (found["text"], found["disabled"]) == (LABEL, False)


def test_a_node_in_a_subgraph_is_enabled_by_its_whole_id(view: View):
    page = view.page
    node = add(view, "TrainTextualInversion")
    outer = page.evaluate(
        """id => {
            const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]))
            return node.id
        }""",
        node,
    )
    inside = "outer => app.graph.getNodeById(outer).subgraph.nodes[0]"
    whole = f"{outer}:" + str(page.evaluate(f"outer => ({inside})(outer).id", outer))
    page.evaluate(
        """id => app.api.dispatchCustomEvent('progress_state', { prompt_id: 'x', nodes:
            { [id]: { node_id: id, display_node_id: id, state: 'running' } } })""",
        whole,
    )
    button = f"""outer => ({inside})(outer).widgets.find(
        ({{ name }}) => name === 'stop_and_keep').element.disabled"""
    assert page.evaluate(button, outer) is False
    page.evaluate("() => app.api.dispatchCustomEvent('execution_interrupted', {})")
    assert page.evaluate(button, outer) is True


def test_previews_are_shown_on_the_node_while_it_trains(view: View, trainer: str):
    page = view.page
    previews = page.evaluate(
        """id => {
            const settings = LiteGraph.createNode('TrainingPreviews')
            app.graph.add(settings)
            settings.connect(0, app.graph.getNodeById(id), 'previews')
            return settings.id
        }""",
        trainer,
    )
    settle(page)
    small = {"every": 2, "steps": 1, "width": 64, "height": 64}
    page.evaluate(SET, {"TrainingPreviews": small, "TrainTextualInversion": {"steps": 40}})
    sent = page.evaluate(PROMPT)
    assert sent[str(trainer)]["inputs"]["previews"] == [str(previews), 0]
    page.evaluate(RUN)
    page.wait_for_function(f"id => ({IMAGE})(id) === 64", arg=trainer, timeout=120_000)
    assert page.evaluate("() => window.ended") is None
