"""Assemble toyworld's checkpoint, SD 1.x format: `python toyworld/assembly.py OUT`.

UNet and VAE come from `weights.safetensors` beside this file, 8 bits a weight; the text encoder has
the CLIP-L layout with weights from a fixed seed, which need not ship. Needs torch, numpy and
safetensors only, and gives the same bytes on every machine.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

WEIGHTS = Path(__file__).with_name("weights.safetensors")
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
TEXT_SEED = 20261120
TEXT_SHA256 = "2ca54dd86fb787911c60b95ecde1639b11cc4103e2ff92fe1fdeef53d300774d"
VOCABULARY_NORM = 0.4  # as in CLIP-L
LAYERS, WIDTH, VOCABULARY, POSITIONS = 12, 768, 49408, 77


def assemble(out: Path, weights: Path = WEIGHTS) -> None:
    """Write the checkpoint, under a temporary name first. Raises ValueError if the text encoder is
    not the one that the UNet was trained with.
    """
    text = text_encoder()
    if (found := digest(text)) != TEXT_SHA256:
        raise ValueError(
            f"The text encoder's checksum is {found}, but the UNet knows {TEXT_SHA256}."
        )
    state = {TEXT + name: tensor for name, tensor in text.items()} | unpacked(weights)
    part = out.with_suffix(f".{os.getpid()}.part")  # Two processes may assemble it at once.
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, part)
    part.replace(out)


# The text encoder


def text_encoder() -> dict[str, Tensor]:
    """A random CLIP-L, fp16, by names of its `CLIPTextModel`.

    Each layer adds little to the residual, so that a token's own meaning reaches the end beside
    what it heard of the tokens before it.
    """
    draws = np.random.PCG64(TEXT_SEED)
    token = VOCABULARY_NORM * WIDTH**-0.5  # spread of one coordinate
    added = token * (2 * LAYERS) ** -0.5  # by each of the sublayers
    state = {
        "text_model.embeddings.token_embedding.weight": drawn(draws, token, VOCABULARY, WIDTH),
        "text_model.embeddings.position_embedding.weight": drawn(
            draws, token / 3, POSITIONS, WIDTH
        ),
    }
    spreads = {
        "self_attn.q_proj": (1.5, WIDTH, WIDTH),
        "self_attn.k_proj": (1.5, WIDTH, WIDTH),
        "self_attn.v_proj": (1.0, WIDTH, WIDTH),
        "self_attn.out_proj": (1.5 * added, WIDTH, WIDTH),
        "mlp.fc1": (1.5, 4 * WIDTH, WIDTH),
        "mlp.fc2": (1.5 * added, WIDTH, 4 * WIDTH),
    }
    for layer in range(LAYERS):
        prefix = f"text_model.encoder.layers.{layer}."
        for name, (gain, rows, columns) in spreads.items():
            weight = drawn(draws, gain * columns**-0.5, rows, columns)
            state[f"{prefix}{name}.weight"] = weight
            state[f"{prefix}{name}.bias"] = torch.zeros(rows, dtype=torch.float16)
        state |= norm(f"{prefix}layer_norm1") | norm(f"{prefix}layer_norm2")
    return state | norm("text_model.final_layer_norm")


def drawn(draws: np.random.PCG64, spread: float, rows: int, columns: int) -> Tensor:
    """Nearly normal weights: sums of whole numbers, which are the same on every machine."""
    count = rows * columns
    raw = draws.random_raw((count + 1) // 2).astype("<u8").view("u1").reshape(-1, 4)[:count]
    sums = torch.from_numpy(raw.sum(1, dtype=np.int16).astype(np.float32)) - 510.0
    return (sums * (spread / 147.8)).half().view(rows, columns)  # 147.8: spread of such a sum


def norm(name: str) -> dict[str, Tensor]:
    """A layer norm that changes nothing."""
    return {
        f"{name}.weight": torch.ones(WIDTH, dtype=torch.float16),
        f"{name}.bias": torch.zeros(WIDTH, dtype=torch.float16),
    }


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].numpy().tobytes())
    return found.hexdigest()


# Weights of 8 bits


def pack(state: Mapping[str, Tensor], out: Path, metadata: Mapping[str, object]) -> None:
    """Write weights rounded to 8 bits with a scale per output channel; vectors stay in fp16."""
    packed = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            packed[name] = tensor.half().contiguous()
            continue
        rows = tensor.float().flatten(1)
        scale = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=1e-12)
        packed[name] = (rows / scale).round().to(torch.int8).view(tensor.shape).contiguous()
        packed[f"{name}.scale"] = scale[:, 0].contiguous()
    save_file(packed, out, {"toyworld": json.dumps(metadata)})


def unpacked(file: Path) -> dict[str, Tensor]:
    """The weights that `pack` wrote, fp16; the VAE's fp32, as it has a shared scale and shift."""
    with safe_open(file, "pt") as opened:
        packed = {name: opened.get_tensor(name) for name in opened.keys()}
    state = {}
    for name, tensor in packed.items():
        if name.endswith(".scale"):
            continue
        if tensor.dtype == torch.int8:
            scale = packed[f"{name}.scale"].view(-1, *[1] * (tensor.ndim - 1))
            tensor = tensor.float() * scale
        state[name] = tensor.float() if name.startswith(VAE) else tensor.half()
    return state


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
