"""A real ComfyUI over HTTP, with the small checkpoint and pictures on disk."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphs import lay_out
from headless import Server


@pytest.fixture(scope="session")
def server(
    comfyui: Path, checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """ComfyUI with the pack, a checkpoint `tiny.safetensors` and a folder of pictures."""
    base = tmp_path_factory.mktemp("comfyui")
    lay_out(base, checkpoint_file)
    with Server(comfyui, Path(sys.executable), base) as running:
        yield running
