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


@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_dynamic_vram_trains_as_without_it(comfyui: Path, tmp_path: Path, checkpointing: str):
    """Three runs in one server, the later ones with weights that sampling has moved about."""
    learned: list[list[Tensor]] = []
    for options in ((), ("--disable-dynamic-vram",)):
        base = tmp_path / "-".join(("base", *options))
        lay_out(base)
        with Server(comfyui, Path(sys.executable), base, options=options) as server:
            prompts = [graph(train__checkpointing=checkpointing, train__seed=n) for n in (1, 2, 1)]
            outputs = [run(server, from_checkpoint(prompt)) for prompt in prompts]
            learned.append([load_file(saved_path(one))["emb_params"] for one in outputs])
    for dynamic, fixed in zip(*learned, strict=True):
        torch.testing.assert_close(dynamic, fixed, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(learned[0][0], learned[0][1], atol=1e-3)
