"""What a training step keeps of each family at full size, counted without computing it.

    COMFYUI_PATH=... python benchmarks/activations.py

Builds the host's own networks on torch's meta device, where tensors have sizes and no contents,
runs a forward and a backward pass, and counts the bytes that are alive: kept between the two, and
at the peak, with and without recomputation of the blocks. Attention counts as a fused kernel. From
these figures `ti_core/host/models/memory.py` takes its rates. Writes them, and what the planner
makes of them on cards of several sizes, to benchmarks/results/activations.md; all of it is
computed, none measured on a card.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULT = REPO / "benchmarks" / "results" / "activations.md"
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO)]

import torch  # noqa: E402
from comfy.cli_args import args  # noqa: E402

args.cpu = True  # Before the host looks for a device, on import.

import comfy.model_management as memory  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.supported_models as families  # noqa: E402
from speed import SD15_UNET, SDXL_UNET  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from ti_core.host.models.gradients import (  # noqa: E402
    blocks,
    checkpointed,
    replacing_forwards,
    works_in_place,
)
from ti_core.host.models.memory import (  # noqa: E402
    Activations,
    Weights,
    activations,
    planned,
)

MIB, GIB = 2**20, 2**30
SD3 = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 24,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 4096, "out_features": 1536},
    },
    "num_patches": 36864,
    "pos_embed_max_size": 192,
    "pos_embed_scaling_factor": None,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
ZIMAGE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "rope_theta": 256.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
QWEN = {"image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 60}


@dataclass(frozen=True)
class Subject:
    """A network at full size with one image: side in pixels, tokens and width of its text."""

    name: str
    family: Any
    layout: dict[str, Any]
    side: int
    tokens: int
    width: int
    dtype: torch.dtype
    more: dict[str, int] = field(default_factory=dict)  # Vectors beside the text, and their width.


SUBJECTS = (
    Subject("SD 1.5 512", families.SD15, SD15_UNET, 512, 77, 768, torch.float16),
    Subject("SDXL 768", families.SDXL, SDXL_UNET, 768, 77, 2048, torch.float16, {"y": 2816}),
    Subject("SDXL 1024", families.SDXL, SDXL_UNET, 1024, 77, 2048, torch.float16, {"y": 2816}),
    Subject("SD 3 1024", families.SD3, SD3, 1024, 154, 4096, torch.float16, {"y": 2048}),
    Subject("Flux 512", families.Flux, FLUX, 512, 256, 4096, torch.bfloat16, {"y": 768}),
    Subject("Flux 1024", families.Flux, FLUX, 1024, 256, 4096, torch.bfloat16, {"y": 768}),
    Subject("Z-Image 1024", families.ZImage, ZIMAGE, 1024, 64, 2560, torch.bfloat16),
    Subject("Qwen-Image 1024", families.QwenImage, QWEN, 1024, 64, 3584, torch.bfloat16),
)


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, each memory once, without the weights."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.weights = {one.untyped_storage()._cdata for one in weights}
        self.known: dict[int, tuple[StorageWeakRef, int]] = {}
        self.total = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(one, Tensor):
                self.note(one)
        return made

    def note(self, tensor: Tensor) -> None:
        """Count a tensor, and look for what is gone where the sum would be a new peak."""
        storage = tensor.untyped_storage()
        if storage._cdata in self.weights:
            return
        known = self.known.get(storage._cdata)
        if known is None or known[0].expired():
            self.total += storage.nbytes() - (known[1] if known else 0)
            self.known[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        if self.total > self.peak:
            self.peak = max(self.peak, self.now())

    def now(self) -> int:
        """Bytes that are alive."""
        self.known = {at: found for at, found in self.known.items() if not found[0].expired()}
        self.total = sum(size for _, size in self.known.values())
        return self.total


class Fused(torch.autograd.Function):
    """What a fused attention allocates: its result, and one number for each row."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors[:3])


def attention(
    _: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *masks: Any, **given: Any
) -> Tensor:
    """The host's attention with a fused kernel."""
    if not given.get("skip_reshape"):
        q, k, v = (one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (q, k, v))
    out: Tensor = Fused.apply(q, k, v)  # type: ignore[assignment]
    return out if given.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)


def memory_of(tensor: Tensor) -> tuple[int, int]:
    """By what `allow_mutation_on_saved_tensors` knows a tensor's memory; without contents, all
    tensors would have the same address.
    """
    return tensor.untyped_storage()._cdata, tensor._version


@contextmanager
def recomputing(network: Any, chosen: bool) -> Iterator[None]:
    """As in `HostModel`, a network whose blocks run again in the backward pass."""
    in_place = works_in_place(network)
    found = [(block, checkpointed(block.forward, in_place)) for block in blocks(network)]
    with replacing_forwards(found) if chosen else nullcontext():
        yield


def network_of(subject: Subject) -> Any:
    """The host's network, without contents."""
    family = subject.family(dict(subject.layout))
    family.set_inference_dtype(subject.dtype, None)
    family.custom_operations = comfy.ops.disable_weight_init
    return family.get_model({}, "", device=torch.device("meta")).diffusion_model


def counted(subject: Subject, network: Any, checkpointing: bool) -> tuple[int, int]:
    """Bytes that are kept between forward and backward, and bytes at the peak, weights apart."""

    def made(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=subject.dtype, device="meta")

    channels, side = (4 if subject.layout.get("in_channels") == 4 else 16), subject.side // 8
    frame = (1,) if subject.family is families.QwenImage else ()
    x = made(1, channels, *frame, side, side)
    context = made(1, subject.tokens, subject.width).requires_grad_()
    given = {name: made(1, width) for name, width in subject.more.items()}
    options = {"optimized_attention_override": attention}
    if subject.family is families.ZImage:
        given["num_tokens"] = subject.tokens  # type: ignore[assignment]
    with (
        recomputing(network, checkpointing),
        Alive((*network.parameters(), *network.buffers())) as alive,
    ):
        out = network(x, made(1), context=context, transformer_options=options, **given)
        kept = alive.now()
        out.float().square().mean().backward()
    return kept, alive.peak


# Bytes of the text encoders that people use with each: CLIP-L, bigG and T5-XXL in fp16, Qwen3-4B in
# bf16, Qwen2.5-VL-7B in fp8.
CLIP_L, CLIP_G, T5 = 235 * MIB, 1325 * MIB, 9084 * MIB
ENCODERS = {
    "SD 1.5 512": CLIP_L,
    "SDXL 768": CLIP_L + CLIP_G,
    "SDXL 1024": CLIP_L + CLIP_G,
    "SD 3 1024": CLIP_L + CLIP_G,
    "Flux 512": CLIP_L + T5,
    "Flux 1024": CLIP_L + T5,
    "Z-Image 1024": 7672 * MIB,
    "Qwen-Image 1024": 8955 * MIB,
}
CARDS = (4, 6, 8, 12, 16, 24)
# Of a card's memory, what CUDA's context and libraries take, and what the host leaves to others.
TAKEN = int(0.6 * GIB + 0.4 * GIB)


def main() -> None:
    """Count, and write both tables."""
    memory.in_training = True
    torch.autograd.graph._get_sid = memory_of
    torch.autograd.graph._get_tid = lambda tensor: (id(tensor), *memory_of(tensor))
    counts = ["| subject, batch 1 | kept | peak | peak, blocks run again | weights | rates |"]
    plans = ["| subject, batch 1 | " + " | ".join(f"{card} GB" for card in CARDS) + " |"]
    for table, columns in ((counts, 6), (plans, len(CARDS) + 1)):
        table.append("|---" * columns + "|")
    for subject in SUBJECTS:
        network = network_of(subject)
        held = sum(one.nbytes for one in network.parameters())
        kept, peak = (0, 0) if works_in_place(network) else counted(subject, network, False)
        lean = counted(subject, network, True)[1]
        counts.append(count_row(subject, kept, peak, lean, held))
        plans.append(plan_row(subject, held))
        print(counts[-1], plans[-1], sep="\n", flush=True)
    RESULT.write_text(HEAD + "\n".join(counts) + MIDDLE + "\n".join(plans) + "\n")


HEAD = """Counted by `python benchmarks/activations.py` on torch's meta device, in MiB; weights are
those of the diffusion model. Rates are KiB per latent pixel and byte of the compute dtype: at the
peak with everything kept, and with blocks that run again. A dash: its blocks always do.

"""
MIDDLE = """

What the planner makes of it, computed: GiB of weights that stay on the card / GiB that are copied
to it in a step / GiB at the peak, without CUDA's own 0.6 GiB; * where blocks run again. Encoders:
CLIP in fp16, T5 in fp16, Qwen3 in bf16, Qwen2.5-VL in fp8.

"""


def count_row(subject: Subject, kept: int, peak: int, lean: int, held: int) -> str:
    """One row of what was counted."""
    pixels = (subject.side // 8) ** 2 * subject.dtype.itemsize * 1024
    cells = [f"{one / MIB:.0f}" if one else "-" for one in (kept, peak, lean, held)]
    rates = " / ".join(f"{one / pixels:.0f}" if one else "-" for one in (peak, lean))
    return f"| {subject.name} | " + " | ".join((*cells, rates)) + " |"


def plan_row(subject: Subject, held: int) -> str:
    """One row of what stays and what moves, on cards of several sizes."""
    cells = []
    for card in CARDS:
        plan = planned(
            Weights(held, ENCODERS[subject.name]), estimate(subject), card * GIB - TAKEN, None
        )
        fits = plan.activations <= card * GIB - TAKEN
        figures = (plan.resident, plan.traffic, plan.peak)
        text = " / ".join(f"{one / GIB:.1f}" for one in figures) + " *" * plan.checkpointing
        cells.append(text if fits else "too small")
    return f"| {subject.name} | " + " | ".join(cells) + " |"


def estimate(subject: Subject) -> Activations:
    """What the planner expects of a subject, its text encoders' own activations apart."""
    kinds: dict[Any, str] = {families.SD15: "BaseModel", families.ZImage: "Lumina2"}
    kind = kinds.get(subject.family) or str(subject.family.__name__)
    side = subject.side // 8
    return activations(kind, 1.0, 1, (0, side, side), subject.dtype.itemsize)


if __name__ == "__main__":
    main()
