"""Runs in the real server that are killed, cancelled, finished before: nothing of them is lost.

A server that starts takes as long as a hundred steps. So one does all that is to be found later,
some are killed, and a last one, on the same base directory, finds what they have left.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from graphs import Prompt, graph, lay_out, node, run, saved_path
from headless import Server
from safetensors import safe_open

STEPS = 60  # A run is stored every 25.
KILLS = 3
RUNS = Path("user", "textual_inversion_runs")
DAMAGED = {"train__seed": 6, "train__steps": 30}


class Left(NamedTuple):
    """A run that a server has left: its vectors and its folder in the store."""

    vectors: bytes
    folder: Path


class Earlier(NamedTuple):
    """What the first server did: a run that is not stored, one that is, one that was damaged."""

    whole: bytes
    finished: Left
    damaged: Left
    log: str


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory that outlives its servers."""
    directory = tmp_path_factory.mktemp("killed")
    lay_out(directory)
    return directory


@pytest.fixture(scope="module")
def earlier(comfyui: Path, base: Path) -> Earlier:
    """What a server did that has ended."""
    with start(comfyui, base) as server:
        whole = learned(server, run(server, training("whole", train__resume="off")))
        assert not (base / RUNS).exists()
        finished = left(server, training("finished", train__seed=2))
        damaged = left(server, training("damaged", **DAMAGED))
        log = server.log.read_text()
    for path in damaged.folder.glob("step-*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    return Earlier(whole, finished, damaged, log)


@pytest.fixture(scope="module")
def killed(comfyui: Path, base: Path, earlier: Earlier) -> Path:
    """The folder of a run whose servers were killed one after the other, each some steps further
    on, somewhere in a step.
    """
    draws, before = random.Random(1), stored(base)
    for step in sorted(draws.sample(range(1, STEPS), KILLS)):
        with start(comfyui, base) as server:
            follow_to(server, training("killed"), step)
            time.sleep(draws.random() / 10)
            assert server.process is not None
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
    (own,) = stored(base) - before
    return own


@pytest.fixture(scope="module")
def later(comfyui: Path, base: Path, killed: Path) -> Iterator[Server]:
    """A server on the same directory after all that."""
    with start(comfyui, base) as server:
        yield server


def start(comfyui: Path, base: Path) -> Server:
    return Server(comfyui, Path(sys.executable), base)


def training(name: str, **changes: Any) -> Prompt:
    """The training without sampling, stored."""
    settled = {"steps": STEPS, "batch_size": 1, "auto_stop": False}
    settled |= {"schedule": "auto", "resume": "continue"}
    named = {f"train__{key}": value for key, value in settled.items()}
    nodes = graph(**{**named, "save__name": name, **changes})
    return {name: nodes[name] for name in ("load", "concept", "word", "train", "save")}


def left(server: Server, prompt: Prompt) -> Left:
    """Run a training, and find what is stored of it."""
    before = stored(server.directory)
    vectors = learned(server, run(server, prompt))
    (own,) = stored(server.directory) - before
    return Left(vectors, own)


def learned(server: Server, outputs: dict[str, Any]) -> bytes:
    """The bytes of the saved vectors."""
    with safe_open(saved_path(server, outputs), "np") as opened:
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
    base: Path, earlier: Earlier, killed: Path, later: Server
):
    stems = sorted(path.stem for path in killed.glob("step-*.safetensors"))
    assert stems == ["step-000000025", "step-000000050"]
    runs = len(stored(base))
    outputs = run(later, training("killed"))
    assert learned(later, outputs) == earlier.whole
    assert "came from an earlier run" in text_of(outputs)
    assert len(stored(base)) == runs


def test_a_finished_run_is_not_trained_again_after_a_restart(earlier: Earlier, later: Server):
    steps: list[int] = []
    outputs = run(
        later,
        training("again", train__seed=2),
        on_progress=lambda value, maximum, text: steps.append(maximum),
    )
    assert "nothing was trained now" in text_of(outputs)
    assert learned(later, outputs) == earlier.finished.vectors
    assert STEPS not in steps
    over = run(later, training("over", train__seed=2, train__resume="start over"))
    assert "earlier run" not in text_of(over)
    assert learned(later, over) == earlier.finished.vectors
    more = run(later, training("more", train__seed=2, train__steps=STEPS + 1))
    assert f"Of these, {STEPS} steps came from an earlier run." in text_of(more)
    assert "Traceback" not in earlier.log


def test_cancel_at_random_moments_loses_nothing(later: Server):
    draws = random.Random(2)
    reference = learned(later, run(later, training("calm", train__seed=3, train__resume="off")))
    # The first half: a fast machine is not to be through before it is cancelled.
    for step in sorted(draws.sample(range(1, STEPS // 2), KILLS)):
        prompt_id = follow_to(later, training("cancelled", train__seed=3), step)
        time.sleep(draws.random() / 10)
        later.interrupt()
        with pytest.raises(RuntimeError, match="interrupted"):
            later.wait(prompt_id, timeout=60)
    outputs = run(later, training("cancelled", train__seed=3))
    assert learned(later, outputs) == reference
    assert "came from an earlier run" in text_of(outputs)


def test_two_trainings_in_a_graph_have_each_their_own_run(base: Path, later: Server):
    prompt = training("one", train__seed=4, train__steps=6)
    other = {**prompt["train"]["inputs"], "seed": 5}
    prompt["train 2"] = {"class_type": "TrainTextualInversion", "inputs": other}
    prompt["save 2"] = node(
        "SaveEmbedding", embedding=["train 2", 0], name="two", storage="fp32", overwrite=False
    )
    before = stored(base)
    outputs = run(later, prompt)
    assert len(stored(base) - before) == 2
    assert learned(later, outputs) != learned(later, {"save": outputs["save 2"]})


def test_a_damaged_store_is_told_and_the_run_starts_from_what_is_good(
    earlier: Earlier, later: Server
):
    outputs = run(later, training("damaged", **DAMAGED))
    assert learned(later, outputs) == earlier.damaged.vectors
    assert "cannot be read" in text_of(outputs)
    assert len(list(earlier.damaged.folder.glob("*.damaged"))) == 2
