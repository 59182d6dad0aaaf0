"""Runs in the real server that are killed, cancelled, finished before: nothing of them is lost."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import Prompt, graph, lay_out, node, run, saved_path
from headless import Server
from safetensors import safe_open

STEPS = 80  # Stored every 25.
KILLS = 10
RUNS = Path("user", "textual_inversion_runs")


@pytest.fixture(scope="module")
def base(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory that outlives its servers."""
    directory = tmp_path_factory.mktemp("killed")
    lay_out(directory, checkpoint_file)
    return directory


@pytest.fixture(scope="module")
def whole(comfyui: Path, base: Path) -> Iterator[bytes]:
    """The vectors of a run that nobody disturbed, and that left nothing in the store."""
    with start(comfyui, base) as server:
        vectors = learned(run(server, training("whole", train__resume="off")))
    assert not (base / RUNS).exists()
    yield vectors


def start(comfyui: Path, base: Path) -> Server:
    return Server(comfyui, Path(sys.executable), base)


def training(name: str, **changes: Any) -> Prompt:
    """The training without sampling."""
    settled = {"steps": STEPS, "auto_stop": False, "resume": "continue"}
    named = {f"train__{key}": value for key, value in settled.items()}
    nodes = graph(**{**named, "save__name": name, **changes})
    kept = ("load", "concept", "word", "train", "save")
    return {name: nodes[name] for name in kept}


def learned(outputs: dict[str, Any]) -> bytes:
    """The bytes of the saved vectors."""
    with safe_open(saved_path(outputs), "np") as opened:
        return opened.get_tensor("emb_params").tobytes()


def stored(base: Path) -> set[Path]:
    """The folders of the runs in the store."""
    return set((base / RUNS).glob("my-star-*"))


def text_of(outputs: dict[str, Any]) -> str:
    return outputs["train"]["text"][0]


class Reached(Exception):
    """The run has come to a step."""


def follow_to(server: Server, prompt: Prompt, step: int) -> str:
    """Queue a prompt and return its id when its training has reached a step."""

    def watch(value: int, maximum: int, text: str) -> None:
        if maximum == STEPS and value >= step:
            raise Reached

    prompt_id = server.queue(prompt)
    with pytest.raises(Reached):
        server.wait(prompt_id, watch, timeout=300)
    return prompt_id


def test_a_server_killed_at_random_steps_ends_with_the_bits_of_one_that_was_not(
    comfyui: Path, base: Path, whole: bytes
):
    """Each server is killed some steps further on, somewhere in a step."""
    draws = random.Random(1)
    for step in sorted(draws.sample(range(1, STEPS), KILLS)):
        with start(comfyui, base) as server:
            follow_to(server, training("killed"), step)
            time.sleep(draws.random() / 3)
            assert server.process is not None
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
    assert len(list((base / RUNS).glob("my-star-*/step-*.safetensors"))) in (1, 2, 3)
    with start(comfyui, base) as server:
        outputs = run(server, training("killed"))
    assert learned(outputs) == whole
    assert "came from an earlier run" in text_of(outputs)
    assert len(stored(base)) == 1


def test_a_finished_run_is_not_trained_again_after_a_restart(
    comfyui: Path, base: Path, whole: bytes
):
    with start(comfyui, base) as server:
        run(server, training("finished"))
        before = server.log.read_text()
    with start(comfyui, base) as server:
        steps: list[int] = []
        outputs = run(
            server,
            training("again"),
            on_progress=lambda value, maximum, text: steps.append(maximum),
        )
        assert "nothing was trained now" in text_of(outputs)
        assert learned(outputs) == whole
        assert STEPS not in steps
        over = run(server, training("over", train__resume="start over"))
        assert "earlier run" not in text_of(over)
        assert learned(over) == whole
        more = run(server, training("more", train__steps=STEPS + 1))
        assert f"Of these, {STEPS} steps came from an earlier run." in text_of(more)
    assert "Traceback" not in before


def test_cancel_at_random_moments_loses_nothing(comfyui: Path, base: Path):
    draws = random.Random(2)
    with start(comfyui, base) as server:
        reference = learned(run(server, training("calm", train__seed=3, train__resume="off")))
        for step in sorted(draws.sample(range(1, STEPS), KILLS)):
            prompt_id = follow_to(server, training("cancelled", train__seed=3), step)
            time.sleep(draws.random() / 3)
            server.interrupt()
            with pytest.raises(RuntimeError, match="interrupted"):
                server.wait(prompt_id, timeout=60)
        outputs = run(server, training("cancelled", train__seed=3))
        assert learned(outputs) == reference
        assert "came from an earlier run" in text_of(outputs)


def test_two_trainings_in_a_graph_have_each_their_own_run(comfyui: Path, base: Path):
    prompt = training("one", train__seed=4, train__steps=6)
    other = {**prompt["train"]["inputs"], "seed": 5}
    prompt["train 2"] = {"class_type": "TrainTextualInversion", "inputs": other}
    prompt["save 2"] = node(
        "SaveEmbedding", embedding=["train 2", 0], name="two", storage="fp32", overwrite=False
    )
    before = stored(base)
    with start(comfyui, base) as server:
        outputs = run(server, prompt)
    assert len(stored(base) - before) == 2
    assert learned(outputs) != learned({"save": outputs["save 2"]})


def test_a_damaged_store_is_told_and_the_run_starts_from_what_is_good(comfyui: Path, base: Path):
    prompt = training("damaged", train__seed=6, train__steps=6)
    before = stored(base)
    with start(comfyui, base) as server:
        first = learned(run(server, prompt))
    (own,) = stored(base) - before
    for path in own.glob("step-*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with start(comfyui, base) as server:
        outputs = run(server, prompt)
    assert learned(outputs) == first
    assert "cannot be read" in text_of(outputs)
    assert len(list(own.glob("*.damaged"))) == 1
