"""What only an NVIDIA GPU can show."""

import sys
from pathlib import Path

import pytest
import torch
from graphs import from_checkpoint, graph, lay_out, run, saved_path
from headless import Server
from safetensors.torch import load_file
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
WHOLE = ("--disable-dynamic-vram",)
STREAMED = {
    "dynamic VRAM": (),
    "dynamic VRAM on a full card": ("--reserve-vram", "{most}"),
    "lowvram": (*WHOLE, "--lowvram"),
    "novram": (*WHOLE, "--novram"),
}


def learned(
    comfyui: Path, base: Path, options: tuple[str, ...], checkpointing: str
) -> list[Tensor]:
    """Vectors of three runs in one server, the later ones with weights that sampling has moved
    about.
    """
    lay_out(base)
    with Server(comfyui, Path(sys.executable), base, options=options) as server:
        prompts = [graph(train__checkpointing=checkpointing, train__seed=n) for n in (1, 2, 1)]
        outputs = [run(server, from_checkpoint(prompt)) for prompt in prompts]
        return [load_file(saved_path(server, one))["emb_params"] for one in outputs]


@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize("how", STREAMED)
def test_streamed_weights_train_as_loaded_ones(
    comfyui: Path, tmp_path: Path, how: str, checkpointing: str
):
    most = torch.cuda.get_device_properties(0).total_memory / 2**30 - 1.5
    options = tuple(option.format(most=f"{most:.1f}") for option in STREAMED[how])
    expected = learned(comfyui, tmp_path / "whole", WHOLE, checkpointing)
    found = learned(comfyui, tmp_path / "streamed", options, checkpointing)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
