"""Run kohya's own training script on networks of toyworld's layout:
`python kohya_launch.py CHECKOUT [the script's arguments]`.

The script builds a UNet of SD 1.x's widths whatever it loads; its trainer is given toyworld's
networks in place of those, by the method that its script for SDXL overrides as well. Sentences
that are handed over stand in place of its own.
"""

import sys
from pathlib import Path
from typing import Any

from peers.scripts import given_templates

sys.path.insert(0, sys.argv.pop(1))

import torch
import train_textual_inversion as kohya  # type: ignore[import-not-found]
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pipeline import TinyEncoder, check
from transformers import CLIPTextModel


class Encoder(TinyEncoder):
    """With what kohya asks of a VAE besides."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def set_use_memory_efficient_attention_xformers(self, _: bool) -> None:
        """It has no attention."""


class ToyworldTrainer(kohya.TextualInversionTrainer):
    """Kohya's trainer, its networks loaded from a folder of `write_pipeline`."""

    def load_target_model(self, args: Any, weight_dtype: Any, accelerator: Any) -> Any:
        folder = Path(args.pretrained_model_name_or_path)
        check(folder)
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        return "sd_v1", [text_encoder], Encoder.from_pretrained(folder, "vae"), unet


if __name__ == "__main__":
    kohya.imagenet_templates_small[:] = given_templates() or kohya.imagenet_templates_small
    parser = kohya.setup_parser()
    ToyworldTrainer().train(kohya.train_util.read_config_from_file(parser.parse_args(), parser))
