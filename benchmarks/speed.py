"""Speed and memory on a full-size SD 1.5 shape: our training, a bare loop, and ComfyUI's sampling.

    COMFYUI_PATH=... python benchmarks/speed.py IMAGES [--dtype fp32 bf16] [--steps 5]

Makes a random checkpoint of that shape once (860 M weights in the UNet), then measures each
subject in a process of its own: seconds per warm step, the memory that it adds above the loaded
models at its peak, and what autograd keeps between forward and backward, weights that are there
anyway not counted. Streamed is training as with --novram: no weight stays loaded. The bare loop is
the floor of our overhead: the host's CLIP and UNet, forward and backward, with one live vector and
nothing else. Runs unchanged on a CPU and on an NVIDIA GPU.
Writes benchmarks/results/speed-DEVICE.json and .md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks" / "results"
CHECKPOINT = REPO / ".cache" / "sd15-shape-random.safetensors"
SD15_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "legacy": False,
}
SDXL_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "image_size": 32,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "use_linear_in_transformer": True,
    "use_spatial_transformer": True,
    "num_head_channels": 64,
    "legacy": False,
}
RESOLUTION = 512
SUBJECTS = (
    "training",
    "training, streamed",
    "training, checkpointed",
    "training, checkpointed and streamed",
    "bare loop",
    "sampling",
)
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder with images of one subject")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=5, help="warm steps to measure")
    parser.add_argument("--subject", choices=[*SUBJECTS, "checkpoint"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.subject:
        print(json.dumps(measure(chosen)))
        return
    if not CHECKPOINT.exists():
        in_own_process(chosen, "checkpoint", "fp32")
    rows = []
    for dtype in chosen.dtype:
        for subject in SUBJECTS:
            rows.append(in_own_process(chosen, subject, dtype))
            print(line(rows[-1]), flush=True)
    write(rows)


def in_own_process(chosen: argparse.Namespace, subject: str, dtype: str) -> dict[str, Any]:
    """Measure one subject in a fresh interpreter, so that no other has warmed or filled it."""
    command = [sys.executable, __file__, str(chosen.images), "--dtype", dtype]
    command += ["--steps", str(chosen.steps), "--subject", subject]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """What a child process does: load, measure, and tell."""
    sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO), str(REPO / "scripts")]
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # Before the host looks for a device, on import.
    if chosen.subject == "checkpoint":
        return make_checkpoint()
    dtype = getattr(torch, DTYPES[chosen.dtype[0]])
    subjects: dict[str, Callable[..., Any]] = {
        "training": our_training,
        "training, streamed": partial(our_training, streamed=True),
        "training, checkpointed": partial(our_training, checkpointing="on"),
        "training, checkpointed and streamed": partial(
            our_training, checkpointing="on", streamed=True
        ),
        "bare loop": bare_loop,
        "sampling": sampling,
    }
    seconds, memory = subjects[chosen.subject](dtype, chosen.images, chosen.steps)
    return {
        "subject": chosen.subject,
        "dtype": chosen.dtype[0],
        "seconds_per_step": statistics.median(seconds),
        "all_seconds": seconds,
        "added_memory_mib": round(memory["added"] / 2**20),
        "kept_mib": round(memory.get("kept", 0) / 2**20),
        **machine(),
    }


def make_checkpoint() -> dict[str, Any]:
    """Write the random checkpoint, in bf16."""
    import torch
    from safetensors.torch import save_file
    from tiny_checkpoint import checkpoint

    CHECKPOINT.parent.mkdir(exist_ok=True)
    part = CHECKPOINT.with_suffix(".part")
    save_file(checkpoint(SD15_UNET, torch.bfloat16), part)
    part.replace(CHECKPOINT)
    return {}


def load(dtype: Any) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE as the stock loader gives them, the UNet stored in `dtype`."""
    import comfy.sd

    options = {"dtype": dtype}
    loaded = comfy.sd.load_checkpoint_guess_config(str(CHECKPOINT), model_options=options)
    return loaded[0], loaded[1], loaded[2]


@contextmanager
def peak_memory(device: Any) -> Iterator[dict[str, int]]:
    """Bytes added at the peak inside the block: allocated on the GPU, or resident on a CPU."""
    import psutil
    import torch

    found = {"added": 0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found["added"] = torch.cuda.max_memory_allocated(device) - before
        return
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            found["added"] = max(found["added"], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


@contextmanager
def kept_memory(weights: Any) -> Iterator[dict[str, int]]:
    """Bytes that autograd keeps of what is done inside the block, each memory once, without
    `weights`.
    """
    import torch

    found = {"kept": 0}
    seen = {one.untyped_storage().data_ptr() for one in weights}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            found["kept"] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


@contextmanager
def novram(chosen: bool) -> Iterator[None]:
    """Let the host load nothing, as --novram does (core model_management.py load_models_gpu)."""
    from comfy.model_management import LoadedModel

    host: Any = LoadedModel
    load = host.model_load
    if chosen:
        host.model_load = lambda self, room=0, **more: load(self, 0.1, **more)
    try:
        yield
    finally:
        host.model_load = load


def our_training(
    dtype: Any, images: Path, steps: int, checkpointing: str = "off", streamed: bool = False
) -> Any:
    """Our training as the node runs it, batch 1, one vector; the first step is not counted."""
    import torch

    from ti_core.concept.caption_settings import CaptionSettings
    from ti_core.concept.fit import FitSettings
    from ti_core.concept.gather import ImageRecipe, SourceImage, concept_of
    from ti_core.concept.templates import TEMPLATES
    from ti_core.host.images.folder_files import files_in
    from ti_core.host.images.image_files import read_pixels
    from ti_core.host.models.borrow import BorrowSettings, borrowed
    from ti_core.host.models.encode import encode_images
    from ti_core.host.models.text import create_embedding
    from ti_core.training.latents import shape_of
    from ti_core.training.loop import train
    from ti_core.training.optimizers import SphericalSettings
    from ti_core.training.schedule import schedule
    from ti_core.training.settings import TrainingSettings

    with torch.inference_mode():  # As the host runs its nodes.
        model, clip, vae = load(dtype)
        fit = FitSettings(RESOLUTION, RESOLUTION)
        files = files_in(images, False).images
        sources = (SourceImage(path.name, read_pixels(path).image) for path in files)
        concept = concept_of(
            sources, ImageRecipe("object", CaptionSettings(TEMPLATES["object"]), fit)
        )
        embedding = create_embedding(clip, "my-concept", "object", 1)
        latents = encode_images(vae, model.model.latent_format, concept.crops)
        rates = schedule("0.02", steps + 2, "cosine")
        settings = TrainingSettings(rates, SphericalSettings(), rule=None)
        lent = BorrowSettings(1, "auto", checkpointing)  # type: ignore[arg-type]
        with (
            novram(streamed),
            borrowed(model, clip, embedding, shape_of(latents[0]), lent) as frozen,
        ):
            assert frozen.compute_dtype == dtype
            with peak_memory(model.load_device) as memory:
                run = train(frozen, concept, latents, embedding, settings)
                next(run)  # It measures the start.
                seconds = [synchronized(lambda: next(run), frozen.device) for _ in range(steps + 1)]
            own = (*model.model.parameters(), *clip.cond_stage_model.parameters())
            with kept_memory(own) as kept:
                next(run)
    return seconds[1:], {**memory, **kept}


def bare_loop(dtype: Any, images: Path, steps: int) -> Any:
    """The host's CLIP and UNet, forward and backward, with one live vector and nothing else."""
    import comfy.model_management as memory_management
    import torch

    from ti_core.host.models.gradients import attention_with_backward

    model, clip, _ = load(dtype)  # Outside inference mode: normal tensors, nothing to swap.
    model.add_object_patch("manual_cast_dtype", None)
    memory_management.load_models_gpu([model, clip.patcher], force_full_load=True)
    device = model.load_device
    options = {"optimized_attention_override": attention_with_backward}
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, RESOLUTION // 8, RESOLUTION // 8, generator=draws).to(device)
    vector = (0.0144 * torch.randn(768, generator=draws)).requires_grad_()
    tokens = clip.tokenize("a photo of cat")
    tokens["l"][0][4] = (vector, 1.0)
    sigma = torch.ones(1, device=device)

    def step() -> None:
        vector.grad = None
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            context = clip.cond_stage_model.encode_token_weights(tokens)[0].to(device)
            x0 = model.model.apply_model(
                latents, sigma, c_crossattn=context, transformer_options=dict(options)
            )
            (x0 - latents).square().mean().backward()
        assert vector.grad is not None and bool(vector.grad.isfinite().all())

    clip.cond_stage_model.set_clip_options({"execution_device": clip.patcher.load_device})
    with peak_memory(device) as memory:
        seconds = [synchronized(step, device) for _ in range(steps + 1)]
    return seconds[1:], memory


def sampling(dtype: Any, images: Path, steps: int) -> Any:
    """One step of ComfyUI's sampling as people use it: two rows of the UNet, for the guidance."""
    import comfy.sample
    import torch

    with torch.inference_mode():
        model, clip, _ = load(dtype)
        model.add_object_patch("manual_cast_dtype", None)
        positive, negative = (
            clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a cat", "")
        )
        start = torch.zeros(1, 4, RESOLUTION // 8, RESOLUTION // 8)
        noise = comfy.sample.prepare_noise(start, 0)
        comfy.sample.sample(
            model, noise, 1, 7.0, "euler", "normal", positive, negative, start
        )  # Loads the model.
        times: list[float] = []

        def note(*_: Any) -> None:
            synchronized(lambda: None, model.load_device)
            times.append(time.perf_counter())

        with peak_memory(model.load_device) as memory:
            comfy.sample.sample(
                model,
                noise,
                steps + 1,
                7.0,
                "euler",
                "normal",
                positive,
                negative,
                start,
                callback=note,
            )
    return [later - earlier for earlier, later in zip(times, times[1:], strict=False)], memory


def synchronized(action: Callable[[], Any], device: Any) -> float:
    """Seconds of an action, with the GPU's queue empty before and after."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    started = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - started


def machine() -> dict[str, str]:
    """What it ran on."""
    import comfyui_version
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "comfyui": comfyui_version.__version__,
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    return (
        f"| {row['subject']} | {row['dtype']} | {row['seconds_per_step']:.3f} "
        f"| {row['added_memory_mib']} | {row['kept_mib'] or '-'} |"
    )


def write(rows: list[dict[str, Any]]) -> None:
    """Write the JSON, and the table with ratios to the bare loop."""
    RESULTS.mkdir(exist_ok=True)
    name = "cpu" if rows[0]["device"].startswith("CPU") else rows[0]["device"].replace(" ", "-")
    (RESULTS / f"speed-{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    table = [
        "| subject | dtype | s/step | added memory, MiB | kept, MiB | x bare loop |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        floor = next(r for r in rows if r["subject"] == "bare loop" and r["dtype"] == row["dtype"])
        table.append(f"{line(row)} {row['seconds_per_step'] / floor['seconds_per_step']:.2f} |")
    where = ", ".join(rows[0][key] for key in ("device", "system", "torch", "comfyui"))
    text = f"SD 1.5 shape, {RESOLUTION} px, batch 1. {where}.\n\n" + "\n".join(table) + "\n"
    (RESULTS / f"speed-{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
