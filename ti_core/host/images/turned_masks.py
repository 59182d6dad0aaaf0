"""Masks of images that EXIF turns: some were drawn on the turned image, others on the raw
pixels.
"""

import torch
from torch import Tensor

from ...concept.masks import MAY_BE_TURNED, same_shape
from .image_files import TURNS, as_tensor

QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF's orientations


def upright(mask: Tensor, image: Tensor, orientation: int) -> tuple[Tensor, tuple[str, ...]]:
    """A mask `[h, w]` turned to fit an image `[h, w, 3]` that was turned by an orientation, with
    notes: it is turned if it fits only the raw image, and left as it is, with a note of doubt, if
    it fits both.
    """
    turn, seen = TURNS.get(orientation), tuple(image.shape[:2])
    if turn is None:
        return mask, ()
    raw = seen[::-1] if orientation in QUARTER_TURNS else seen
    if not same_shape(mask.shape, raw):
        return mask, ()
    turned = as_tensor(turn(mask.numpy()))
    if not same_shape(mask.shape, seen):
        return turned, ("mask rotated with the image",)
    no_matter = turned.shape == mask.shape and torch.equal(turned, mask)
    return mask, () if no_matter else (MAY_BE_TURNED,)
