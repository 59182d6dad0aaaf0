"""Small real models of the host's families, with random weights; without anything of the pack."""

from pathlib import Path
from typing import Any, NamedTuple

import comfy.sd
import comfy.supported_models as families
import comfy.text_encoders.flux as flux
import comfy.text_encoders.pixart_t5 as pixart
import comfy.text_encoders.qwen_image as qwen_image
import comfy.text_encoders.sd3_clip as sd3
import comfy.text_encoders.z_image as z_image
import folder_paths
import torch
from comfy.model_management import get_torch_device, unet_offload_device
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer
from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer
from comfy.supported_models_base import ClipTarget
from comfy.taesd.taesd import TAESD
from comfy.text_encoders.sd2_clip import SD2ClipModel, SD2Tokenizer
from tiny_checkpoint import randomized

SHALLOW = {
    "clip_l_model_config": {"num_hidden_layers": 3},
    "clip_g_model_config": {"num_hidden_layers": 3, "intermediate_size": 1280},
    "t5xxl_model_config": {"num_layers": 2, "d_ff": 64, "d_kv": 16, "num_heads": 4},
    "clip_h_model_config": {"num_hidden_layers": 3},
    "qwen3_4b_model_config": {
        "num_hidden_layers": 3,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "qwen25_7b_model_config": {
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}
SMALL_CLIP_L = {"clip_l_model_config": {"num_hidden_layers": 3, "intermediate_size": 768}}
FIRST_LAYERS = {"clip_l_model_config": {"num_hidden_layers": 2}}  # of weights that are there
SMALL_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "image_size": 32,
    "model_channels": 64,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "legacy": False,
    "num_head_channels": 64,
}
SDXL_UNET = {
    **SMALL_UNET,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "context_dim": 2048,
    "use_linear_in_transformer": True,
}
SMALL_FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}


SMALL_SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 4096, "out_features": 128},
    },
    "num_patches": 64,
    "pos_embed_max_size": 8,
    "pos_embed_scaling_factor": None,
    "qk_norm": "rms",
}


SMALL_ZIMAGE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 256,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 8,
    "n_kv_heads": 8,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 64, 64],
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "ffn_dim_multiplier": 1.0,
    "rope_theta": 256.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}


SMALL_CHROMA = {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "context_in_dim": 4096,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 2,
    "txt_ids_dims": [],
    "vec_in_dim": 0,
}


SMALL_QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 3584,
    "axes_dims_rope": (8, 12, 12),
}


class Loaded(NamedTuple):
    """What a checkpoint loader gives."""

    model: ModelPatcher
    clip: CLIP
    vae: Any


def load_checkpoint(
    path: Path, dtype: torch.dtype, text_encoder: dict[str, Any] = FIRST_LAYERS
) -> Loaded:
    """Load a checkpoint as a node does, with the diffusion model stored in `dtype`, and the first
    layers of its text encoder.
    """
    with torch.inference_mode():
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(
            str(path),
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
            model_options={"dtype": dtype},
            te_model_options=text_encoder,
        )
    assert model is not None
    assert clip is not None
    return Loaded(model, clip, vae)


@torch.inference_mode()
def small_sd1() -> Loaded:
    """An SD 1.x with a UNet of one level, a three-layer text encoder and the small VAE."""
    model = patcher(families.SD15({**SMALL_UNET, "context_dim": 768}), {})
    vae = VAE(sd=randomized(TAESD(), torch.Generator().manual_seed(2)).state_dict())
    clip = text_encoders(ClipTarget(SD1Tokenizer, SD1ClipModel), SMALL_CLIP_L)
    return Loaded(model, clip, vae)


@torch.inference_mode()
def small_sdxl(v_prediction: bool = False) -> tuple[ModelPatcher, CLIP]:
    """An SDXL with a UNet of one level and three-layer text encoders."""
    marks: dict[str, Any] = {"v_pred": torch.tensor([])} if v_prediction else {}
    model = patcher(families.SDXL(dict(SDXL_UNET)), marks)
    return model, text_encoders(ClipTarget(SDXLTokenizer, SDXLClipModel))


@torch.inference_mode()
def small_sd2() -> tuple[ModelPatcher, CLIP]:
    """An SD 2 with a UNet of one level and a three-layer text encoder."""
    layout = {**SMALL_UNET, "context_dim": 1024, "use_linear_in_transformer": True}
    return patcher(families.SD20(layout), {}), text_encoders(ClipTarget(SD2Tokenizer, SD2ClipModel))


@torch.inference_mode()
def small_sd3() -> tuple[ModelPatcher, CLIP]:
    """An SD3 of two joint blocks, with all three text encoders."""
    target = ClipTarget(sd3.SD3Tokenizer, sd3.sd3_clip(dtype_t5=torch.float16))
    model = patcher(families.SD3(dict(SMALL_SD3)), {})
    model.model.diffusion_model.pos_embed.zero_()  # A buffer that a checkpoint would fill.
    return model, text_encoders(target)


@torch.inference_mode()
def small_flux() -> tuple[ModelPatcher, CLIP]:
    """A Flux of two double and two single blocks, with a two-layer T5."""
    target = ClipTarget(flux.FluxTokenizer, flux.flux_clip(dtype_t5=torch.float16))
    return patcher(families.Flux(dict(SMALL_FLUX)), {}), text_encoders(target)


@torch.inference_mode()
def small_zimage() -> tuple[ModelPatcher, CLIP]:
    """A Z-Image of two blocks, whose text encoder is a language model (a Qwen of three layers)."""
    target = ClipTarget(z_image.ZImageTokenizer, z_image.te(dtype_llama=torch.float16))
    model = patcher(families.ZImage(dict(SMALL_ZIMAGE)), {})
    return model, text_encoders(target)


@torch.inference_mode()
def small_chroma() -> tuple[ModelPatcher, CLIP]:
    """A Chroma of two double and two single blocks, whose text encoder is a two-layer T5 alone."""
    target = ClipTarget(pixart.PixArtTokenizer, pixart.pixart_te(dtype_t5=torch.float16))
    return patcher(families.Chroma(dict(SMALL_CHROMA)), {}), text_encoders(target)


@torch.inference_mode()
def small_qwen_image() -> tuple[ModelPatcher, CLIP]:
    """A Qwen-Image of two blocks, with two layers of its language model."""
    target = ClipTarget(qwen_image.QwenImageTokenizer, qwen_image.te(dtype_llama=torch.float16))
    return patcher(families.QwenImage(dict(SMALL_QWEN_IMAGE)), {}), text_encoders(target)


def patcher(family: Any, state: dict[str, Any]) -> ModelPatcher:
    """A family's model with random weights."""
    family.set_inference_dtype(torch.float32, None)
    family.unet_config["dtype"] = torch.float32
    model = family.get_model(state, "")
    randomized(model.diffusion_model, torch.Generator().manual_seed(0))
    return ModelPatcher(model, get_torch_device(), unet_offload_device())


def text_encoders(target: Any, layout: dict[str, Any] = SHALLOW) -> CLIP:
    """A family's text encoders with random weights."""
    target.params = {}
    folders: Any = folder_paths.get_folder_paths("embeddings")
    clip = CLIP(target, embedding_directory=folders, model_options=layout, disable_dynamic=True)
    randomized(clip.cond_stage_model, torch.Generator().manual_seed(1))
    return clip
