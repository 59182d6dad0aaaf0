"""Train toyworld's model: `COMFYUI_PATH=... python toyworld/train.py FOLDER STAGE`.

Stages, in this order: `vae`, `captions` and `scenes` (encoded once), `unet`, `decay`, `pack`. Each
takes `--minutes`, leaves its state in FOLDER; `unet` and `decay` go on from there when run
again.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO), str(REPO / "scripts")]
from comfy.cli_args import args as host_arguments  # noqa: E402

host_arguments.cpu = not torch.cuda.is_available()
host_arguments.use_pytorch_cross_attention = True

from tiny_checkpoint import UNET  # noqa: E402

from ti_core.concept.templates import OBJECT_TEMPLATES, STYLE_TEMPLATES  # noqa: E402
from toyworld import assembly, world  # noqa: E402

TEMPLATES = (*OBJECT_TEMPLATES, *STYLE_TEMPLATES)
CAPTIONS, SCENES = 10_000, 3
PART = 500  # captions that are encoded into one file
BATCH = 48
LR = 2e-3
SCALE_FACTOR = 0.18215  # SD 1.x's, between VAE and UNet
# The first and the last layers, whose matrices AdamW moves.
TAESD_ENDS = ("taesd_encoder.0.", "taesd_encoder.14.", "taesd_decoder.1.", "taesd_decoder.19.")
UNET_ENDS = ("input_blocks.0.", "out.", "time_embed.")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--minutes", type=float, default=60.0, help="for this stage, this time")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    STAGES[chosen.stage](chosen.folder, 60 * chosen.minutes)


def pictures(scenes: list[world.Scene]) -> Tensor:
    """Scenes `[n, 3, 64, 64]`, 0..1."""
    drawn = np.stack([np.asarray(world.render(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float().div(255).to(DEVICE)


def say(folder: Path, stage: str, **figures: float) -> None:
    """Print figures, and add them to the log."""
    line = json.dumps({"stage": stage, **{k: round(v, 5) for k, v in figures.items()}})
    print(line, flush=True)
    with (folder / "log.jsonl").open("a") as log:
        log.write(line + "\n")


class Descent:
    """Muon for the matrices inside a network (convolutions flattened), AdamW for the rest."""

    def __init__(self, weights: dict[str, Tensor], ends: tuple[str, ...]) -> None:
        """`weights` are moved in place; names that start with one of `ends` are not inside."""
        inside, rest = {}, {}
        for name, weight in weights.items():
            matrix = weight.ndim > 1 and not name.startswith(ends)
            kind, shape = (inside, (len(weight), -1)) if matrix else (rest, weight.shape)
            kind[name] = nn.Parameter(weight.view(shape))  # the same memory
        self.parts = (
            (inside, torch.optim.Muon(inside.values(), 1e-3, 0.0, adjust_lr_fn="match_rms_adamw")),
            (rest, torch.optim.AdamW(rest.values(), 1e-3, (0.9, 0.98), weight_decay=0.0)),
        )

    def step(self, weights: dict[str, nn.Parameter], rate: float) -> None:
        """Move the weights by the gradients of those of the same names, which are taken away."""
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        for kind, optimiser in self.parts:
            for name, weight in kind.items():
                gradient = weights[name].grad
                assert gradient is not None
                weight.grad, weights[name].grad = gradient.float().view(weight.shape), None
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{field}/{name}": value.float()
            for kind, optimiser in self.parts
            for name, weight in kind.items()
            for field, value in optimiser.state[weight].items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        for kind, optimiser in self.parts:
            for key, value in state.items():
                field, _, name = key.partition("/")
                if name in kind:
                    optimiser.state[kind[name]][field] = value


# VAE


def train_vae(folder: Path, seconds: float, batch: int = 16) -> None:
    """Encoder and decoder in the TAESD layout; latents are pulled to zero mean and unit spread."""
    from comfy.taesd.taesd import TAESD

    torch.manual_seed(1)
    network: Any = initialised(TAESD()).to(DEVICE)
    if (folder / "vae.safetensors").exists():
        network.load_state_dict(load_file(folder / "vae.safetensors"))
    weights = {n: w for n, w in network.named_parameters() if not n.startswith("vae_")}
    descent = Descent({n: w.detach() for n, w in weights.items()}, TAESD_ENDS)
    draws, started, step, total = Random(1), time.monotonic(), 0, 0.0
    while (past := (time.monotonic() - started) / seconds) < 1:
        clean = pictures([world.random_scene(draws) for _ in range(batch)])
        with torch.autocast(DEVICE.type, torch.bfloat16):
            latents = network.taesd_encoder(clean.to(memory_format=torch.channels_last)).float()
            noisy = latents + 0.05 * torch.randn_like(latents)
            restored = network.taesd_decoder(noisy).float()
        error = restored - clean
        moments = latents.mean((0, 2, 3)) ** 2 + (latents.std((0, 2, 3)) - 1) ** 2
        edges = sum((error.diff(dim=d)).abs().mean() for d in (2, 3))
        loss = error.abs().mean() + 0.5 * edges + 0.02 * moments.mean() + 2 * (error**2).mean()
        loss.backward()
        step += 1
        descent.step(weights, 2e-3 * min(1, step / 50) * (1 - past))
        total += float((error.detach() ** 2).mean())
        if step % 50 == 0:
            say(
                folder,
                "vae",
                step=step,
                psnr=-10 * math.log10(total / 50),
                moments=float(moments.detach().mean()),
            )
            total = 0.0
    with torch.no_grad():  # Exactly unit spread after SD 1.x's own factor.
        clean = pictures([world.random_scene(draws) for _ in range(512)])
        latents = torch.cat([network.taesd_encoder(part) for part in clean.split(64)])
        network.vae_scale.fill_(float(latents.std()) * SCALE_FACTOR)
        network.vae_shift.fill_(-float(latents.mean()) / float(network.vae_scale))
    save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, folder / "vae.safetensors"
    )


def initialised(network: nn.Module) -> nn.Module:
    """Torch's usual start for convolutions and linear layers, which the host leaves out."""
    for module in network.modules():
        for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
            if isinstance(module, kind):
                cast(Any, kind).reset_parameters(module)
    return network


# Captions and scenes


def all_captions() -> list[str]:
    """The captions of the training, the empty one first."""
    draws, captions = Random(2), {"": None}
    while len(captions) < CAPTIONS:
        captions[world.caption(world.random_scene(draws), draws, TEMPLATES)] = None
    return list(captions)


def encode_captions(folder: Path, seconds: float) -> None:
    """What the frozen text encoder makes of the captions `[n, 77, 768]`, in files of `PART` each.
    Several processes can share the work.
    """
    from comfy.clip_model import CLIPTextModel
    from comfy.sd1_clip import SDClipModel, SDTokenizer

    encoder = SDClipModel(device=str(DEVICE), model_class=CLIPTextModel, dtype=torch.bfloat16)
    encoder.transformer.load_state_dict(assembly.text_encoder(), strict=False)
    texts, tokenizer = all_captions(), SDTokenizer()
    for first in range(0, CAPTIONS, PART):
        try:
            (folder / f"captions-{first}.claimed").touch(exist_ok=False)
        except FileExistsError:
            continue
        features = []
        for start in range(first, first + PART, 20):
            pairs = [tokenizer.tokenize_with_weights(t)[0] for t in texts[start : start + 20]]
            with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
                encoded = encoder([[token for token, _ in one] for one in pairs])[0]
            features.append(encoded.half().cpu())
        save_file({"features": torch.cat(features)}, folder / f"captions-{first}.safetensors")
        say(folder, "captions", captions=first + PART)


def encode_scenes(folder: Path, seconds: float) -> None:
    """Latents of scenes that each caption is true of `[n, SCENES, 4, 8, 8]`."""
    texts = all_captions()
    vae, draws, latents = loaded_vae(folder), Random(4), []
    with torch.no_grad():
        for start in range(0, len(texts), 16):
            part = texts[start : start + 16]
            scenes = [world.scene_for(text, draws) for text in part for _ in range(SCENES)]
            with torch.autocast(DEVICE.type, torch.bfloat16):
                encoded = vae.encode(pictures(scenes) * 2 - 1).float() * SCALE_FACTOR
            latents.append(encoded.view(len(part), SCENES, *encoded.shape[1:]).cpu())
            if start % 1600 == 0:
                say(folder, "scenes", captions=start)
    save_file({"latents": torch.cat(latents)}, folder / "scenes.safetensors")


def loaded_vae(folder: Path) -> Any:
    from comfy.taesd.taesd import TAESD

    vae = TAESD()
    vae.load_state_dict(load_file(folder / "vae.safetensors"))
    return vae.to(DEVICE).eval()


# UNet


def train_unet(folder: Path, seconds: float) -> None:
    """The denoiser: eps prediction on SD 1.x's schedule. The learning rate is constant; `decay`
    ends the training.
    """
    run_unet(folder, seconds, decay=False)


def decay_unet(folder: Path, seconds: float) -> None:
    """The last part of the UNet's training, in which the learning rate falls to nothing."""
    run_unet(folder, seconds, decay=True)


def run_unet(folder: Path, seconds: float, decay: bool) -> None:
    """Train on the captions and scenes that are encoded, from where the UNet was left."""
    scenes = load_file(folder / "scenes.safetensors")["latents"]
    encoded = {
        first: folder / f"captions-{first}.safetensors" for first in range(0, CAPTIONS, PART)
    }
    ready = {first: file for first, file in encoded.items() if file.exists()}
    features = torch.cat([load_file(file)["features"] for file in ready.values()]).to(DEVICE)
    latents = torch.cat([scenes[first : first + PART] for first in ready]).to(DEVICE)
    trainee = Trainee()
    if (folder / "unet.safetensors").exists():
        trainee.restore(load_file(folder / "unet.safetensors"))
    draws = torch.Generator(DEVICE).manual_seed(1000 + trainee.step)
    sigmas = model_sigmas()
    recent: list[float] = []
    started, saved, first = time.monotonic(), time.monotonic(), trainee.step
    while (past := (time.monotonic() - started) / seconds) < 1:
        chosen = torch.randint(len(features), (BATCH,), generator=draws, device=DEVICE)
        which = torch.randint(SCENES, (BATCH,), generator=draws, device=DEVICE)
        context = features[chosen].to(torch.bfloat16)
        context[: BATCH // 16] = features[0].to(torch.bfloat16)  # guidance needs the empty caption
        clean = latents[chosen, which]
        noise = torch.randn(clean.shape, generator=draws, device=DEVICE)
        strata = (torch.randperm(BATCH, generator=draws, device=DEVICE) + 0.5) / BATCH
        places = (strata * len(sigmas)).long()
        sigma = sigmas[places].view(-1, 1, 1, 1)
        noisy = (clean + sigma * noise) / (1 + sigma**2).sqrt()
        with sdpa_kernel(SDPBackend.MATH):  # the fastest for so few tokens
            made = trainee(noisy, places, context)
        errors = ((made - noise) ** 2).mean((1, 2, 3))
        # Where noise hides the scene, the caption must tell it: that counts more than in plain eps.
        loss = (errors * (1 + sigma.flatten() ** 2).clamp(max=5)).mean()
        trainee.learn(loss, (1 - past) if decay else 1.0)
        recent.append(float(errors.detach().mean()))
        if trainee.step % 50 == 0:
            pace = (time.monotonic() - started) / (trainee.step - first)
            say(folder, "unet", step=trainee.step, eps_loss=fmean(recent), average_pace=pace)
            recent.clear()
        if time.monotonic() - saved > 240:
            trainee.save(folder / "unet.safetensors")
            saved = time.monotonic()
    trainee.save(folder / "unet.safetensors")


class Trainee:
    """The UNet in bf16 with fp32 masters, their optimisers and their running average."""

    def __init__(self) -> None:
        import comfy.ops
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        torch.manual_seed(3)
        network = initialised(UNetModel(**UNET, operations=comfy.ops.disable_weight_init))
        for name, weight in network.named_parameters():
            if any(part in name for part in ("out_layers.3.", "proj_out.", "out.2.")):
                nn.init.zeros_(weight)
        network = network.to(DEVICE)
        self.masters = {n: w.detach().clone().float() for n, w in network.named_parameters()}
        self.average = {n: w.clone() for n, w in self.masters.items()}
        self.network = network.to(torch.bfloat16)
        self.step = 0
        self.descent = Descent(self.masters, UNET_ENDS)

    def __call__(self, noisy: Tensor, places: Tensor, context: Tensor) -> Tensor:
        return self.network(noisy.to(torch.bfloat16), places, context=context).float()

    def learn(self, loss: Tensor, share: float) -> None:
        """One step at this share of the full learning rate."""
        loss.backward()
        weights = dict(self.network.named_parameters())
        self.step += 1
        self.descent.step(weights, LR * share * min(1.0, self.step / 100))
        keep = min(0.998, 1 - 1 / (1 + self.step / 4))
        with torch.no_grad():
            for name, master in self.masters.items():
                weights[name].copy_(master)
                self.average[name].lerp_(master, 1 - keep)

    def save(self, file: Path) -> None:
        """Masters, average and optimiser states."""
        state = {f"master.{n}": w for n, w in self.masters.items()}
        state |= {f"average.{n}": w for n, w in self.average.items()}
        state |= self.descent.state()
        part = file.with_suffix(".part")
        save_file({**state, "step": torch.tensor(self.step)}, part)
        part.replace(file)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `save` wrote."""
        self.step = int(state.pop("step"))
        for name, weight in self.masters.items():
            weight.copy_(state.pop(f"master.{name}"))
            self.average[name].copy_(state.pop(f"average.{name}"))
        self.descent.restore(state)
        weights = dict(self.network.named_parameters())
        with torch.no_grad():
            for name, master in self.masters.items():
                weights[name].copy_(master)


def model_sigmas() -> Tensor:
    """SD 1.x's schedule, ascending `[1000]`."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    return ((1 - kept) / kept).sqrt().float().to(DEVICE)


# What ships


def pack(folder: Path, seconds: float) -> None:
    """Round the averaged UNet and the VAE to 8 bits."""
    unet = load_file(folder / "unet.safetensors")
    state = {
        assembly.UNET + name.removeprefix("average."): weight
        for name, weight in unet.items()
        if name.startswith("average.")
    }
    vae = load_file(folder / "vae.safetensors")
    state |= {assembly.VAE + name: weight for name, weight in vae.items()}
    assembly.pack(state, assembly.WEIGHTS, {"unet_steps": int(unet["step"])})


STAGES: dict[str, Any] = {
    "vae": train_vae,
    "captions": encode_captions,
    "scenes": encode_scenes,
    "unet": train_unet,
    "decay": decay_unet,
    "pack": pack,
}

if __name__ == "__main__":
    main()
