"""Assemble a world's model as files that ComfyUI loads: `python toyworld/assembly.py OUT [WORLD]`.

Diffusion model and VAE come from weights of 8 bits; the text encoders have weights from a fixed
seed, which need not ship. Needs torch, numpy and safetensors only, and gives the same bytes on
every machine.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

REPO = Path(__file__).resolve().parents[1]
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
FLUX_SCALE, FLUX_SHIFT, SD1_SCALE = 0.3611, 0.1159, 0.18215  # between VAE and diffusion model
COPIES = 4  # of each of toyworld's latent channels, where a family has 16


class Clip(NamedTuple):
    """A random text encoder in the CLIP-L layout: length of the vocabulary's vectors, and how much
    each sublayer adds to them, as a share of what would double them in all.
    """

    seed: int
    norm: float
    added: float
    layers: int = 12
    width: int = 768
    vocabulary: int = 49408
    positions: int = 77


class Qwen(NamedTuple):
    """A random text encoder in the layout of Qwen 3, with the host's names of what is not as large
    as in the host. The host takes what the last layer but one gives.
    """

    seed: int
    norm: float
    added: float
    layers: int = 3
    width: int = 1024
    vocabulary: int = 151936
    hidden: int = 2048
    heads: int = 8
    shared_heads: int = 4
    head: int = 128

    @property
    def layout(self) -> dict[str, int]:
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "intermediate_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.shared_heads,
        }


class Build(NamedTuple):
    """What a world's files are made of: its text encoder with the checksum that it must have, and
    the file of its weights.
    """

    text: Clip | Qwen
    sha256: str
    weights: Path


CLIP_L = Clip(20261120, 0.4, 1.0)  # toyworld's; the norm is CLIP-L's
QWEN = Qwen(20261128, 1.0, 1.0)
SHIPPED, MADE = REPO / "toyworld", REPO / ".cache" / "worlds"
BUILDS = {
    "toyworld": Build(
        CLIP_L,
        "2ca54dd86fb787911c60b95ecde1639b11cc4103e2ff92fe1fdeef53d300774d",
        SHIPPED / "weights.safetensors",
    ),
    "flowworld": Build(
        QWEN,
        "48ea56bd4556957f2f550bc903ea897828a5f9c2272cbfb2c08688f0c260e745",
        SHIPPED / "flowworld.safetensors",
    ),
    "otherworld": Build(
        Clip(20261129, 0.8, 2.0),
        "012449154195d227b6ec0b2aa2126dee36fddcc6d822a02c28ba049807b45569",
        MADE / "otherworld.safetensors",
    ),
}
WEIGHTS = BUILDS["toyworld"].weights
TURBO = SHIPPED / "flowworld-turbo.safetensors"


def assemble(out: Path, name: str = "toyworld") -> None:
    """Write the files: one checkpoint, or a folder where the family comes in parts. Raises
    ValueError if the text encoder is not the one that the diffusion model was trained with.
    """
    build = known(name)
    text = text_encoder(build.text)
    if (found := digest(text)) != build.sha256:
        raise ValueError(
            f"The text encoder's checksum is {found}, but the model knows {build.sha256}."
        )
    state = unpacked(build.weights)
    if isinstance(build.text, Clip):
        save(out, {TEXT + name: tensor for name, tensor in text.items()} | state)
        return
    save(out / "text_encoder.safetensors", text)
    save(out / "vae.safetensors", wide_vae(unpacked(WEIGHTS)))
    save(out / "turbo.safetensors", unpacked(TURBO))
    save(out / "diffusion_model.safetensors", state)


def known(name: str) -> Build:
    """What a world's files are made of; FileNotFoundError if its weights are yet to be trained."""
    build = BUILDS[name]
    if not build.weights.exists():
        raise FileNotFoundError(
            f"There is no {build.weights}: {name}'s weights do not ship. docs/toyworld.md says how "
            f"they are trained."
        )
    return build


def assembled(name: str) -> Path:
    """The files of a world's model, made once for each state of its parts."""
    build = known(name)
    single = isinstance(build.text, Clip)
    parts = (build.weights, Path(__file__), *(() if single else (WEIGHTS, TURBO)))
    version = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:8]
    out = MADE / f"{name}-{version}{'.safetensors' if single else ''}"
    last = out if single else out / "diffusion_model.safetensors"
    if not last.exists():
        assemble(out, name)
    return out


def save(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights, under a temporary name first."""
    part = file.with_suffix(f".{os.getpid()}.part")  # Two processes may assemble it at once.
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), part)
    part.replace(file)


# Text encoders


def text_encoder(build: Clip | Qwen) -> dict[str, Tensor]:
    """A random text encoder, fp16, by the names that the host has for its weights.

    Each layer adds little to the residual, so that a token's own meaning reaches the end beside
    what it heard of the tokens before it.
    """
    return clip(build) if isinstance(build, Clip) else qwen(build)


def clip(build: Clip) -> dict[str, Tensor]:
    """The weights of a `CLIPTextModel`."""
    draws, width = np.random.PCG64(build.seed), build.width
    token = build.norm * width**-0.5  # spread of one coordinate
    added = build.added * token * (2 * build.layers) ** -0.5  # by each of the sublayers
    embeddings = "text_model.embeddings."
    state = {
        f"{embeddings}token_embedding.weight": drawn(draws, token, build.vocabulary, width),
        f"{embeddings}position_embedding.weight": drawn(draws, token / 3, build.positions, width),
    }
    spreads = {
        "self_attn.q_proj": (1.5, width, width),
        "self_attn.k_proj": (1.5, width, width),
        "self_attn.v_proj": (1.0, width, width),
        "self_attn.out_proj": (1.5 * added, width, width),
        "mlp.fc1": (1.5, 4 * width, width),
        "mlp.fc2": (1.5 * added, width, 4 * width),
    }
    for layer in range(build.layers):
        prefix = f"text_model.encoder.layers.{layer}."
        for name, (gain, rows, columns) in spreads.items():
            weight = drawn(draws, gain * columns**-0.5, rows, columns)
            state[f"{prefix}{name}.weight"] = weight
            state[f"{prefix}{name}.bias"] = torch.zeros(rows, dtype=torch.float16)
        for name in ("layer_norm1", "layer_norm2"):
            state |= norm(prefix + name, width)
    return state | norm("text_model.final_layer_norm", width)


def qwen(build: Qwen) -> dict[str, Tensor]:
    """The weights of a `Qwen3_4B`."""
    draws, width = np.random.PCG64(build.seed), build.width
    token = build.norm * width**-0.5
    added = build.added * token * (2 * build.layers) ** -0.5
    state = {"model.embed_tokens.weight": drawn(draws, token, build.vocabulary, width)}
    queries, keys = build.heads * build.head, build.shared_heads * build.head
    spreads = {
        "self_attn.q_proj": (1.0, queries, width),
        "self_attn.k_proj": (1.0, keys, width),
        "self_attn.v_proj": (1.0, keys, width),
        "self_attn.o_proj": (1.5 * added, width, queries),
        "mlp.gate_proj": (1.5, build.hidden, width),
        "mlp.up_proj": (1.5, build.hidden, width),
        "mlp.down_proj": (1.5 * added, width, build.hidden),
    }
    for layer in range(build.layers):
        prefix = f"model.layers.{layer}."
        for name, (gain, rows, columns) in spreads.items():
            state[f"{prefix}{name}.weight"] = drawn(draws, gain * columns**-0.5, rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{prefix}{name}.weight"] = torch.ones(width, dtype=torch.float16)
        for name in ("q_norm", "k_norm"):  # Longer than 1, so that attention looks at something.
            state[f"{prefix}self_attn.{name}.weight"] = torch.full((build.head,), 1.75).half()
    return state | {"model.norm.weight": torch.ones(width, dtype=torch.float16)}


def drawn(draws: np.random.PCG64, spread: float, rows: int, columns: int) -> Tensor:
    """Nearly normal weights: sums of whole numbers, which are the same on every machine."""
    count = rows * columns
    raw = draws.random_raw((count + 1) // 2).astype("<u8").view("u1").reshape(-1, 4)[:count]
    sums = torch.from_numpy(raw.sum(1, dtype=np.int16).astype(np.float32)) - 510.0
    return (sums * (spread / 147.8)).half().view(rows, columns)  # 147.8: spread of such a sum


def norm(name: str, width: int) -> dict[str, Tensor]:
    """A layer norm that changes nothing."""
    return {
        f"{name}.weight": torch.ones(width, dtype=torch.float16),
        f"{name}.bias": torch.zeros(width, dtype=torch.float16),
    }


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].numpy().tobytes())
    return found.hexdigest()


# The VAE of families with 16 latent channels


def wide_vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Toyworld's VAE with each latent channel four times, at half the spread: noise hides as much
    of the four copies as it would of one channel of unit spread.
    """
    vae = {name.removeprefix(VAE): one for name, one in state.items() if name.startswith(VAE)}
    for end in ("weight", "bias"):
        last = f"taesd_encoder.14.{end}"
        vae[last] = torch.cat([vae[last]] * COPIES)
    first = "taesd_decoder.1.weight"
    vae[first] = torch.cat([vae[first] / COPIES] * COPIES, 1)
    scale = vae["vae_scale"] / SD1_SCALE * FLUX_SCALE * COPIES**0.5
    vae["vae_shift"] = vae["vae_shift"] * vae["vae_scale"] / scale + FLUX_SHIFT
    return vae | {"vae_scale": scale}


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
    out.parent.mkdir(parents=True, exist_ok=True)
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
    assemble(Path(sys.argv[1]), *sys.argv[2:3])
