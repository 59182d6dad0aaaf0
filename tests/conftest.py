"""Shared by all layers: where things are, and the small checkpoint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
CHECKPOINT = REPO / ".cache" / "tiny-sd1.safetensors"


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The ComfyUI that the tests run in; `python scripts/test.py` finds or fetches one."""
    if "COMFYUI_PATH" not in os.environ:
        pytest.fail("COMFYUI_PATH is not set: run the tests with `python scripts/test.py`.")
    return Path(os.environ["COMFYUI_PATH"])


@pytest.fixture(scope="session")
def checkpoint_file(comfyui: Path) -> Path:
    """The small SD 1.x checkpoint, made once."""
    maker = REPO / "scripts" / "tiny_checkpoint.py"
    if not CHECKPOINT.exists() or CHECKPOINT.stat().st_mtime < maker.stat().st_mtime:
        environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
        subprocess.run([sys.executable, str(maker), str(CHECKPOINT)], check=True, env=environment)
    return CHECKPOINT
