"""Masks: how much each place of a picture counts in the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MaskSource = Literal["auto", "files", "alpha", "none"]
SHAPE_TOLERANCE = 0.03
BACKGROUNDS = {
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (0, 0, 0),
    "green": (0, 177, 64),
    "blue": (0, 71, 187),
}


@dataclass(frozen=True)
class MaskSettings:
    """Where masks come from and how strongly they bind: 'auto' takes a mask file, else the
    picture's transparency; a connected mask goes before both. What is masked out counts `unmasked`;
    `normalise` keeps the mean weight of a crop at 1, so that small subjects count as much as large
    ones. `background` is put behind transparency.
    """

    source: MaskSource = "files"
    background: tuple[int, int, int] = (255, 255, 255)
    invert: bool = False
    unmasked: float = 0.0
    normalise: bool = True

    def weights(self, mask: Tensor) -> Tensor:
        """Weights `[h, w]` of a crop from its mask `[h, w]` in 0..1; all zero where nothing
        counts.
        """
        weights = self.unmasked + (1.0 - self.unmasked) * mask
        mean = float(weights.mean())
        return weights / mean if self.normalise and mean > 0 else weights


def over_picture(mask: Tensor, picture: Tensor, name: str) -> Tensor:
    """A mask `[h, w]` at the size of its picture `[h, w, 3]`; ValueError if it belongs to a
    picture of another shape.
    """
    height, width = picture.shape[:2]
    if tuple(mask.shape) == (height, width):
        return mask.float()
    here, there = width / height, mask.shape[1] / mask.shape[0]
    if abs(here / there - 1) > SHAPE_TOLERANCE:
        raise ValueError(
            f"The mask of {name!r} is {mask.shape[1]} x {mask.shape[0]}, but the picture is "
            f"{width} x {height}. Use a mask with the picture's shape. (If a picture has no "
            f"transparency, Load Image gives an empty mask of 64 x 64.)"
        )
    return F.interpolate(mask[None, None].float(), size=(height, width), mode="bilinear")[0, 0]


def latent_weights(weights: Tensor, shape: Sequence[int]) -> Tensor:
    """Weights `[1, ..., h, w]` for latents of a shape `[c, ..., h, w]`: the mean over what each
    latent covers.
    """
    pooled = F.adaptive_avg_pool2d(weights[None, None].float(), (shape[-2], shape[-1]))[0, 0]
    return pooled.reshape([1] * (len(shape) - 2) + list(pooled.shape))


def stacked_weights(chosen: Sequence[Tensor | None]) -> Tensor | None:
    """Weights of a batch `[b, 1, ..., h, w]`, 1 for the pictures without a mask; None if none has
    one.
    """
    known = next((weights for weights in chosen if weights is not None), None)
    if known is None:
        return None
    return torch.stack([torch.ones_like(known) if one is None else one for one in chosen])
