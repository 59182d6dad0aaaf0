"""Pixels as bytes, in which images are kept, and as numbers in 0..1, in which they are computed
with.
"""

import torch
from torch import Tensor


def in_floats(pixels: Tensor) -> Tensor:
    """Pixels in 0..1, fp32, of bytes; floats are in 0..1 already."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()


def in_bytes(pixels: Tensor) -> Tensor:
    """The nearest bytes to pixels in 0..1; bytes are as they are."""
    if pixels.dtype == torch.uint8:
        return pixels
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)
