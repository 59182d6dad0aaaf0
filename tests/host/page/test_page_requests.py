"""What the page may ask: which runs it reaches, what it is answered, and what is refused."""

import asyncio
import json
import sys
import threading
import time
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

from ti_core.host.page import known_runs
from ti_core.host.page.known_runs import MOST_OVER, followed, known
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
from ti_core.host.page.stored_runs import MOST_RUNS
from ti_core.host.run_folders import run_store
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
            headers = {"Content-Type": "application/json"} if name in COMMANDS else {}
            given = await method(f"{ROOT}/{name}", data=body, headers=headers)
            text = await given.text()
            said = json.loads(text) if given.status != 413 else text
            if isinstance(said, dict):
                said.pop("moment", None)
            return given.status, said

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
    monkeypatch.setattr(known_runs, "_monitors", [])
    yield tmp_path


def test_the_curve_ends_where_the_run_does():
    run = run_on("12")
    state = learned(run, 3)
    state.close(torch.tensor([1.5, 1.5]).double())
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


def test_an_image_is_asked_for_once():
    run = run_on("1")
    assert ask("preview", b'{"node_id": "1"}') == (200, {"asked": ["1"]})
    assert run.should_preview()
    assert not run.should_preview()


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
    first = {"step": 25, "name": "my-cat-step25", "advice": ""}
    assert ask("save", body) == (200, first)
    assert ask("save", body) == (200, first)  # The same file, not a second one.
    assert ask("save", b'{"node_id": "1"}')[1] == {**first, "step": 30, "name": "my-cat-step30"}
    for name, value in (("my-cat-step25", 25.0), ("my-cat-step30", 30.0)):
        with safe_open(places / "embeddings" / f"{name}.safetensors", "pt") as file:
            assert file.get_tensor("emb_params").equal(rows(value)["clip_l"])
            recipe = json.loads(file.metadata()["textual_inversion"])
        assert recipe["steps"] == value
    assert ask("save", b'{"node_id": "1", "step": 26}') == (
        404,
        {"error": "No vectors of 'my-cat' are there of step 26."},
    )
    (places / "embeddings" / "my-cat-step25.safetensors").unlink()
    assert ask("save", body)[1] == first


def test_an_early_word_leaves_the_name_to_the_one_that_the_run_gives_at_its_end(places: Path):
    run = run_on("1")
    state = learned(run, 3)
    assert ask("save")[1]["name"] == "my-cat-step3"
    run.keep, state.ended = "last", "steps"
    state.close(torch.tensor([1.5, 1.5]).double())
    run.end("")
    assert ask("save")[1]["name"] == "my-cat-step3"  # The same word, which is there.
    (places / "embeddings" / "my-cat-step3.safetensors").unlink()
    assert ask("save")[1]["name"] == "my-cat"


def test_the_early_word_of_another_run_stays_and_a_number_is_added(places: Path):
    for number, name in (("1", "my-cat-step7"), ("2", "my-cat-step7-2"), ("3", "my-cat-step7-3")):
        run = run_on(number)
        learned(run, 7)
        assert ask("save", f'{{"node_id": "{number}"}}'.encode())[1]["name"] == name


def test_a_cancelled_run_has_given_no_word_and_its_file_says_the_step(places: Path):
    run = run_on("1")
    learned(run, 12)
    with pytest.raises(KeyError), run:
        raise KeyError("the reason")
    assert ask("save")[1]["name"] == "my-cat-step12"


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
            run.image(2, torch.rand(8, 8, 3), rows(2))
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
    assert left == sorted(run["images"]["2"] for run in said["runs"][:-1])


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
    assert not run.stop.is_set() and not run.should_preview() and not run.saved


def stored(key: str, word: str, ended: Any) -> None:
    """A run in the store."""
    with run_store(word, key * 16, "continue", lambda text: None) as store:
        state = learned(run_on("9"), 30)
        state.ended, state.planned = ended, 40
        state.about = {"word": word, "initializer": "cat", "seed": "5", "method": "adamw"}
        state.about |= {"rate": "0.1", "batch": "2", "node": "9", "workflow": "w"}
        store.save(state)
    known_runs._monitors.clear()


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
    assert (found[0]["seed"], found[0]["method"], found[0]["vectors"]) == ("5", "adamw", 1)
    assert found[0]["validations"] == [[0, 0.0]]
    for word in ("", "../my-cat", "%2e%2e", "unknown"):
        assert ask(f"runs?word={word}") == (200, {"runs": []})


@pytest.mark.parametrize("others", ["my-cat-blue", "my-cat-{:016x}", "my-cat-1"])
def test_runs_of_other_words_do_not_take_the_place_of_those_that_are_asked_for(others: str):
    stored("a", "my-cat", "steps")
    for number in range(MOST_RUNS + 1):
        with run_store(others.format(number), f"{number:016x}", "continue", print) as store:
            store.save(learned(run_on("9"), 1))
    known_runs._monitors.clear()
    assert [run["run"] for run in ask("runs?word=my-cat")[1]["runs"]] == ["my-cat-" + "a" * 16]


@pytest.mark.parametrize("left", ["empty", "damaged", "other files"])
def test_what_cannot_be_read_takes_no_place_among_the_stored_runs(places: Path, left: str):
    stored("a", "my-cat", "steps")
    for number in range(MOST_RUNS + 1):
        folder = places / "user" / "textual_inversion_runs" / f"my-cat-{number:016x}"
        folder.mkdir()
        if left != "empty":
            name = "step-000000001.safetensors" if left == "damaged" else "notes.txt"
            (folder / name).write_bytes(b"no run")
    assert [run["run"] for run in ask("runs?word=my-cat")[1]["runs"]] == ["my-cat-" + "a" * 16]
    assert [run["run"] for run in ask("state")[1]["runs"]] == ["my-cat-" + "a" * 16]


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


def test_what_was_asked_for_is_told_until_it_is_done_or_has_failed():
    run = run_on("1")
    learned(run, 1)
    assert run.snapshot()["asked"] == []
    ask("preview", b'{"node_id": "1"}')
    assert run.snapshot()["asked"] == ["preview"]
    assert run.should_preview()
    run.enter("drawing")
    assert run.snapshot()["asked"] == ["preview"]
    run.previewed("The preview at step 1 failed: no memory.")
    told = run.snapshot()
    assert (told["asked"], told["phase"]) == ([], "learning")
    assert "no memory" in told["missed"]
    ask("preview", b'{"node_id": "1"}')
    ask("stop", b'{"node_id": "1"}')
    assert run.snapshot()["asked"] == ["stop", "preview"]
    assert run.should_preview()
    run.previewed("")
    assert (run.snapshot()["asked"], run.snapshot()["missed"]) == (["stop"], "")


def test_the_button_of_an_image_comes_back_however_many_are_kept(places: Path):
    """Of more than 64 images every second is let go, so that their number falls."""
    run = run_on("1")
    learned(run, 1)
    for step in range(66):
        run.draw.set()
        assert run.should_preview()
        run.image(step, torch.rand(8, 8, 3), rows(step))
        run.previewed("")
        assert run.snapshot()["asked"] == []
    assert len(run.snapshot()["images"]) < 64


@pytest.mark.parametrize("back", [10.0, 86_400.0, 1e9])
def test_news_are_in_order_whatever_the_clock_does(back: float, monkeypatch: pytest.MonkeyPatch):
    run, now = run_on("1"), time.time()
    first = run.snapshot()["moment"]
    monkeypatch.setattr(time, "time", lambda: now - back)
    assert first < run.snapshot()["moment"] < run_on("2").snapshot()["moment"]


def test_saving_drawing_and_asking_at_once_end_no_training(places: Path):
    """Each news are of one step: its losses, its word, its images."""
    run, failures, over = run_on("1"), [], threading.Event()
    state = learned(run, 1)
    before = sys.getswitchinterval()

    def press(press: Any) -> None:
        while not over.is_set():
            try:
                press()
            except Exception as error:
                failures.append(repr(error))

    def look() -> None:
        told = run.snapshot()
        assert (told["losses"][-1][0] if told["losses"] else 0) == told["step"], told

    def save() -> None:
        at, name = run.save()
        with safe_open(places / "embeddings" / f"{name}.safetensors", "pt") as file:
            assert file.get_tensor("emb_params").equal(rows(at)["clip_l"])

    threads = [threading.Thread(target=press, args=(one,)) for one in (look, look, save)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for step in range(2, 150):
            state.advance(0.5, 0.1, rows(step), rows(step), {}, 1.0)
            run.on_step(state)
            run.image(step, torch.zeros(8, 8, 3), rows(step))
    finally:
        over.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("name", ["", "../my-cat", "my-cat", "my-cat-" + "b" * 16, "%00"])
def test_a_stored_run_is_told_by_its_whole_name_alone(name: str):
    stored("a", "my-cat", "")
    (run,) = ask(f"state?stored=my-cat-{'a' * 16}")[1]["runs"]
    assert (run["phase"], run["step"]) == ("stored", 30)
    found = ask(f"state?stored={name}")[1]["runs"]
    assert [one["run"] for one in found] == ([] if name else [run["run"]])
