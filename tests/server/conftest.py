"""A real ComfyUI over HTTP, with the small checkpoint and pictures on disk."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from headless import Server
from PIL import Image, ImageDraw

COLOURS = ("crimson", "navy", "seagreen", "orange", "orchid")


@pytest.fixture(scope="session")
def server(
    comfyui: Path, checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """ComfyUI with the pack, a checkpoint `tiny.safetensors` and a folder of pictures."""
    base = tmp_path_factory.mktemp("comfyui")
    checkpoints, pictures = base / "models" / "checkpoints", base / "input" / "stars"
    checkpoints.mkdir(parents=True)
    (checkpoints / "tiny.safetensors").symlink_to(checkpoint_file)
    draw_pictures(pictures)
    with Server(comfyui, Path(sys.executable), base) as running:
        yield running


def draw_pictures(folder: Path) -> None:
    """Five pictures of one subject, with names whose natural order is not the alphabetical one."""
    folder.mkdir(parents=True)
    for number, colour in enumerate(COLOURS, 8):
        picture = Image.new("RGB", (96, 80), colour)
        ImageDraw.Draw(picture).regular_polygon((48, 40, 30), 5, fill="gold", outline="black")
        picture.save(folder / f"star {number}.png")
