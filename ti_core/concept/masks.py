"""Masks: how much each place of an image counts in the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MaskSource = Literal["auto", "files", "alpha", "none"]
SHAPE_TOLERANCE = 0.03
EMPTY_MASK = " Load Image gives an empty mask of 64 x 64 if an image has no transparency."
MAY_BE_TURNED = "rotated by EXIF, its mask perhaps not"  # a note on an image
BACKGROUNDS = {
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "black": (0, 0, 0),
    "green": (0, 177, 64),
    "blue": (0, 71, 187),
}


@dataclass(frozen=True)
class MaskSettings:
    """Where masks come from and how strongly they bind: 'auto' takes a mask file, else the
    image's transparency; a connected mask goes before both. What is masked out counts `unmasked`;
    `normalize` keeps the mean weight of a crop at 1, so that small subjects count as much as large
    ones. `background` is put behind transparency.
    """

    source: MaskSource = "files"
    background: tuple[int, int, int] = (255, 255, 255)
    invert: bool = False
    unmasked: float = 0.0
    normalize: bool = True

    def weights(self, mask: Tensor) -> Tensor:
        """Weights `[h, w]` of a crop from its mask `[h, w]` in 0..1; all zero where nothing
        counts.
        """
        weights = self.unmasked + (1.0 - self.unmasked) * mask
        mean = float(weights.mean())
        return weights / mean if self.normalize and mean > 0 else weights


def over_image(mask: Tensor, image: Tensor, name: str) -> Tensor:
    """A mask `[h, w]` at the size of its image `[h, w, 3]`; ValueError if it belongs to an
    image of another shape.
    """
    height, width = image.shape[:2]
    if tuple(mask.shape) == (height, width):
        return mask.float()
    if not same_shape(mask.shape, (height, width)):
        turned = same_shape(mask.shape, (width, height))
        why = " It would fit if turned by 90 degrees." if turned else ""
        loaded = EMPTY_MASK if tuple(mask.shape) == (64, 64) else ""
        raise ValueError(
            f"The mask of {name!r} is {mask.shape[1]} x {mask.shape[0]}, but the image is "
            f"{width} x {height}.{why or loaded} Use a mask with the image's shape."
        )
    return F.interpolate(mask[None, None].float(), size=(height, width), mode="bilinear")[0, 0]


def same_shape(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two sizes `(h, w)` have one shape, nearly."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= SHAPE_TOLERANCE


def latent_weights(weights: Tensor, shape: Sequence[int]) -> Tensor:
    """Weights `[1, ..., h, w]` for latents of a shape `[c, ..., h, w]`: the mean over what each
    latent covers.
    """
    pooled = F.adaptive_avg_pool2d(weights[None, None].float(), (shape[-2], shape[-1]))[0, 0]
    return pooled.reshape([1] * (len(shape) - 2) + list(pooled.shape))


def stacked_weights(chosen: Sequence[Tensor | None]) -> Tensor | None:
    """Weights of a batch `[b, 1, ..., h, w]`, 1 for the images without a mask; None if none has
    one.
    """
    known = next((weights for weights in chosen if weights is not None), None)
    if known is None:
        return None
    return torch.stack([torch.ones_like(known) if one is None else one for one in chosen])
