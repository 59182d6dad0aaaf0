"""The monitor on the training node, against a real training, in both renderers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import Prompt, graph, node
from headless import PACK, Server
from page import EMPTY, load_workflow, open_comfyui, settle
from playwright.sync_api import Browser, Page, Route
from safetensors import safe_open
from test_nodes import PROMPT, WIDGET_NAMES, add
from view import View

LONG = 4000
LOAD = "async prompt => { await app.loadApiJson(prompt, 'monitor') }"
QUEUE = """() => {
    window.ended = null
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, ({ detail }) => { window.ended = { kind, ...detail } })
    return app.queuePrompt(0)
}"""
TRAINER = "app.graph.nodes.find(({ type }) => type === 'TrainTextualInversion')"
MONITOR = f"{TRAINER}.widgets.find(({{ name }}) => name === 'monitor').element"
TEXT = f"() => {MONITOR}.innerText"
SAYS = f"text => {MONITOR}.innerText.includes(text)"
IMAGES = f"""() => [...{MONITOR}.querySelectorAll('.ti-strip img')].filter(
    ({{ naturalWidth }}) => naturalWidth > 0).map(({{ alt }}) => alt)"""
# How many colors the curve has: an empty canvas has one.
PAINTED = f"""() => {{
    const canvas = {MONITOR}.querySelector('canvas')
    const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    return new Set(new Uint32Array(data.buffer)).size
}}"""
BUTTON = f"name => [...{MONITOR}.querySelectorAll('button')].find((b) => b.innerText === name)"
PRESS = f"name => ({BUTTON})(name).click()"
RESTS = f"name => ({BUTTON})(name)?.disabled === true"
KEEP = f"""step => [...{MONITOR}.querySelectorAll('figure')].find(
    (one) => one.innerText.startsWith(step)).querySelector('button').click()"""
TOLD = f"() => {MONITOR}.querySelector('code')?.innerText ?? ''"
STEP = f"() => Number({MONITOR}.innerText.match(/[Ss]tep (\\d+)\\b/)?.[1] ?? -1)"
RESUMES_FROM = f"() => Number({MONITOR}.innerText.match(/resume from step (\\d+)/)?.[1] ?? -1)"


def training(seed: int, **changes: Any) -> Prompt:
    """A graph with a training that takes long, and is stored."""
    long = {"train__steps": LONG, "train__auto_stop": False, "train__resume": "continue"}
    made = graph(train__seed=seed, **{**long, **changes})
    return {name: made[name] for name in ("load", "concept", "word", "train", "save")}


def wait(page: Page, script: str, arg: Any = None) -> None:
    try:
        page.wait_for_function(script, arg=arg, timeout=120_000)
    except Exception:
        print(page.evaluate(TEXT), page.evaluate(f"() => {MONITOR}.outerHTML"))
        raise


def at_least(page: Page, step: int) -> None:
    wait(page, f"least => ({STEP})() >= least", step)


def shown(page: Page) -> None:
    """Bring the node to where it can be seen: the page draws nothing else."""
    page.evaluate(f"() => app.canvas.centerOnNode({TRAINER})")
    settle(page)
    wait(page, f"() => {MONITOR}.isConnected && {MONITOR}.offsetHeight > 40")


def opened(page: Page, workflow: dict[str, Any]) -> None:
    load_workflow(page, workflow)
    shown(page)


@contextmanager
def cut(page: Page) -> Iterator[None]:
    """The page's socket cannot be opened for a while; the server goes on and answers."""
    page.evaluate(
        """() => {
            const Whole = (window.whole = window.WebSocket)
            window.WebSocket = class extends Whole {
                constructor(url) { super(url.replace('/ws', '/nowhere')) }
            }
            window.back = new Promise((done) =>
                app.api.addEventListener('reconnected', done, { once: true }))
            app.api.socket.close()
        }"""
    )
    yield
    page.evaluate("async () => { window.WebSocket = window.whole; await window.back }")


def until(server: Server, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The youngest run as the server knows it, as soon as it is so far."""
    deadline = time.monotonic() + 120
    while not what(run := server.get_json("/textual_inversion/state")["runs"][-1]):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def saved_vectors(server: Server, name: str) -> torch.Tensor:
    path = server.directory / "models" / "embeddings" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return file.get_tensor("emb_params")


def stored(server: Server, step: int) -> torch.Tensor:
    """The word in the checkpoint of a step, of the run that is stored last."""
    root = Path(server.directory) / "user" / "textual_inversion_runs"
    found = root.glob(f"my-star-*/step-{step:09d}.safetensors")
    with safe_open(max(found, key=lambda path: path.stat().st_mtime), "pt") as file:
        return file.get_tensor("mean/clip_l")


@pytest.fixture(scope="module")
def trained(opened_view: View, server: Server) -> Iterator[dict[str, Any]]:
    """The workflow of a training that runs, on the page."""
    page = opened_view.page
    page.evaluate(LOAD, training(70 + opened_view.vue_nodes))
    page.evaluate(QUEUE)
    shown(page)
    at_least(page, 26)
    yield json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    server.clear()


def test_it_follows_the_training_in_words_and_in_a_curve(
    opened_view: View, trained: dict[str, Any]
) -> None:
    page = opened_view.page
    text = page.evaluate(TEXT)
    assert f"of {LONG}" in text and "s/step" in text and "left" in text
    assert "my-star: validation loss" in text and "'star'" in text
    assert "Nearest words: " in text
    before = page.evaluate(STEP)
    at_least(page, before + 5)
    assert page.evaluate(PAINTED) > 3


def test_preview_now_draws_the_word_beside_the_word_as_it_came(
    opened_view: View, trained: dict[str, Any]
) -> None:
    page = opened_view.page
    page.evaluate(PRESS, "Preview now")
    wait(page, f"() => ({IMAGES})().length >= 2")
    assert page.evaluate(IMAGES)[0] == "step 0"
    sizes = page.evaluate(
        f"() => [...{MONITOR}.querySelectorAll('img')].map((i) => i.naturalWidth)"
    )
    assert set(sizes) == {128}  # The word alone, and one edit, in the size of the images.


def test_a_second_page_shows_the_same_run(
    opened_view: View, trained: dict[str, Any], browser: Browser, server: Server
) -> None:
    context = browser.new_context()
    other = context.new_page()
    open_comfyui(other, server.url, opened_view.vue_nodes)
    opened(other, trained)
    at_least(other, opened_view.page.evaluate(STEP))
    wait(other, f"() => ({IMAGES})()[0] === 'step 0'")
    at_least(other, other.evaluate(STEP) + 3)
    context.close()
    assert "Nearest words" in opened_view.page.evaluate(TEXT)


def test_save_now_and_keep_this_one_write_the_vectors_of_their_steps(
    opened_view: View, trained: dict[str, Any], server: Server
) -> None:
    page = opened_view.page
    page.evaluate(PRESS, "Save now")
    wait(page, f"() => ({TOLD})() !== ''")
    now = page.evaluate(TOLD).removeprefix("embedding:")
    page.evaluate(PRESS, "Copy")
    wait(page, SAYS, "Copied")
    page.evaluate(KEEP, "step 25")
    wait(page, f"before => ({TOLD})() !== before", f"embedding:{now}")
    kept = page.evaluate(TOLD).removeprefix("embedding:")
    assert saved_vectors(server, kept).equal(stored(server, 25))
    assert not saved_vectors(server, kept).equal(saved_vectors(server, now))
    page.evaluate(KEEP, "step 25")  # Once more: the file is there already.
    wait(page, f"() => {MONITOR}.querySelectorAll('button:not(:disabled)').length > 3")
    assert page.evaluate(TOLD) == f"embedding:{kept}"


def test_a_reload_in_the_middle_and_a_fold_lose_nothing(
    opened_view: View, trained: dict[str, Any], server: Server
) -> None:
    page, before = opened_view.page, opened_view.page.evaluate(STEP)
    open_comfyui(page, server.url, opened_view.vue_nodes)
    opened(page, trained)
    at_least(page, before)
    wait(page, f"() => ({IMAGES})()[0] === 'step 0'")
    page.evaluate(f"() => {TRAINER}.collapse()")
    settle(page)
    page.evaluate(f"() => {TRAINER}.collapse()")
    shown(page)
    at_least(page, page.evaluate(STEP) + 3)
    wait(page, f"() => ({PAINTED})() > 3")


def test_while_the_socket_is_cut_and_after_it_the_page_is_right(
    opened_view: View, trained: dict[str, Any], server: Server
) -> None:
    page = opened_view.page
    with cut(page):
        before = page.evaluate(STEP)
        drawn = len(page.evaluate(IMAGES))
        page.evaluate(PRESS, "Preview now")
        run = until(server, lambda run: run["step"] > before and len(run["images"]) > drawn)
        at_least(page, run["step"])
        wait(page, f"most => ({IMAGES})().length >= most", len(run["images"]))
    at_least(page, run["step"] + 3)


def test_cancel_while_the_socket_is_cut_is_stored_and_run_goes_on_from_there(
    opened_view: View, trained: dict[str, Any], server: Server
) -> None:
    page = opened_view.page
    with cut(page):
        page.evaluate("() => app.api.interrupt()")
        until(server, lambda run: run["phase"] == "cancelled")
    wait(page, SAYS, "Queue again to resume from step")
    assert page.evaluate(RESTS, "Stop and keep")
    at = page.evaluate(RESUMES_FROM)
    page.evaluate(QUEUE)
    wait(page, SAYS, f"resumed from step {at}")
    at_least(page, at + 3)


def test_stop_and_keep_ends_it_and_the_graph_goes_on(
    opened_view: View, trained: dict[str, Any], server: Server
) -> None:
    page = opened_view.page
    page.evaluate(PRESS, "Stop and keep")
    page.wait_for_function("() => window.ended !== null")
    ended = page.evaluate("() => window.ended")
    assert ended["kind"] == "execution_success", ended
    wait(page, SAYS, "Stopped by the user at step")
    entry = server.get_json(f"/history/{ended['prompt_id']}")[ended["prompt_id"]]
    assert "Saved as " in entry["outputs"]["save"]["text"][0]
    # By now the page has given the workflow its id, as it keeps it for the next visit.
    workflow = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    open_comfyui(page, server.url, opened_view.vue_nodes)
    opened(page, workflow)
    wait(page, SAYS, "Stopped by the user at step")
    assert page.evaluate(RESTS, "Save now")
    wait(page, f"() => ({PAINTED})() > 3")


def test_other_stored_runs_can_be_drawn_behind(opened_view: View, trained: dict[str, Any]) -> None:
    page = opened_view.page
    page.evaluate(LOAD, training(60 + opened_view.vue_nodes, train__steps=5))
    page.evaluate(QUEUE)
    shown(page)
    wait(page, SAYS, "Finished at step 5")
    page.evaluate(f"() => [...{MONITOR}.querySelectorAll('summary')][0].click()")
    wait(page, SAYS, f"seed {70 + opened_view.vue_nodes}, 2 vec., spherical 0.05, batch 2")
    assert f"seed {60 + opened_view.vue_nodes}," not in page.evaluate(TEXT)
    before = page.evaluate(PAINTED)
    page.evaluate(f"() => {MONITOR}.querySelector('input').click()")
    wait(page, f"before => ({PAINTED})() !== before", before)


def test_nothing_of_it_is_in_the_workflow_or_the_prompt(
    opened_view: View, trained: dict[str, Any]
) -> None:
    sent = opened_view.page.evaluate(PROMPT)["train"]["inputs"]
    assert "monitor" not in sent
    text = json.dumps(trained)
    assert "monitor" not in text and "validation loss" not in text


def test_the_page_has_no_complaints_of_ours(opened_view: View, trained: dict[str, Any]) -> None:
    ours = [text for text in opened_view.complaints if PACK in text or "ti_" in text.lower()]
    assert ours == []


def test_two_trainers_show_each_their_own_run(view: View, server: Server) -> None:
    page = view.page
    prompt = training(80 + view.vue_nodes, train__steps=3)
    prompt["train2"] = node("TrainTextualInversion", **{**prompt["train"]["inputs"], "steps": 4})
    prompt["save2"] = node(
        "SaveEmbedding", **{**prompt["save"]["inputs"], "embedding": ["train2", 0]}
    )
    page.evaluate(LOAD, prompt)
    page.evaluate(QUEUE)
    page.wait_for_function("() => window.ended !== null", timeout=120_000)
    texts = """() => app.graph.nodes.filter(({ type }) => type === 'TrainTextualInversion').map(
        ({ widgets }) => widgets.find(({ name }) => name === 'monitor').element.innerText)"""
    own = "(text, place) => text.includes(`Finished at step ${place + 3} of ${place + 3}`)"
    wait(page, f"() => ({texts})().every({own})")


def test_an_error_stands_on_the_node(view: View, server: Server) -> None:
    page = view.page
    other = {"other": node("SmallFamily", family="SD 3")}
    page.evaluate(LOAD, {**training(90, train__vae=["other", 2]), **other})
    page.evaluate(QUEUE)
    shown(page)
    wait(page, SAYS, "The VAE produces 16-channel latents; the model expects 4.")


def test_it_rests_while_nothing_runs_and_is_on_no_other_node(view: View) -> None:
    page = view.page
    add(view, "TrainTextualInversion")
    shown(page)
    assert "During training" in page.evaluate(TEXT)
    assert all(page.evaluate(RESTS, name) for name in ("Stop and keep", "Preview now", "Save now"))
    saved = page.evaluate("() => app.graph.serialize().nodes[0].widgets_values")
    names = page.evaluate(WIDGET_NAMES, page.evaluate(f"() => {TRAINER}.id"))
    assert names[-1] == "monitor"
    assert len(saved) <= len(names) - 1
    other = add(view, "CreateEmbedding")
    assert "monitor" not in page.evaluate(WIDGET_NAMES, other)


RUN = {
    **{"run": "r", "workflow": "", "word": "my-cat", "initializer": "cat", "phase": "learning"},
    **{"why": "", "step": 3, "steps": 9, "first": 0, "pace": 0.5, "share": 5, "best": 3},
    **{"stored": None, "losses": [[1, 1], [2, 2]], "validations": [[0, 0], [3, 5]]},
    **{"nearest": [], "images": {}, "kept": [], "saved": {}, "notes": [], "report": ""},
}
EVENT = "run => app.api.dispatchCustomEvent('textual_inversion.monitor', run)"


@pytest.mark.parametrize(
    ("answer", "says"),
    [(None, "Failed to fetch"), ("<html>", "is not valid JSON"), ("", "No training is running")],
)
def test_a_press_that_comes_to_nothing_says_so_and_can_be_repeated(
    view: View, answer: str | None, says: str
) -> None:
    """The page believes that the node trains; the server knows better, or does not answer."""
    page = view.page
    trainer = add(view, "TrainTextualInversion")
    shown(page)
    page.evaluate(EVENT, {**RUN, "node": str(trainer)})

    def fail(route: Route) -> None:
        route.abort() if answer is None else route.fulfill(status=502, body=answer)

    if answer != "":
        page.route("**/textual_inversion/stop", fail)
    try:
        page.evaluate(PRESS, "Stop and keep")
        wait(page, SAYS, says)
    finally:
        page.unroute("**/textual_inversion/stop")
    assert not page.evaluate(RESTS, "Stop and keep")


def test_news_that_was_overtaken_is_not_shown(view: View) -> None:
    page = view.page
    trainer = str(add(view, "TrainTextualInversion"))
    shown(page)
    for step, moment in ((5, 2.0), (4, 1.0)):
        page.evaluate(EVENT, {**RUN, "node": trainer, "step": step, "moment": moment})
        assert page.evaluate(STEP) == 5


def test_an_enlarged_image_closes_at_escape_after_any_key_and_keeps_keys_from_the_graph(
    view: View,
) -> None:
    page = view.page
    trainer = str(add(view, "TrainTextualInversion"))
    shown(page)
    told = {**RUN, "node": trainer, "images": {"3": "none.jpg"}, "kept": [3]}
    page.evaluate(EVENT, told)
    page.evaluate(f"() => app.canvas.selectNode?.({TRAINER})")
    large = "() => document.querySelectorAll('.ti-large').length"
    page.keyboard.press("Escape")  # A new ComfyUI opens with its own templates.
    page.wait_for_function("() => !document.querySelector('[role=dialog]')")
    for keys in (["Escape"], ["Shift", "Escape"], ["a", "Delete", "ArrowLeft", "Tab", "Escape"]):
        page.evaluate(f"() => {MONITOR}.querySelector('.ti-strip img').click()")
        assert page.evaluate(large) == 1
        assert page.evaluate("() => document.activeElement.className") == "ti-large"
        for key in keys[:-1]:
            page.keyboard.press(key)
            assert page.evaluate(large) == 1, key
        page.keyboard.press("Escape")
        assert page.evaluate(large) == 0
        assert page.evaluate(f"() => !!{TRAINER}")  # Delete did not reach it.
    page.evaluate(f"() => {MONITOR}.querySelector('.ti-strip img').click()")
    page.evaluate("() => document.querySelector('.ti-large').click()")
    assert page.evaluate(large) == 0


def test_a_preview_that_failed_is_told_and_can_be_asked_for_again(view: View) -> None:
    page = view.page
    load_workflow(page, EMPTY)
    trainer = str(add(view, "TrainTextualInversion"))
    shown(page)
    told = {**RUN, "run": "another", "node": trainer}
    page.evaluate(EVENT, {**told, "moment": 1, "asked": ["preview"]})
    wait(page, SAYS, "Preview pending")
    failed = "The preview at step 3 failed: no memory."
    page.evaluate(EVENT, {**told, "moment": 2, "asked": [], "missed": failed})
    wait(page, SAYS, failed)
    assert not page.evaluate(RESTS, "Preview now")


OUTER = "app.graph.nodes.find(({ subgraph }) => subgraph)"
AROUND = f"{OUTER}.widgets.find(({{ name }}) => name === 'monitor').element"
INSIDE = MONITOR.replace("app.graph", f"{OUTER}.subgraph")


def test_the_node_of_a_subgraph_shows_the_training_in_it(view: View, server: Server) -> None:
    page = view.page
    page.evaluate(LOAD, training(95 + view.vue_nodes, train__steps=3, train__resume="off"))
    page.evaluate(
        """() => app.graph.convertToSubgraph(new Set(
            ['concept', 'word', 'train'].map((id) => app.graph.getNodeById(id))))"""
    )
    settle(page)
    page.evaluate(f"() => app.canvas.centerOnNode({OUTER})")
    page.wait_for_function(f"() => {AROUND}.isConnected && {AROUND}.offsetHeight > 200")
    page.evaluate(QUEUE)
    page.wait_for_function("() => window.ended !== null", timeout=120_000)
    page.wait_for_function(f"() => {AROUND}.innerText.includes('Finished at step 3 of 3')")
    assert page.evaluate(f"() => {AROUND}.textContent === {INSIDE}.textContent")
    saved = page.evaluate(f"() => {OUTER}.serialize()")
    assert saved["widgets_values"] == [95 + view.vue_nodes]  # The seed, which the page promotes.
    assert "monitor" not in str(saved) and "validation loss" not in str(saved)
    assert {name.split(":")[-1] for name in page.evaluate(PROMPT)} == set(training(0))
    load_workflow(page, page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))
    assert "Finished at step 3 of 3" in page.evaluate(f"() => {AROUND}.textContent")
    load_workflow(page, EMPTY)
