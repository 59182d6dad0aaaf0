"""Small models of more of the host's families, with narrow text encoders and random weights;
without anything of the pack.

Vectors are 64 wide here instead of 1024 to 4096, so that a vocabulary of 150,000 tokens is drawn
in a moment.
"""

import functools
from dataclasses import dataclass
from typing import Any

import comfy.supported_models as families
import comfy.text_encoders.anima as anima
import comfy.text_encoders.aura_t5 as aura_t5
import comfy.text_encoders.flux as flux
import comfy.text_encoders.hunyuan_image as hunyuan_image
import comfy.text_encoders.hydit as hydit
import comfy.text_encoders.kandinsky5 as kandinsky5
import comfy.text_encoders.krea2 as krea2
import comfy.text_encoders.lumina2 as lumina2
import comfy.text_encoders.pixart_t5 as pixart
import comfy.text_encoders.qwen_image as qwen_image
import comfy.text_encoders.sd3_clip as sd3
import comfy.text_encoders.wan as wan
import comfy.text_encoders.z_image as z_image
import folder_paths
import host_tokenizers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy.sd1_clip import SDTokenizer
from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer
from comfy.supported_models_base import ClipTarget
from small_models import SHALLOW, patcher
from tiny_checkpoint import randomised

WIDTH = 64
ADAPTED = 1024  # The adapter between Qwen and Anima has one width.
LLAMA = {"intermediate_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1}
BERT = {"intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
T5 = {"d_ff": 64, "d_kv": 16, "num_heads": 4, "num_layers": 2}
# Klein takes hidden states of Qwen up to the 27th layer, Krea 2 up to the 35th.
LAYERS = {"qwen3_4b": 28, "qwen3vl_4b": 36, "qwen3_06b": 3, "qwen25_7b": 4, "gemma2_2b": 3}
CLIP_KEYS = ("clip_l", "clip_g")  # have one width in all models


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
    """

    model: type
    layout: dict[str, Any]
    text: SmallText
    channels: int = 16


FLUX2_KLEIN = SmallFamily(
    families.Flux2,
    {
        "image_model": "flux2",
        "in_channels": 128,
        "out_channels": 128,
        "context_in_dim": 3 * WIDTH,
        "vec_in_dim": None,
        "hidden_size": 64,
        "mlp_ratio": 3.0,
        "num_heads": 2,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [8, 8, 8, 8],
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
        "dim": 64,
        "ffn_dim": 128,
        "text_dim": WIDTH,
        "num_heads": 2,
        "num_layers": 2,
    },
    SmallText(wan.WanT5Tokenizer, wan.te()),
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
        "hidden_size": 64,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [16, 16],
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
)
FAMILIES = {
    "Flux.2 Klein": FLUX2_KLEIN,
    "AuraFlow": AURAFLOW,
    "Lumina 2": LUMINA2,
    "Wan": WAN,
    "HunyuanDiT": HUNYUAN_DIT,
    "Anima": ANIMA,
    "HunyuanImage": HUNYUAN_IMAGE,
    "Krea 2": KREA2,
}


# Whose own nodes encode prompts, beside those of FAMILIES.
TEXTS = {
    "SDXL": SmallText(SDXLTokenizer, SDXLClipModel),
    "SD 3": SmallText(sd3.SD3Tokenizer, sd3.sd3_clip(), 4096),  # T5 beside CLIP filled up to 4096
    "Flux": SmallText(flux.FluxTokenizer, flux.flux_clip()),
    "PixArt": SmallText(pixart.PixArtTokenizer, pixart.pixart_te()),
    "Qwen-Image": SmallText(qwen_image.QwenImageTokenizer, qwen_image.te()),
    "Z-Image": SmallText(z_image.ZImageTokenizer, z_image.te()),
    "Kandinsky 5": SmallText(kandinsky5.Kandinsky5Tokenizer, kandinsky5.te()),
}


@functools.cache
def small_model(name: str) -> ModelPatcher:
    """A family's diffusion model, once."""
    with torch.inference_mode():
        family = FAMILIES[name]
        return patcher(family.model(dict(family.layout)), {})


@functools.cache
def small_text(name: str) -> CLIP:
    """A family's text encoders with random weights, once, without their towers for pictures; its
    tokenizer takes files of that width.
    """
    with torch.inference_mode():
        text = FAMILIES[name].text if name in FAMILIES else TEXTS[name]
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
        randomised(clip.cond_stage_model, torch.Generator().manual_seed(1))
        return clip
