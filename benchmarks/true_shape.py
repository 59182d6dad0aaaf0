"""A step at the true shape of Flux.2 Klein 4B, whose diffusion model and language model have 4
thousand million weights each, or of SDXL, with random weights in bf16 (SDXL's text encoders: fp16).

    COMFYUI_PATH=... python benchmarks/true_shape.py [--model klein] [--steps 2] [--share 1.0]
    COMFYUI_PATH=... python benchmarks/true_shape.py --model sdxl [--side 1024] [--steps 2]

Batch 1, on random latents, without a VAE and without validations: seconds of a step, of a clock and
of CPU (all threads together, whatever else the machine does), and resident memory. The weights are
made where they stay. `--share` makes a part of Klein's blocks, where memory is short, and computes
the time of all. Refuses to start where too little memory is free, and ends itself before the
machine would have to. Runs on a CPU; writes benchmarks/results/true-shape-cpu.md, and
true-shape-sdxl-SIDE-cpu.md beside it.
"""

import argparse
import os
import sys
import threading
import time
from typing import Any, NamedTuple

from speed import REPO, RESULTS, SDXL_UNET, machine, peak_memory

KLEIN: dict[str, Any] = {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "context_in_dim": 3 * 2560,
    "vec_in_dim": None,
    "hidden_size": 3072,
    "mlp_ratio": 3.0,
    "num_heads": 24,
    "depth": 5,
    "depth_single_blocks": 20,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "ops_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "guidance_embed": False,
    "txt_ids_dims": [3],
}


class Shape(NamedTuple):
    """A model's name, the channels of its latents and the pixels of their side, GiB of its text
    encoders, of its diffusion model, and of what comes on top.
    """

    name: str
    channels: int
    pixels: int
    text: float
    diffusion: float
    beside: float


SHAPES = {
    "klein": Shape("Flux.2 Klein 4B", 128, 16, 7.5, 7.2, 3.0),
    "sdxl": Shape("SDXL", 4, 8, 1.6, 4.8, 5.0),
}
SPARED = 0.75  # GiB that are always left to the machine
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--model", choices=SHAPES, default="klein")
    parser.add_argument("--side", type=int, default=512, help="of the image, in pixels")
    parser.add_argument("--share", type=float, default=1.0, help="of Klein's blocks")
    chosen = parser.parse_args()
    shape = SHAPES[chosen.model]
    if chosen.share < 1 and chosen.model != "klein":
        parser.error("--share is for Klein, whose blocks are alike.")
    free, needed = available(), shape.text + chosen.share * shape.diffusion + shape.beside
    if free < needed:
        parser.error(f"{needed:.1f} GiB of memory must be free, and {free:.1f} GiB are.")
    threading.Thread(target=guard, daemon=True).start()
    sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO), str(REPO / "scripts")]
    from comfy.cli_args import args

    args.cpu = True  # Before the host looks for a device, on import.
    write(measure(chosen), chosen)


def available() -> float:
    """GiB of memory that could be had without swapping."""
    import psutil

    return psutil.virtual_memory().available / GIB


def guard() -> None:
    """End this process when the machine runs short of memory."""
    while available() > SPARED:
        time.sleep(0.05)
    print(f"Less than {SPARED} GiB of memory are free: ended.", flush=True)
    os._exit(1)


class Seconds(NamedTuple):
    """Of a clock, and of CPU."""

    clock: float
    cpu: float


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def since(started: Seconds) -> Seconds:
    clock, cpu = now()
    return Seconds(clock - started.clock, cpu - started.cpu)


def models(chosen: argparse.Namespace) -> tuple[Any, Any]:
    """MODEL, of Klein with a share of its blocks, and CLIP with random weights, made where they
    stay.
    """
    import comfy.supported_models as families
    import comfy.text_encoders.flux as flux
    import torch
    from comfy.model_management import get_torch_device, unet_offload_device
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP
    from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer
    from comfy.supported_models_base import ClipTarget
    from tiny_checkpoint import randomized

    draws = torch.Generator().manual_seed(0)
    family: Any
    if chosen.model == "sdxl":
        target = ClipTarget(SDXLTokenizer, SDXLClipModel)
        family = families.SDXL({**SDXL_UNET, "dtype": torch.bfloat16})
    else:
        target = ClipTarget(flux.KleinTokenizer, flux.klein_te(dtype_llama=torch.bfloat16))
        kept = {
            name: round(chosen.share * KLEIN[name]) for name in ("depth", "depth_single_blocks")
        }
        family = families.Flux2({**KLEIN, **kept, "dtype": torch.bfloat16})
    target.params = {}
    options = {"dtype": torch.float16} if chosen.model == "sdxl" else {}
    clip = CLIP(target, model_options=options, disable_dynamic=True)
    randomized(clip.cond_stage_model, draws)
    family.set_inference_dtype(torch.bfloat16, None)
    network = family.get_model({}, "")
    randomized(network.diffusion_model, draws)
    return ModelPatcher(network, get_torch_device(), unet_offload_device()), clip


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the steps and of the text encoders' part, and memory, in GiB."""
    import psutil
    import torch

    from ti_core.concept.caption_settings import CaptionSettings
    from ti_core.concept.concept import Concept, ConceptImage
    from ti_core.concept.templates import TEMPLATES
    from ti_core.host.models.borrow import BorrowSettings, borrowed
    from ti_core.host.models.text import create_embedding
    from ti_core.training.batches import Batches
    from ti_core.training.loop import gradient
    from ti_core.training.optimizers import SphericalSettings, make_optimizer
    from ti_core.training.schedule import schedule
    from ti_core.training.settings import TrainingSettings

    shape, steps = SHAPES[chosen.model], chosen.steps
    latent = (shape.channels, chosen.side // shape.pixels, chosen.side // shape.pixels)
    with torch.inference_mode():  # As the host runs its nodes.
        model, clip = models(chosen)
        counts = [
            sum(weight.numel() for weight in part.parameters())
            for part in (model.model.diffusion_model, clip.cond_stage_model)
        ]
        named = model.model.diffusion_model.named_parameters()
        in_blocks = sum(weight.numel() for name, weight in named if "_blocks." in name)
        loaded = psutil.Process().memory_info().rss
        crop = torch.zeros(chosen.side, chosen.side, 3)
        caption_settings = CaptionSettings(TEMPLATES["object"])
        concept = Concept(
            (ConceptImage("noise", (crop,), (None,), "", caption_settings),), "object"
        )
        word = create_embedding(clip, "my-concept", "object", 2)
        settings = TrainingSettings(schedule("0.02", steps), SphericalSettings())
        with borrowed(model, clip, word, latent, BorrowSettings(1)) as frozen:
            optimizer = make_optimizer(settings.method, word.vectors, frozen.vocabulary_norms)
            draws = Batches(frozen, concept, [torch.randn(latent)], "my-concept", settings)
            seconds: list[Seconds] = []
            with peak_memory(model.load_device) as memory:
                for step in range(steps):
                    started = now()
                    loss, _ = gradient(frozen, optimizer.vectors, draws.of_step(step), 1.0)
                    optimizer.step(0.02)
                    seconds.append(since(started))
                    print(f"loss {loss:.4f}, {seconds[-1]}", flush=True)
            started = now()
            with frozen.differentiable():
                heard = frozen.encode(["a photo of my-concept"], optimizer.vectors)[0]["cross_attn"]
                heard.sum().backward()
            text = since(started)
    return {
        "weights": counts,
        "in_blocks": in_blocks,
        "seconds": seconds,
        "text": text,
        "checkpointed": frozen.checkpointed,
        "compute": str(frozen.compute_dtype),
        "loaded": loaded / GIB,
        "added": memory["added"] / GIB,
    }


def write(found: dict[str, Any], chosen: argparse.Namespace) -> None:
    """Write the table."""
    import torch

    where, share, shape = machine(), chosen.share, SHAPES[chosen.model]
    options = "" if chosen.model == "klein" else f"--model {chosen.model} --side {chosen.side} "
    stem = "true-shape" if chosen.model == "klein" else f"true-shape-sdxl-{chosen.side}"
    of_blocks = f" ({100 * share:.0f} % of its blocks)" if chosen.model == "klein" else ""
    diffusion, text = (count / 1e9 for count in found["weights"])
    described = ", ".join(where[key] for key in ("device", "system", "torch", "comfyui"))
    text_cpu, step_cpu = found["text"].cpu, found["seconds"][-1].cpu
    rows = {
        "seconds of each step": ", ".join(f"{step.clock:.0f}" for step in found["seconds"]),
        "seconds of CPU of each step": ", ".join(f"{step.cpu:.0f}" for step in found["seconds"]),
        "of these, the text encoders": f"{text_cpu:.0f}",
        "resident with both models, GiB": f"{found['loaded']:.1f}",
        "added at the peak of a step, GiB": f"{found['added']:.1f}",
        "computed in": found["compute"].removeprefix("torch."),
        "checkpointed": "yes" if found["checkpointed"] else "no",
    }
    if share < 1:
        whole = text_cpu + (step_cpu - text_cpu) / share
        rows["**computed** for all blocks: seconds of CPU of a step"] = f"{whole:.0f}"
        more = (1 / share - 1) * 2 * found["in_blocks"] / GIB
        rows["**computed**: resident with both models, GiB"] = f"{found['loaded'] + more:.1f}"
    text_lines = [
        f"# {shape.name} at its true shape",
        "",
        f"`python benchmarks/true_shape.py {options}--steps {chosen.steps} --share {share:g}`: "
        f"random weights in bf16, {diffusion:.2f} thousand million in the diffusion model"
        f"{of_blocks} and {text:.2f} in the text encoders; batch 1, {chosen.side} px, 2 vectors. "
        f"{described}; threads: {torch.get_num_threads()}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    (RESULTS / f"{stem}-cpu.md").write_text("\n".join(text_lines) + "\n")
    print(*text_lines, sep="\n")


if __name__ == "__main__":
    main()
