"""What the page may ask: which runs it reaches, what it is answered, and what is refused."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from safetensors import safe_open
from small import settings
from torch import Tensor

from ti_core.host.page import followed_runs
from ti_core.host.page.followed_runs import MOST_OVER, followed, known
from ti_core.host.page.monitor import Monitor
from ti_core.host.page.requests import (
    COMMANDS,
    LONGEST_BODY,
    ROOT,
    add_routes,
    answering,
    runs,
    state,
)
from ti_core.host.run_key import run_store
from ti_core.training.run import RunState
from ti_core.word.embedding import Embedding


def ask(name: str, body: bytes | None = None) -> tuple[int, Any]:
    """Status and answer of a route, over HTTP."""

    async def asked() -> tuple[int, Any]:
        app = web.Application()
        app.router.add_get(f"{ROOT}/state", state)
        app.router.add_get(f"{ROOT}/runs", runs)
        for command, call in COMMANDS.items():
            app.router.add_post(f"{ROOT}/{command}", answering(call))
        async with TestClient(TestServer(app)) as client:
            method = client.post if name in COMMANDS else client.get
            given = await method(f"{ROOT}/{name}", data=body)
            text = await given.text()
            return given.status, json.loads(text) if given.status != 413 else text

    return asyncio.run(asked())


def rows(value: float) -> dict[str, Tensor]:
    return {"clip_l": torch.full((1, 768), float(value))}


def run_on(node_id: str | None) -> Monitor:
    """A run that the page knows."""
    word = Embedding("my-cat", "cat", rows(1.0), rows(1.0))
    monitor = followed(Monitor(word, None, 10, "best", node_id))
    monitor.settings = settings()
    return monitor


def learned(monitor: Monitor, steps: int) -> RunState:
    """Let a run do so many steps; the word is its number."""
    state = RunState(rows(0.0), rows(0.0), rows(0.0), 1.0)
    state.validate(torch.tensor([2.0, 2.0]).double())
    monitor.on_step(state)
    for step in range(1, steps + 1):
        state.advance(0.5, 0.1, rows(step), rows(step), {}, 1.0)
        monitor.on_step(state)
    return state


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of their own for what is saved, and no runs of other tests."""
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda kind: [str(tmp_path / kind)])
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path / "temp"))
    monkeypatch.setattr(followed_runs, "_monitors", [])
    yield tmp_path


def test_the_curve_ends_where_the_run_does():
    run = run_on("12")
    state = learned(run, 3)
    state.closing_losses = torch.tensor([1.5, 1.5]).double()
    state.ended = "user"
    run.end("")
    told = run.snapshot()
    assert told["validations"] == [[0, 0.0], [3, 25.0]]
    assert (told["share"], told["best"]) == (25.0, 3)


def test_a_training_is_stopped_by_its_node_and_others_go_on():
    one, inside, other = run_on("12"), run_on("7:12"), run_on("3")
    assert ask("stop", b'{"node_id": "7:12"}') == (200, {"stopped": ["7:12"]})
    assert [run.stop.is_set() for run in (one, inside, other)] == [False, True, False]
    body = json.dumps({"run": one.run}).encode()
    assert ask("stop", body) == (200, {"stopped": ["12"]})
    assert [run.stop.is_set() for run in (one, inside, other)] == [True, True, False]


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"node_id": null}'])
def test_without_a_node_all_are_stopped(body: bytes | None):
    known_ones = [run_on("1"), run_on("2"), run_on(None)]
    assert ask("stop", body) == (200, {"stopped": ["1", "2", ""]})
    assert all(run.stop.is_set() for run in known_ones)


def test_a_picture_is_asked_for_once():
    run = run_on("1")
    assert ask("preview", b'{"node_id": "1"}') == (200, {"asked": ["1"]})
    assert run.draw_asked()
    assert not run.draw_asked()


@pytest.mark.parametrize("name", ["stop", "preview"])
def test_nothing_that_trains_is_a_404_that_says_so(name: str):
    assert ask(name) == (404, {"error": "No training is running in this ComfyUI."})
    run = run_on("1")
    assert ask(name, b'{"node_id": "2"}') == (
        404,
        {"error": "No training is running on node '2'."},
    )
    with pytest.raises(KeyError), run:
        raise KeyError("the reason")
    assert ask(name, b'{"node_id": "1"}')[0] == 404
    assert ask("state")[1]["runs"][0]["why"] == "'the reason'"


def test_the_word_of_a_step_is_saved_as_it_was_and_nothing_is_overwritten(places: Path):
    run = run_on("1")
    assert ask("save")[0] == 404
    learned(run, 30)
    body = json.dumps({"run": run.run, "step": 25}).encode()
    first = {"step": 25, "name": "my-cat", "advice": ""}
    assert ask("save", body) == (200, first)
    assert ask("save", body) == (200, first)  # The same file, not a second one.
    assert ask("save", b'{"node_id": "1"}')[1] == {**first, "step": 30, "name": "my-cat-2"}
    for name, value in (("my-cat", 25.0), ("my-cat-2", 30.0)):
        with safe_open(places / "embeddings" / f"{name}.safetensors", "pt") as file:
            assert file.get_tensor("emb_params").equal(rows(value)["clip_l"])
            recipe = json.loads(file.metadata()["textual_inversion"])
        assert recipe["steps"] == value
    assert ask("save", b'{"node_id": "1", "step": 26}') == (
        404,
        {"error": "No vectors of 'my-cat' are there of step 26."},
    )
    (places / "embeddings" / "my-cat.safetensors").unlink()
    assert ask("save", body)[1] == first


def test_a_file_that_cannot_be_written_says_why(places: Path):
    run = run_on("1")
    learned(run, 1)
    (places / "embeddings").write_text("in the way")
    status, said = ask("save")
    assert status == 500
    assert "cannot be written" in said["error"]


def test_the_state_is_that_of_the_last_runs_and_small(places: Path):
    assert ask("state") == (200, {"runs": []})
    for number in range(MOST_OVER + 3):
        with run_on(str(number)) as run:
            learned(run, 2).ended = "steps"
            run.tell("x" * 10_000)
            run.picture(2, torch.rand(8, 8, 3), rows(2))
            run.end("report " * 10_000)
    running = run_on("running")
    state = learned(running, 3)
    state.losses += [0.25] * 99_997
    running.on_step(state)
    status, said = ask("state")
    assert status == 200
    assert [run["node"] for run in said["runs"]][-1] == "running"
    assert len(said["runs"]) == MOST_OVER + 1
    assert len(said["runs"][-1]["losses"]) <= 250
    assert all(len(json.dumps(run)) < 20_000 for run in said["runs"])
    left = sorted(path.name for path in (places / "temp" / "textual_inversion").iterdir())
    assert left == sorted(run["pictures"]["2"] for run in said["runs"][:-1])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "body",
    [
        b"12",
        b'"12"',
        b"[]",
        b"{",
        b"\xff",
        b'{"node_id": 12}',
        b'{"node_id": ["12"]}',
        b'{"node": "12"}',
        b'{"step": true}',
        b'{"step": "../25"}',
        b"[" * LONGEST_BODY,
    ],
)
def test_a_body_that_is_not_understood_does_nothing(name: str, body: bytes):
    run = run_on("12")
    learned(run, 1)
    status, said = ask(name, body)
    assert status == 400
    assert said["error"].startswith('Send {"node_id": "12"}')
    assert not run.stop.is_set() and not run.draw_asked() and not run.saved


def stored(key: str, word: str, ended: Any) -> None:
    """A run in the store."""
    with run_store(word, key * 16, "continue", lambda text: None) as store:
        state = learned(run_on("9"), 30)
        state.ended, state.planned = ended, 40
        state.about = {"word": word, "initialiser": "cat", "seed": "5", "method": "free"}
        state.about |= {"rate": "0.1", "batch": "2", "node": "9", "workflow": "w"}
        store.save(state)
    followed_runs._monitors.clear()


@pytest.mark.parametrize(("ended", "phase"), [("", "stored"), ("steps", "done")])
def test_after_a_restart_the_run_that_was_stored_last_is_drawn(ended: str, phase: str):
    stored("a", "my-cat", ended)
    (run,) = ask("state")[1]["runs"]
    assert (run["word"], run["node"], run["workflow"]) == ("my-cat", "9", "w")
    assert (run["phase"], run["step"], run["stored"]) == (phase, 30, 30)
    assert len(run["losses"]) == 30
    assert set(run) >= set(run_on("1").snapshot()) - {"line"}


def test_the_stored_runs_of_a_word_are_told_with_their_settings():
    for key, word in (("a", "my-cat"), ("b", "my-cat"), ("c", "my-cat-2"), ("d", "my")):
        stored(key, word, "steps")
    found = ask("runs?word=my-cat")[1]["runs"]
    assert {run["run"] for run in found} == {f"my-cat-{key * 16}" for key in "ab"}
    assert (found[0]["seed"], found[0]["method"], found[0]["vectors"]) == ("5", "free", 1)
    assert found[0]["validations"] == [[0, 0.0]]
    for word in ("", "../my-cat", "%2e%2e", "unknown"):
        assert ask(f"runs?word={word}") == (200, {"runs": []})


def test_a_long_body_is_refused_before_it_is_read():
    run = run_on("12")
    assert ask("stop", b'{"node_id": "12"}' + b" " * LONGEST_BODY)[0] == 413
    assert not run.stop.is_set()


def test_a_run_and_its_models_are_let_go(places: Path):
    with run_on("1") as run:
        learned(run, 1)
    assert run.clip is None
    assert known("1") == [run]


def test_without_a_server_there_is_no_route_and_no_error():
    add_routes()
