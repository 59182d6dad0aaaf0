"""Train a world's model: `COMFYUI_PATH=... python toyworld/train.py FOLDER STAGE [--world NAME]`.

Stages, in this order: `vae`, `captions` and `scenes` (encoded once), `unet`, `decay`, `pack`. Each
takes `--minutes`, leaves its state in FOLDER; `unet` and `decay` go on from there when run again.
Another world than toyworld has toyworld's VAE and UNet, of which the transformer blocks are trained
on. `train_flow.py` trains the flow model.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

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

from toyworld import assembly  # noqa: E402
from toyworld.descent import DEVICE, Descent, Trainee, initialized, say, under  # noqa: E402
from toyworld.scenes import captions_of, images  # noqa: E402
from toyworld.world import World  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

CAPTIONS = {"toyworld": 10_000, "otherworld": 2_000}
BATCH = 48
SCENES = 3
PART = 500  # captions that are encoded into one file
SCALE_FACTOR = 0.18215  # SD 1.x's, between VAE and UNet
# The first and the last layers, whose matrices AdamW moves.
TAESD_ENDS = ("taesd_encoder.0.", "taesd_encoder.14.", "taesd_decoder.1.", "taesd_decoder.19.")
READERS = "transformer_blocks."  # the layers that are trained where toyworld's UNet is begun with
UNET_ENDS = ("input_blocks.0.", "out.", "time_embed.")


class Job(NamedTuple):
    """What is trained, where its state lies, and for how long."""

    name: str
    folder: Path
    seconds: float

    @property
    def world(self) -> World:
        return WORLDS[self.name]

    @property
    def captions(self) -> list[str]:
        return captions_of(self.world, CAPTIONS[self.name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--world", choices=CAPTIONS, default="toyworld")
    parser.add_argument("--minutes", type=float, default=60.0, help="for this stage, this time")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    STAGES[chosen.stage](Job(chosen.world, chosen.folder, 60 * chosen.minutes))


# VAE


def train_vae(job: Job, batch: int = 16) -> None:
    """Encoder and decoder in the TAESD layout; latents are pulled to zero mean and unit spread."""
    from comfy.taesd.taesd import TAESD

    folder, seconds, world = job.folder, job.seconds, job.world
    torch.manual_seed(1)
    network: Any = initialized(TAESD()).to(DEVICE)
    if (folder / "vae.safetensors").exists():
        network.load_state_dict(load_file(folder / "vae.safetensors"))
    weights = {n: w for n, w in network.named_parameters() if not n.startswith("vae_")}
    descent = Descent({n: w.detach() for n, w in weights.items()}, TAESD_ENDS)
    draws, started, step, total = Random(1), time.monotonic(), 0, 0.0
    while (past := (time.monotonic() - started) / seconds) < 1:
        clean = images(world, [world.random_scene(draws) for _ in range(batch)]).to(DEVICE)
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
        clean = images(world, [world.random_scene(draws) for _ in range(512)]).to(DEVICE)
        latents = torch.cat([network.taesd_encoder(part) for part in clean.split(64)])
        network.vae_scale.fill_(float(latents.std()) * SCALE_FACTOR)
        network.vae_shift.fill_(-float(latents.mean()) / float(network.vae_scale))
    save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, folder / "vae.safetensors"
    )


# Captions and scenes


def encode_captions(job: Job) -> None:
    """What the frozen text encoder makes of the captions `[n, 77, 768]`, in files of `PART` each.
    Several processes can share the work.
    """
    from comfy.clip_model import CLIPTextModel
    from comfy.sd1_clip import SDClipModel, SDTokenizer

    folder, texts, tokenizer = job.folder, job.captions, SDTokenizer()
    encoder = SDClipModel(device=str(DEVICE), model_class=CLIPTextModel, dtype=torch.bfloat16)
    weights = assembly.text_encoder(assembly.BUILDS[job.name].text)
    encoder.transformer.load_state_dict(weights, strict=False)
    for first in range(0, len(texts), PART):
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


def encode_scenes(job: Job) -> None:
    """Latents of scenes that each caption is true of `[n, SCENES, 4, 8, 8]`."""
    texts, world, folder = job.captions, job.world, job.folder
    vae, draws, latents = loaded_vae(folder), Random(4), []
    with torch.no_grad():
        for start in range(0, len(texts), 16):
            part = texts[start : start + 16]
            scenes = [world.scene_for(text, draws) for text in part for _ in range(SCENES)]
            with torch.autocast(DEVICE.type, torch.bfloat16):
                shown = images(world, scenes).to(DEVICE) * 2 - 1
                encoded = vae.encode(shown).float() * SCALE_FACTOR
            latents.append(encoded.view(len(part), SCENES, *encoded.shape[1:]).cpu())
            if start % 1600 == 0:
                say(folder, "scenes", captions=start)
    save_file({"latents": torch.cat(latents)}, folder / "scenes.safetensors")


def loaded_vae(folder: Path) -> Any:
    """The VAE that was trained there, else toyworld's."""
    from comfy.taesd.taesd import TAESD

    vae, trained = TAESD(), folder / "vae.safetensors"
    vae.load_state_dict(load_file(trained) if trained.exists() else shipped(assembly.VAE))
    return vae.to(DEVICE).eval()


def shipped(part: str) -> dict[str, Tensor]:
    """Toyworld's UNet or VAE."""
    return under(assembly.unpacked(assembly.WEIGHTS), part)


# UNet


def train_unet(job: Job) -> None:
    """The denoiser: eps prediction on SD 1.x's schedule. The learning rate is constant; `decay`
    ends the training.
    """
    run_unet(job, decay=False)


def decay_unet(job: Job) -> None:
    """The last part of the UNet's training, in which the learning rate falls to nothing."""
    run_unet(job, decay=True)


def run_unet(job: Job, decay: bool) -> None:
    """Train on the captions and scenes that are encoded, from where the UNet was left."""
    folder, seconds = job.folder, job.seconds
    scenes = load_file(folder / "scenes.safetensors")["latents"]
    encoded = {
        first: folder / f"captions-{first}.safetensors" for first in range(0, len(scenes), PART)
    }
    ready = {first: file for first, file in encoded.items() if file.exists()}
    features = torch.cat([load_file(file)["features"] for file in ready.values()]).to(DEVICE)
    latents = torch.cat([scenes[first : first + PART] for first in ready]).to(DEVICE)
    trainee = Trainee(network(), UNET_ENDS, "" if job.name == "toyworld" else READERS)
    if job.name != "toyworld":
        trainee.begin(shipped(assembly.UNET))
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
            made = trainee.network(noisy.to(torch.bfloat16), places, context=context).float()
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


def network() -> nn.Module:
    """The host's UNet, as small as `UNET` says, with its usual start."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    torch.manual_seed(3)
    made = initialized(UNetModel(**UNET, operations=comfy.ops.disable_weight_init))
    for name, weight in made.named_parameters():
        if any(part in name for part in ("out_layers.3.", "proj_out.", "out.2.")):
            nn.init.zeros_(weight)
    return made


def model_sigmas() -> Tensor:
    """SD 1.x's schedule, ascending `[1000]`."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    return ((1 - kept) / kept).sqrt().float().to(DEVICE)


# What ships


def pack(job: Job) -> None:
    """Round the averaged UNet and the VAE to 8 bits."""
    unet = load_file(job.folder / "unet.safetensors")
    whole = shipped(assembly.UNET) if job.name != "toyworld" else {}
    whole |= under(unet, "average.")
    state = {assembly.UNET + name: weight for name, weight in whole.items()}
    vae = loaded_vae(job.folder).state_dict()
    state |= {assembly.VAE + name: weight for name, weight in vae.items()}
    out = assembly.BUILDS[job.name].weights
    assembly.pack(state, out, {"unet_steps": int(unet["step"])})


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
