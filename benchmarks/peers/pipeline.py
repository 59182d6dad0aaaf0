"""Toyworld's checkpoint as a folder in diffusers' layout, for trainers that read such folders."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.autoencoders.vae import EncoderTiny
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from toyworld.assembly import CLIP_L, TEXT, UNET, VAE

LIBRARY: Any = diffusers  # Its names appear on their first use, where no type checker sees them.
SCALE_FACTOR = 0.18215  # SD 1.x's, between VAE and UNet
ENCODER = "encoder.safetensors"
OLD = "text_model."
REFERENCE = "reference.safetensors"
TOLERANCE = 1e-3  # of what the converted networks compute against the host's


def write_pipeline(checkpoint: Path, tokenizer: Path, folder: Path) -> None:
    """Convert a checkpoint; `tokenizer` is the folder of CLIP's. All weights become fp32."""
    state = {name: tensor.float() for name, tensor in load_file(checkpoint).items()}
    # The host's copy claims room for 8192 tokens.
    words = CLIPTokenizer.from_pretrained(tokenizer, model_max_length=CLIP_L.positions)
    words.save_pretrained(folder / "tokenizer")
    for name in ("vocab.json", "merges.txt"):  # which older versions of transformers read
        shutil.copy(tokenizer / name, folder / "tokenizer")
    scheduler().save_pretrained(folder / "scheduler")
    unet(state).save_pretrained(folder / "unet")
    text_encoder(state).save_pretrained(folder / "text_encoder")
    with_old_names(folder / "text_encoder" / "model.safetensors")
    (folder / "vae").mkdir(exist_ok=True)
    save_file(vae_encoder(state), folder / "vae" / ENCODER)


def scheduler() -> Any:
    """SD 1.x's, as its pipelines have it."""
    return LIBRARY.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def unet(state: Mapping[str, Tensor]) -> Any:
    """The denoiser, converted by diffusers' own code."""
    network = LIBRARY.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=8,
        cross_attention_dim=CLIP_L.width,
    )
    part = {name: weight for name, weight in state.items() if name.startswith(UNET)}
    network.load_state_dict(convert_ldm_unet_checkpoint(part, network.config))
    return network


def text_encoder(state: Mapping[str, Tensor]) -> CLIPTextModel:
    """CLIP-L."""
    config = CLIPTextConfig(
        vocab_size=CLIP_L.vocabulary,
        hidden_size=CLIP_L.width,
        intermediate_size=4 * CLIP_L.width,
        num_hidden_layers=CLIP_L.layers,
        num_attention_heads=12,
        max_position_embeddings=CLIP_L.positions,
        projection_dim=CLIP_L.width,
        hidden_act="quick_gelu",
    )
    network = CLIPTextModel(config)
    prefix = TEXT if hasattr(network, "text_model") else f"{TEXT}text_model."
    missing, unexpected = network.load_state_dict(
        {name.removeprefix(prefix): w for name, w in state.items() if name.startswith(prefix)},
        strict=False,
    )
    left = [name for name in missing if not name.endswith("position_ids")]
    if left or unexpected:
        raise ValueError(f"The text encoder does not fit transformers' CLIP: {left}, {unexpected}")
    return network


def with_old_names(file: Path) -> None:
    """Give the text encoder's weights the names that every version of transformers reads; older
    ones know no others, and go on with random weights and a warning.
    """
    weights = load_file(file)
    old = {f"{OLD}{name.removeprefix(OLD)}": weight for name, weight in weights.items()}
    save_file(old, file, {"format": "pt"})


def vae_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder in the layout of diffusers' `EncoderTiny`, the host's scale and shift of its
    latents in the last convolution.
    """
    names = [name for name in state if name.startswith(f"{VAE}taesd_encoder.")]
    part = {name.removeprefix(f"{VAE}taesd_encoder."): state[name] for name in names}
    last = max(int(name.split(".")[0]) for name in part)
    scale, shift = state[f"{VAE}vae_scale"], state[f"{VAE}vae_shift"]
    part[f"{last}.weight"] = part[f"{last}.weight"] / scale
    part[f"{last}.bias"] = part[f"{last}.bias"] / scale + shift
    return {f"layers.{name}": weight.contiguous() for name, weight in part.items()}


class TinyEncoder(nn.Module):
    """What diffusers' script uses of an AutoencoderKL, on a VAE of the TAESD layout: an encoder
    whose distribution has no spread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EncoderTiny(3, 4, (1, 3, 3, 3), (64, 64, 64, 64), "relu")
        self.config = SimpleNamespace(scaling_factor=SCALE_FACTOR)

    @classmethod
    def from_pretrained(cls, folder: str | Path, subfolder: str, **_: Any) -> "TinyEncoder":
        """Load what `write_pipeline` wrote."""
        loaded = cls()
        loaded.encoder.load_state_dict(load_file(Path(folder) / subfolder / ENCODER))
        return loaded

    def encode(self, pixels: Tensor) -> SimpleNamespace:
        """Latents `[b, 4, h / 8, w / 8]` of pixels `[b, 3, h, w]` in -1..1."""
        with torch.no_grad():
            latents = self.encoder(pixels)
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda: latents))


# Does it compute what the host computes?


class Question(NamedTuple):
    """What the networks are asked about: a text, an image `[h, w, 3]` in 0..1, noise
    `[1, 4, 8, 8]`, and a position in the schedule.
    """

    text: str
    image: Tensor
    noise: Tensor
    position: int


class Outputs(NamedTuple):
    """What three networks make of the same: conditioning `[1, 77, 768]` of a text, latents
    `[1, 4, 8, 8]` of an image as the denoiser takes them, and the noise that it sees in them.
    """

    conditioning: Tensor
    latents: Tensor
    noise: Tensor


@torch.no_grad()
def outputs(folder: Path, asked: Question) -> Outputs:
    """Those of the converted networks."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    denoiser = LIBRARY.UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = TinyEncoder.from_pretrained(folder, "vae")
    ids = tokenizer(asked.text, padding="max_length", return_tensors="pt").input_ids
    conditioning = encoder(ids)[0]
    pixels = asked.image.movedim(-1, 0)[None] * 2 - 1
    latents = vae.encode(pixels).latent_dist.sample() * SCALE_FACTOR
    where = torch.tensor([asked.position])
    noisy = scheduler().add_noise(latents, asked.noise, where)
    return Outputs(conditioning, latents, denoiser(noisy, where, conditioning).sample)


def compare(theirs: Outputs, hosts: Outputs) -> Iterator[tuple[str, float]]:
    """How far each of the outputs is from the host's, as a share; ValueError if it is too far."""
    for name, one, other in zip(theirs._fields, theirs, hosts, strict=True):
        apart = float((one - other).norm() / other.norm())
        yield name, apart
        if not apart < TOLERANCE:
            raise ValueError(f"The converted networks are not the host's: {name}, {apart:.2e}")


def remember(folder: Path, asked: Question, hosts: Outputs) -> None:
    """Leave what the host computes beside the networks."""
    kept = {"asked.image": asked.image, "asked.noise": asked.noise, **hosts._asdict()}
    facts = {"text": asked.text, "position": str(asked.position)}
    save_file({name: one.contiguous() for name, one in kept.items()}, folder / REFERENCE, facts)


def check(folder: Path) -> None:
    """Raise ValueError unless the networks, as this environment's libraries load them, compute what
    the host does.
    """
    with safe_open(folder / REFERENCE, "pt") as kept:
        text, position = kept.metadata()["text"], int(kept.metadata()["position"])
    held = load_file(folder / REFERENCE)
    asked = Question(text, held["asked.image"], held["asked.noise"], position)
    hosts = Outputs(*(held[name] for name in Outputs._fields))
    for _ in compare(outputs(folder, asked), hosts):
        pass
