"""Shared by all layers: where things are, and the small checkpoint."""

import os
from pathlib import Path

import demo
import pytest


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
