"""Shared by all layers: where things are, the small checkpoint, and a real ComfyUI."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
import pytest
from graphs import lay_out
from headless import Server
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # A busy machine is not a failure.
settings.load_profile("tests")

WANTED_MEMORY = 5.0  # GiB of a test process, at most; some have more
peaks: dict[str, float] = {}


def peak_memory() -> float:
    """The most memory that this process has had, in GiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**30 if sys.platform == "darwin" else most / 2**20


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Each process hands over its peak."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak_memory()  # type: ignore[attr-defined]
    else:
        peaks["main"] = peak_memory()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take a worker's peak."""
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0.0)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what memory the processes had."""
    listed = ", ".join(f"{name} {peak:.1f} GiB" for name, peak in sorted(peaks.items()))
    terminalreporter.write_line(f"Peak memory: {listed}; {WANTED_MEMORY:g} GiB is the goal.")


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The ComfyUI that the tests run in; `python scripts/test.py` finds or fetches one."""
    if "COMFYUI_PATH" not in os.environ:
        pytest.fail("COMFYUI_PATH is not set: run the tests with `python scripts/test.py`.")
    return Path(os.environ["COMFYUI_PATH"])


@pytest.fixture(scope="session")
def checkpoint_file(comfyui: Path) -> Path:
    """The demo's small SD 1.x checkpoint, made once."""
    return demo.checkpoint()


@pytest.fixture(scope="session")
def server(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI with the pack, for all tests that leave it running."""
    base = tmp_path_factory.mktemp("comfyui")
    lay_out(base)
    # The host gives up what it keeps where memory is short, and tests ask what it keeps.
    options = ("--cache-classic",)
    with Server(comfyui, Path(sys.executable), base, options=options) as running:
        yield running


@pytest.fixture(autouse=True)
def idle_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test has queued on the shared server ends with the test, also where that failed, but
    for a training that several tests look at.
    """
    yield
    if "server" in request.fixturenames and "trained" not in request.fixturenames:
        request.getfixturevalue("server").clear()
