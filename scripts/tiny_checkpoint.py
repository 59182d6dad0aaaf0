"""SD 1.x checkpoints with random weights, for tests of the gradient and benchmarks of speed.

The text encoder has the full CLIP-L layout, the VAE the TAESD layout; the UNet is as large as asked
for. They show that everything runs; they draw nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn

SEED = 20260101
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "legacy": False,
}
PREFIXES = {
    "unet": "model.diffusion_model.",
    "clip": "cond_stage_model.",
    "vae": "first_stage_model.",
}


def checkpoint(unet: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """State dict of a whole SD 1.x checkpoint with a UNet of the given layout; the text encoder in
    fp16.
    """
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.sd1_clip import SDClipModel
    from comfy.taesd.taesd import TAESD

    generator = torch.Generator().manual_seed(SEED)
    network = randomized(UNetModel(**unet, operations=comfy.ops.disable_weight_init), generator).to(
        dtype
    )
    text = SDClipModel(model_class=CLIPTextModel, dtype=torch.float32)
    text = randomized(text.transformer, generator).half()
    vae = randomized(TAESD(), generator)
    parts = {
        "unet": network.state_dict(),
        "clip": {
            f"transformer.{k}": v
            for k, v in text.state_dict().items()
            if "text_projection" not in k
        },
        "vae": vae.state_dict(),
    }
    return {
        PREFIXES[part] + name: tensor.contiguous()
        for part, state in parts.items()
        for name, tensor in state.items()
    }


def randomized(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Fill a module with weights that keep signals at unit scale."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("vae_"):
                continue
            if weight.ndim > 1:
                # An embedding's rows get the norm of a real vocabulary.
                table = "embedding.weight" in name
                spread = 0.4 * weight.shape[1] ** -0.5 if table else weight[0].numel() ** -0.5
                # Drawn in fp32, because halves are drawn ten times slower on a CPU.
                drawn = torch.empty(weight.shape).normal_(0, spread, generator=generator)
                weight.copy_(drawn)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)  # norms, and biases
    return module.eval()
