"""Real comfy modules in this process, without a server."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, os.environ.get("COMFYUI_PATH", ""))

from comfy.cli_args import args  # noqa: E402

args.cpu = not torch.cuda.is_available()  # Before the host looks for a device, on import.

from small import Loaded, load_checkpoint  # noqa: E402


@pytest.fixture(scope="session")
def loaded(checkpoint_file: Path) -> Loaded:
    """MODEL, CLIP and VAE as the stock checkpoint loader gives them, fp32."""
    return load_checkpoint(checkpoint_file, torch.float32)


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """Nodes run under inference mode (core execution.py:751), and so do these tests."""
    with torch.inference_mode():
        yield
