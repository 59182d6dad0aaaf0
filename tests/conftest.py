"""Shared by all layers: where things are, the small checkpoint, and a real ComfyUI."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest
from graphs import lay_out
from headless import Server
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # A busy machine is not a failure.
settings.load_profile("tests")


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
    with Server(comfyui, Path(sys.executable), base) as running:
        yield running


@pytest.fixture(autouse=True)
def idle_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test has queued on the shared server ends with the test, also where that failed, but
    for a training that several tests look at.
    """
    yield
    if "server" in request.fixturenames and "trained" not in request.fixturenames:
        request.getfixturevalue("server").clear()
