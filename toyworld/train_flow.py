"""Train flowworld's model: `COMFYUI_PATH=... python toyworld/train_flow.py FOLDER STAGE`.

A flow model (Flux's layout) that reads a language model (Qwen 3's layout, random). Stages, in this
order: `captions` and `scenes` (encoded once), `flow`, `decay`, `pack`, and for the turbo model
`turbo` and `pack-turbo`. Each of the trainings takes `--minutes`, leaves its state in FOLDER, and
goes on from there when run again.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO)]
from comfy.cli_args import args as host_arguments  # noqa: E402

host_arguments.cpu = not torch.cuda.is_available()
host_arguments.use_pytorch_cross_attention = True

import comfy.model_management  # noqa: E402

from toyworld import assembly  # noqa: E402
from toyworld.descent import DEVICE, Trainee, initialized, say, under  # noqa: E402
from toyworld.scenes import captions_of, images  # noqa: E402
from toyworld.worlds import FLOWWORLD  # noqa: E402

CAPTIONS, SCENES = 6000, 2
BATCH = 64
TURBO_STEPS, TEACHER_STEPS, GUIDANCE = 4, 2, 4.0  # the teacher's in each of the student's
TURBO_BATCH = 32
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": None,
    "context_in_dim": 1024,
    "hidden_size": 128,
    "num_heads": 1,
    "mlp_ratio": 4.0,
    "depth": 2,
    "depth_single_blocks": 4,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
    "txt_norm": True,
}
ENDS = ("img_in.", "txt_in.", "time_in.", "final_layer.")  # beside the modulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--minutes", type=float, default=40.0, help="for this stage, this time")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    STAGES[chosen.stage](chosen.folder, 60 * chosen.minutes)


# Captions and scenes


def encode_captions(folder: Path, seconds: float) -> None:
    """What the language model makes of the captions, as the host encodes them: for each length in
    tokens a file with features `[n, length, width]` and the numbers of the captions.
    """
    from comfy.text_encoders.z_image import Qwen3_4BModel, ZImageTokenizer

    options = {"model_name": "qwen3_4b", "qwen3_4b_model_config": assembly.QWEN.layout}
    encoder = Qwen3_4BModel(device=str(DEVICE), dtype=torch.float32, model_options=options)
    encoder.load_sd(assembly.text_encoder(assembly.QWEN))
    encoder.float()
    tokenizer = ZImageTokenizer()
    lengths: dict[int, list[tuple[int, list[int]]]] = {}
    for number, text in enumerate(captions_of(FLOWWORLD, CAPTIONS)):
        tokens = [token for token, _ in tokenizer.tokenize_with_weights(text)["qwen3_4b"][0]]
        lengths.setdefault(len(tokens), []).append((number, tokens))
    for length, captions in lengths.items():
        features = []
        for start in range(0, len(captions), 50):
            with torch.no_grad():
                made = encoder([tokens for _, tokens in captions[start : start + 50]])[0]
            features.append(made.half().cpu())
        numbers = torch.tensor([number for number, _ in captions])
        save_file(
            {"features": torch.cat(features), "numbers": numbers},
            folder / f"captions-{length}.safetensors",
        )
        say(folder, "captions", tokens=length, captions=len(captions))


def encode_scenes(folder: Path, seconds: float) -> None:
    """Latents of scenes that each caption is true of `[n, SCENES, 16, 8, 8]`, as the model sees
    them.
    """
    from comfy.latent_formats import Flux
    from comfy.taesd.taesd import TAESD

    vae = TAESD(latent_channels=16)
    vae.load_state_dict(assembly.wide_vae(assembly.unpacked(assembly.WEIGHTS)))
    vae, form, draws, latents = vae.to(DEVICE).eval(), Flux(), Random(4), []
    texts = captions_of(FLOWWORLD, CAPTIONS)
    with torch.no_grad():
        for start in range(0, len(texts), 16):
            part = texts[start : start + 16]
            scenes = [FLOWWORLD.scene_for(text, draws) for text in part for _ in range(SCENES)]
            shown = images(FLOWWORLD, scenes).to(DEVICE) * 2 - 1
            with torch.autocast(DEVICE.type, torch.bfloat16):
                encoded = form.process_in(vae.encode(shown).float())
            latents.append(encoded.view(len(part), SCENES, *encoded.shape[1:]).half().cpu())
    made = torch.cat(latents)
    save_file({"latents": made}, folder / "scenes.safetensors")
    say(folder, "scenes", captions=len(made), mean=float(made.mean()), spread=float(made.std()))


class Batch(NamedTuple):
    """Latents `[n, 16, 8, 8]` and the features of their captions `[n, tokens, width]`."""

    clean: Tensor
    context: Tensor


def batches(folder: Path, draws: torch.Generator, size: int = BATCH) -> Iterator[Batch]:
    """Batches whose captions have one length, without end. Every sixteenth has the empty one, which
    guidance needs.
    """
    scenes = load_file(folder / "scenes.safetensors")["latents"]
    parts = [load_file(file) for file in sorted(folder.glob("captions-*.safetensors"))]
    empty = next(part for part in parts if 0 in part["numbers"])
    counts = torch.tensor([float(len(part["numbers"])) for part in parts])
    at_empty = int((empty["numbers"] == 0).nonzero())
    while True:
        if torch.rand((), generator=draws) < 1 / 16:
            part, rows = empty, torch.full((size,), at_empty)
            numbers = torch.randint(len(scenes), (size,), generator=draws)
        else:
            part = parts[int(torch.multinomial(counts, 1, generator=draws))]
            rows = torch.randint(len(part["numbers"]), (size,), generator=draws)
            numbers = part["numbers"][rows]
        which = torch.randint(SCENES, (size,), generator=draws)
        yield Batch(scenes[numbers, which].float(), part["features"][rows])


# The flow model


def network() -> nn.Module:
    """The host's Flux, as small as `FLUX` says, with its usual start."""
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    torch.manual_seed(3)
    made = initialized(Flux(**FLUX, operations=comfy.ops.disable_weight_init))
    for name, weight in made.named_parameters():
        if "norm" in name:
            nn.init.ones_(weight)
        elif any(part in name for part in ("modulation.lin.", "_mod.lin.", "final_layer.")):
            nn.init.zeros_(weight)
    return made


def new_trainee() -> Trainee:
    """The untrained network with its optimizers."""
    made = network()
    modulations = (n for n, _ in made.named_parameters() if "_mod." in n or ".modulation." in n)
    return Trainee(made, (*ENDS, *modulations))


def velocity(model: nn.Module, noisy: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
    """What the model says that noise minus latents is."""
    inputs = (one.to(DEVICE, torch.bfloat16) for one in (noisy, sigma, context))
    with sdpa_kernel(SDPBackend.MATH):  # the fastest for so few tokens
        return model(*inputs).float()


def fit_for_training() -> None:
    """Make the host take kernels with a backward, and its blocks leave what autograd has saved."""
    comfy.model_management.in_training = True
    Tensor.__iadd__ = Tensor.__add__  # core flux/layers.py adds in place


def train_flow(folder: Path, seconds: float) -> None:
    """The flow model, at a constant learning rate; `decay` ends the training."""
    run_flow(folder, seconds, decay=False)


def decay_flow(folder: Path, seconds: float) -> None:
    """The last part of the training, in which the learning rate falls to nothing."""
    run_flow(folder, seconds, decay=True)


def run_flow(folder: Path, seconds: float, decay: bool) -> None:
    """Train on the captions and scenes that are encoded, from where the model was left."""
    fit_for_training()
    trainee = new_trainee()
    state = folder / "flow.safetensors"
    if state.exists():
        trainee.restore(load_file(state))
    draws = torch.Generator().manual_seed(1000 + trainee.step)
    recent: list[float] = []
    started = saved = time.monotonic()
    first = trainee.step
    for clean, context in batches(folder, draws):
        past = (time.monotonic() - started) / seconds
        if past >= 1:
            break
        noise = torch.randn(clean.shape, generator=draws)
        sigma = sigmas(draws)
        places = sigma.view(-1, 1, 1, 1)
        noisy = (1 - places) * clean + places * noise
        made = velocity(trainee.network, noisy, sigma, context)
        loss = ((made - (noise - clean).to(DEVICE)) ** 2).mean()
        trainee.learn(loss, (1 - past) if decay else 1.0)
        recent.append(float(loss.detach()))
        if trainee.step % 50 == 0:
            pace = (time.monotonic() - started) / (trainee.step - first)
            say(folder, "flow", step=trainee.step, loss=fmean(recent), average_pace=pace)
            recent.clear()
        if time.monotonic() - saved > 240:
            trainee.save(state)
            saved = time.monotonic()
    trainee.save(state)


def sigmas(draws: torch.Generator) -> Tensor:
    """Noise levels `[BATCH]`, one from each part of 0..1, mostly in the upper middle, where the
    caption must tell what is there; the family's shift is 1.
    """
    strata = (torch.randperm(BATCH, generator=draws) + torch.rand(BATCH, generator=draws)) / BATCH
    normal = torch.erfinv((2 * strata - 1).clamp(-0.999, 0.999)) * 2**0.5
    even = torch.rand(BATCH, generator=draws) < 0.2
    return torch.where(even, strata, torch.sigmoid(normal + 0.5))


# The turbo model


def train_turbo(folder: Path, seconds: float) -> None:
    """From the flow model, one that needs a quarter of the steps and no guidance: it learns to go
    as far in one step as the guided flow model goes in several (progressive distillation, arXiv
    2202.00512).
    """
    fit_for_training()
    trained = under(load_file(folder / "flow.safetensors"), "average.")
    teacher, trainee = network().to(DEVICE), new_trainee()
    teacher.load_state_dict(trained)
    teacher.to(torch.bfloat16)
    trainee.begin(trained)
    draws, recent, started = torch.Generator().manual_seed(2000), [], time.monotonic()
    empty = empty_context(folder)
    for clean, context in batches(folder, draws, TURBO_BATCH):
        past = (time.monotonic() - started) / seconds
        if past >= 1:
            break
        noise = torch.randn(clean.shape, generator=draws)
        first = (torch.randint(TURBO_STEPS, (len(clean),), generator=draws) + 1) / TURBO_STEPS
        places = first.view(-1, 1, 1, 1)
        noisy = (1 - places) * clean + places * noise
        with torch.no_grad():
            target = guided_way(teacher, noisy, first, context, empty)
        loss = ((velocity(trainee.network, noisy, first, context) - target) ** 2).mean()
        trainee.learn(loss, 0.5 * (1 - past))
        recent.append(float(loss.detach()))
        if trainee.step % 25 == 0:
            say(folder, "turbo", step=trainee.step, loss=fmean(recent))
            recent.clear()
    trainee.save(folder / "turbo.safetensors")


def guided_way(
    teacher: nn.Module, noisy: Tensor, first: Tensor, context: Tensor, empty: Tensor
) -> Tensor:
    """The mean velocity of the guided teacher over one of the student's steps, from the noise level
    `first` `[n]`.
    """
    latents, length = noisy, 1 / TURBO_STEPS / TEACHER_STEPS
    for step in range(TEACHER_STEPS):
        sigma = first - step * length
        plain = velocity(teacher, latents, sigma, empty.expand(len(noisy), -1, -1))
        asked = velocity(teacher, latents, sigma, context)
        latents = latents - length * (plain + GUIDANCE * (asked - plain))
    return (noisy - latents) * TURBO_STEPS


def empty_context(folder: Path) -> Tensor:
    """The features of the empty caption `[1, tokens, width]`."""
    parts = (load_file(file) for file in folder.glob("captions-*.safetensors"))
    part = next(part for part in parts if 0 in part["numbers"])
    return part["features"][part["numbers"] == 0]


# What ships


def pack_turbo(folder: Path, seconds: float) -> None:
    """Round the turbo model's averaged weights to 8 bits."""
    write(folder / "turbo.safetensors", assembly.TURBO)


def pack(folder: Path, seconds: float) -> None:
    """Round the averaged weights to 8 bits."""
    write(folder / "flow.safetensors", assembly.BUILDS["flowworld"].weights)


def write(state: Path, out: Path) -> None:
    """Round the average of a training to 8 bits."""
    trained = load_file(state)
    assembly.pack(under(trained, "average."), out, {"steps": int(trained["step"])})


STAGES: dict[str, Any] = {
    "captions": encode_captions,
    "scenes": encode_scenes,
    "flow": train_flow,
    "decay": decay_flow,
    "pack": pack,
    "turbo": train_turbo,
    "pack-turbo": pack_turbo,
}

if __name__ == "__main__":
    main()
