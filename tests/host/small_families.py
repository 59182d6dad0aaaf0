"""Small models of the host's families, with narrow text encoders and random weights; without
anything of the pack.

Vectors are 64 wide here instead of 1024 to 4096, so that a vocabulary of 150,000 tokens is drawn
in a moment.
"""

import functools
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.supported_models as families
import comfy.text_encoders.anima as anima
import comfy.text_encoders.aura_t5 as aura_t5
import comfy.text_encoders.flux as flux
import comfy.text_encoders.hunyuan_image as hunyuan_image
import comfy.text_encoders.hydit as hydit
import comfy.text_encoders.kandinsky5 as kandinsky5
import comfy.text_encoders.krea2 as krea2
import comfy.text_encoders.lt as lt
import comfy.text_encoders.lumina2 as lumina2
import comfy.text_encoders.pixart_t5 as pixart
import comfy.text_encoders.qwen_image as qwen_image
import comfy.text_encoders.sd3_clip as sd3
import comfy.text_encoders.wan as wan
import comfy.text_encoders.z_image as z_image
import folder_paths
import host_tokenizers
import torch
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from comfy.ldm.wan.vae import WanVAE
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer, SDTokenizer
from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer
from comfy.supported_models_base import ClipTarget
from comfy.taesd.taesd import TAESD
from comfy.text_encoders.sd2_clip import SD2ClipModel, SD2Tokenizer
from small_models import (
    SDXL_UNET,
    SHALLOW,
    SMALL_CHROMA,
    SMALL_FLUX,
    SMALL_QWEN_IMAGE,
    SMALL_SD3,
    SMALL_UNET,
    SMALL_ZIMAGE,
    patcher,
)
from tiny_checkpoint import randomized
from torch import Tensor

WIDTH = 64
ADAPTED = 1024  # The adapter between Qwen and Anima has one width.
LLAMA = {"intermediate_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1}
BERT = {"intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
T5 = {"d_ff": 64, "d_kv": 16, "num_heads": 4, "num_layers": 2}
# Klein takes hidden states of Qwen up to the 27th layer, Krea 2 up to the 35th.
LAYERS = {"qwen3_4b": 28, "qwen3_8b": 28, "qwen3vl_4b": 36, "qwen3_06b": 3, "qwen25_7b": 4}
LAYERS |= {"gemma2_2b": 3}
CLIP_KEYS = ("clip_l", "clip_g")  # have one width in all models
LOUDER = 8


def narrow(width: int) -> dict[str, Any]:
    """Model options of the host for text encoders of a width, CLIP shallow."""
    layouts: dict[str, dict[str, Any]] = {
        name: {**LLAMA, "hidden_size": width, "num_hidden_layers": layers}
        for name, layers in LAYERS.items()
    }
    for name in ("t5xxl", "pile_t5xl", "umt5xxl", "mt5xl"):
        layouts[name] = {**T5, "d_model": width}
    layouts["hydit_clip"] = {**BERT, "hidden_size": width}
    return {**SHALLOW, **{f"{name}_model_config": layout for name, layout in layouts.items()}}


@dataclass(frozen=True)
class SmallText:
    """A family's tokenizer and text encoders, all but CLIP of one `width`."""

    tokenizer: type
    encoders: Any
    width: int = WIDTH


@dataclass(frozen=True)
class SmallFamily:
    """How a small model of a family is made: the host's own class with a layout, and its text
    encoders; `channels` of its latents.

    `told` is what the host has to read of the layout in a file, beside the weights. `loud` are
    weights that are drawn eight times larger: images hear a text through attention that is spread
    over all tokens, and through small gates, until a training has made it louder. `marks` stand in
    the file and tell the host what the model predicts.
    """

    model: type
    layout: dict[str, Any]
    text: SmallText
    channels: int = 16
    told: dict[str, Any] = field(default_factory=dict)
    loud: str = ""
    marks: tuple[str, ...] = ()


FLUX2_KLEIN = SmallFamily(
    families.Flux2,
    {
        "image_model": "flux2",
        "in_channels": 128,
        "out_channels": 128,
        "context_in_dim": 3 * WIDTH,
        "vec_in_dim": None,
        "hidden_size": 128,
        "mlp_ratio": 3.0,
        "num_heads": 1,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [32, 32, 32, 32],
        "theta": 2000,
        "patch_size": 1,
        "qkv_bias": False,
        "ops_bias": False,
        "global_modulation": True,
        "mlp_silu_act": True,
        "guidance_embed": False,
        "txt_ids_dims": [3],
    },
    SmallText(flux.KleinTokenizer, flux.klein_te()),
    channels=128,
)
AURAFLOW = SmallFamily(
    families.AuraFlow,
    {
        "cond_seq_dim": WIDTH,
        "dim": 64,
        "n_layers": 3,
        "n_double_layers": 1,
        "n_heads": 2,
        "global_conddim": 64,
        "max_seq": 256,
    },
    SmallText(aura_t5.AuraT5Tokenizer, aura_t5.AuraT5Model),
    channels=4,
    loud="attn.w1v",
)
LUMINA2 = SmallFamily(
    families.Lumina2,
    {
        "image_model": "lumina2",
        "patch_size": 2,
        "in_channels": 16,
        "dim": 64,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 1,
        "axes_dims": [8, 12, 12],
        "axes_lens": [300, 64, 64],
        "qk_norm": True,
        "cap_feat_dim": WIDTH,
        "rope_theta": 10000.0,
    },
    SmallText(lumina2.LuminaTokenizer, lumina2.te()),
)
WAN = SmallFamily(
    families.WAN21_T2V,
    {
        "image_model": "wan2.1",
        "model_type": "t2v",
        "dim": 128,
        "ffn_dim": 128,
        "text_dim": WIDTH,
        "num_heads": 1,
        "num_layers": 2,
    },
    SmallText(wan.WanT5Tokenizer, wan.te()),
    told={"transformer": {"text_dim": WIDTH}},
)
LTX_LAYOUT = {
    "in_channels": 128,
    "cross_attention_dim": 128,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "caption_channels": WIDTH,
    "num_layers": 2,
}
LTX_VAE = {
    "dims": 3,
    "latent_channels": 128,
    "blocks": [["res_x", 1], *3 * [["compress_all", 1]], ["res_x", 1]],
    "norm_layer": "pixel_norm",
    "patch_size": 4,
    "latent_log_var": "uniform",
    "encoder_base_channels": 16,
    "decoder_base_channels": 16,
}
LTX = SmallFamily(
    families.LTXV,
    {"image_model": "ltxv", **LTX_LAYOUT},
    SmallText(lt.LTXVT5Tokenizer, lt.ltxv_te()),
    channels=128,
    told={"transformer": LTX_LAYOUT, "vae": LTX_VAE},
)
HUNYUAN_DIT = SmallFamily(
    families.HunyuanDiT,
    {
        "image_model": "hydit",
        "hidden_size": 64,
        "depth": 2,
        "num_heads": 2,
        "text_states_dim": WIDTH,
        "text_states_dim_t5": WIDTH,
    },
    SmallText(hydit.HyditTokenizer, hydit.HyditModel),
    channels=4,
)
ANIMA = SmallFamily(
    families.Anima,
    {
        "image_model": "anima",
        "max_img_h": 240,
        "max_img_w": 240,
        "max_frames": 128,
        "in_channels": 16,
        "out_channels": 16,
        "patch_spatial": 2,
        "patch_temporal": 1,
        "model_channels": 64,
        "num_blocks": 2,
        "num_heads": 2,
        "crossattn_emb_channels": ADAPTED,
        "pos_emb_cls": "rope3d",
        "use_adaln_lora": True,
        "adaln_lora_dim": 16,
    },
    SmallText(anima.AnimaTokenizer, anima.te(), ADAPTED),
)
HUNYUAN_IMAGE = SmallFamily(
    families.HunyuanImage21,
    {
        "image_model": "hunyuan_video",
        "in_channels": 64,
        "out_channels": 64,
        "patch_size": [1, 1],
        "vec_in_dim": None,
        "context_in_dim": WIDTH,
        "hidden_size": 128,
        "mlp_ratio": 4.0,
        "num_heads": 1,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [64, 64],
        "theta": 256,
        "qkv_bias": True,
        "guidance_embed": False,
        "byt5": False,
        "meanflow": False,
        "use_cond_type_embedding": False,
        "vision_in_dim": None,
        "meanflow_sum": False,
    },
    SmallText(hunyuan_image.HunyuanImageTokenizer, hunyuan_image.te(byt5=False)),
    channels=64,
    loud="txt_attn.qkv|img_attn.proj",
)
KREA2 = SmallFamily(
    families.Krea2,
    {
        "image_model": "krea2",
        "features": 64,
        "tdim": 64,
        "txtdim": WIDTH,
        "heads": 2,
        "kvheads": 1,
        "layers": 2,
        "txtheads": 2,
        "txtkvheads": 2,
    },
    SmallText(krea2.Krea2Tokenizer, krea2.te()),
    loud=r"^blocks\..*attn.wv",
)
FAMILIES = {
    "Flux.2 Klein": FLUX2_KLEIN,
    "AuraFlow": AURAFLOW,
    "Lumina 2": LUMINA2,
    "Wan": WAN,
    "LTX": LTX,
    "HunyuanDiT": HUNYUAN_DIT,
    "Anima": ANIMA,
    "HunyuanImage": HUNYUAN_IMAGE,
    "Krea 2": KREA2,
}

# Whose gradients are tested with text encoders of full width (small_models), or are those of
# another family.
MORE_FAMILIES = {
    "Flux.2 Klein 9B": replace(
        FLUX2_KLEIN, text=SmallText(flux.KleinTokenizer8B, flux.klein_te(model_type="qwen3_8b"))
    ),
    "SD 1.x": SmallFamily(
        families.SD15,
        {**SMALL_UNET, "context_dim": 768},
        SmallText(SD1Tokenizer, SD1ClipModel),
        channels=4,
    ),
    "SDXL": SmallFamily(
        families.SDXL, SDXL_UNET, SmallText(SDXLTokenizer, SDXLClipModel), channels=4
    ),
    "SD 3": SmallFamily(
        families.SD3,
        SMALL_SD3,
        SmallText(sd3.SD3Tokenizer, sd3.sd3_clip(), 4096),  # T5 beside CLIP filled up to 4096
    ),
    "Flux": SmallFamily(
        families.Flux,
        {**SMALL_FLUX, "context_in_dim": WIDTH},
        SmallText(flux.FluxTokenizer, flux.flux_clip()),
    ),
    "Chroma": SmallFamily(
        families.Chroma,
        {**SMALL_CHROMA, "context_in_dim": WIDTH},
        SmallText(pixart.PixArtTokenizer, pixart.pixart_te()),
    ),
    "Z-Image": SmallFamily(
        families.ZImage,
        {**SMALL_ZIMAGE, "cap_feat_dim": WIDTH},
        SmallText(z_image.ZImageTokenizer, z_image.te()),
    ),
    "Qwen-Image": SmallFamily(
        families.QwenImage,
        {**SMALL_QWEN_IMAGE, "joint_attention_dim": WIDTH},
        SmallText(qwen_image.QwenImageTokenizer, qwen_image.te()),
    ),
}
# Relatives of SDXL, whose classes differ in what is detected in their files alone.
OF_SDXL = MORE_FAMILIES["SDXL"]
RELATIVES = {
    "SD 1.x inpainting": replace(
        MORE_FAMILIES["SD 1.x"], layout={**SMALL_UNET, "in_channels": 9, "context_dim": 768}
    ),
    "SDXL v, zero terminal SNR": replace(OF_SDXL, marks=("v_pred", "ztsnr")),
    "SDXL inpainting": replace(OF_SDXL, layout={**SDXL_UNET, "in_channels": 9}),
    "Playground": replace(OF_SDXL, marks=("edm_mean", "edm_std")),
    "Flux schnell": replace(
        MORE_FAMILIES["Flux"],
        model=families.FluxSchnell,
        layout={**SMALL_FLUX, "context_in_dim": WIDTH, "guidance_embed": False},
    ),
}
# As wide as the host has to see it in a whole file, and narrow else.
LEVELS_320 = {
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 1, 1, 1],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
WHOLE_FILES = {
    "SD 1.x inpainting file": replace(
        RELATIVES["SD 1.x inpainting"],
        layout={**RELATIVES["SD 1.x inpainting"].layout, "model_channels": 320},
    ),
    "SD 2.1 v": SmallFamily(
        families.SD20,
        {
            **SMALL_UNET,
            **LEVELS_320,
            "context_dim": 1024,
            "use_linear_in_transformer": True,
        },
        SmallText(SD2Tokenizer, SD2ClipModel),
        channels=4,
    ),
    "Vega v, zero terminal SNR": SmallFamily(
        families.Segmind_Vega,
        {
            **SDXL_UNET,
            "model_channels": 320,
            "num_res_blocks": [2, 2, 2],
            "channel_mult": [1, 1, 1],
            "transformer_depth": [0, 0, 1, 1, 2, 2],
            "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        },
        SmallText(SDXLTokenizer, SDXLClipModel),
        channels=4,
        marks=("v_pred", "ztsnr"),
    ),
    "SD 3 without T5": replace(
        MORE_FAMILIES["SD 3"], text=SmallText(sd3.SD3Tokenizer, sd3.sd3_clip(t5=False), 4096)
    ),
}
ALL_FAMILIES = {**FAMILIES, **MORE_FAMILIES, **RELATIVES, **WHOLE_FILES}
# Whose own nodes encode prompts, beside those of the families.
TEXTS = {
    "PixArt": SmallText(pixart.PixArtTokenizer, pixart.pixart_te()),
    "Kandinsky 5": SmallText(kandinsky5.Kandinsky5Tokenizer, kandinsky5.te()),
}


def made_model(name: str) -> ModelPatcher:
    """A family's diffusion model."""
    with torch.inference_mode():
        family = ALL_FAMILIES[name]
        made = patcher(family.model(dict(family.layout)), marks(name))
        network = made.model.diffusion_model
        if name.startswith("SD 3"):
            network.pos_embed.zero_()  # A buffer that a checkpoint would fill.
        if name == "SD 2.1 v":  # which the host tells by the spread of this bias
            network.output_blocks[11][1].transformer_blocks[0].norm1.bias.normal_()
        for weight_name, weight in network.named_parameters():
            if family.loud and re.search(family.loud, weight_name):
                weight.mul_(LOUDER)
        return made


def marks(name: str) -> dict[str, Tensor]:
    """What stands in a family's file beside its weights."""
    return {mark: torch.zeros(4) for mark in ALL_FAMILIES[name].marks}


def made_text(name: str) -> CLIP:
    """A family's text encoders with random weights, without their towers for images; its
    tokenizer takes files of that width.
    """
    with torch.inference_mode():
        text = ALL_FAMILIES[name].text if name in ALL_FAMILIES else TEXTS[name]
        target = ClipTarget(text.tokenizer, text.encoders)
        target.params = {}
        folders: Any = folder_paths.get_folder_paths("embeddings")
        data = host_tokenizers.data(text.tokenizer.__name__)
        options = narrow(text.width)
        clip = CLIP(target, folders, False, data, model_options=options, disable_dynamic=True)
        for part in vars(clip.tokenizer).values():
            if isinstance(part, SDTokenizer) and part.embedding_key not in CLIP_KEYS:
                part.embedding_size = text.width
        for module in list(clip.cond_stage_model.modules()):
            if hasattr(module, "visual"):
                del module.visual
        randomized(clip.cond_stage_model, torch.Generator().manual_seed(1))
        return clip


small_model = functools.cache(made_model)
small_text = functools.cache(made_text)


@torch.inference_mode()
def made_vae(name: str) -> VAE:
    """A small VAE whose latents have the family's channels: the host's own kind for films, which
    images of Qwen-Image and Anima are to it, TAESD for the others.
    """
    family = ALL_FAMILIES[name]
    shape: Any = family.model.latent_format()
    network: Any
    if name == "LTX":
        network = VideoVAE(config=LTX_VAE)
        for statistics in network.buffers():
            statistics.fill_(1.0)
    elif shape.latent_dimensions == 3:
        network = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True])
    else:
        network = TAESD(latent_channels=family.channels)
    state = randomized(network, torch.Generator().manual_seed(2)).state_dict()
    known = {"tae_latent_channels": family.channels, "config": json.dumps(family.told)}
    return VAE(sd=state, metadata=known)
