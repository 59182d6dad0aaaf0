"""Real comfy modules in this process, without a server."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, os.environ.get("COMFYUI_PATH", ""))

from comfy.cli_args import args  # noqa: E402

args.cpu = not torch.cuda.is_available()  # Before the host looks for a device, on import.

# As main.py does, before nodes.py puts comfy/ with another `utils` in front (0.19).
import utils.install_util  # noqa: E402, F401
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


CACHES = {
    "host_tokenizers": ("tokenizer",),
    "small_families": ("small_model", "small_text"),
    "test_streamed_weights": ("models", "whole"),
}


@pytest.fixture(scope="module", autouse=True)
def released() -> Iterator[None]:
    """What a file of tests has cached is released at its end: the host's 52 tokenizers alone are
    2 GB.
    """
    yield
    filled = 0
    for module, names in CACHES.items():
        for name in names:
            if cache := getattr(sys.modules.get(module), name, None):
                filled += cache.cache_info().currsize
                cache.cache_clear()
    if filled:
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL("libc.so.6").malloc_trim(0)
