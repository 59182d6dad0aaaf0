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

from small_models import Loaded, load_checkpoint, small_sd1  # noqa: E402


@pytest.fixture(scope="session")
def loaded() -> Loaded:
    """A small MODEL, CLIP and VAE with random weights: what holds of bits holds of these too."""
    return small_sd1()


@pytest.fixture(scope="session")
def demo_models(checkpoint_file: Path) -> Loaded:
    """The demo's MODEL, CLIP and VAE, trained, as the stock checkpoint loader gives them, fp32."""
    return load_checkpoint(checkpoint_file, torch.float32, text_encoder={})


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """Nodes run under inference mode (core execution.py:751), and so do these tests."""
    with torch.inference_mode():
        yield
