"""Images of what the word means so far: what is drawn, and how often."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...concept.placeholder import Said, filled_in

MOST = 64  # images of a run that are kept
USUAL_SCHEDULER = "auto"
SMALLEST_FONT = 12
FONT_SHARE = 24  # images are so many letters high
INK, PAPER = "#ffffff", "#1c1c1c"


@dataclass(frozen=True)
class PreviewSettings:
    """An image every `every` training steps; the rest are inputs of a sampler node. A cfg, width or
    height of 0 and the scheduler "auto" are chosen for the model when the run starts.
    """

    every: int = 50
    prompt: str = "a photo of {}"
    negative: str = ""
    steps: int = 20
    cfg: float = 0.0
    sampler: str = "euler"
    scheduler: str = USUAL_SCHEDULER
    width: int = 0
    height: int = 0
    seed: int = 0

    def text(self, placeholder: str) -> Said:
        """The prompt with the word in it; ValueError if the word has no place there."""
        written = filled_in(self.prompt, placeholder)
        if not written.places:
            raise ValueError(
                f"The preview prompt {self.prompt!r} does not contain '{placeholder}', so all "
                f"previews would be the same. Write {{}} or {placeholder} into it, for example 'a "
                f"photo of {{}}'."
            )
        return written


def labeled(image: Tensor, text: str) -> Tensor:
    """An image `[h, w, 3]` in 0..1 with a line of text in its lower left corner; the rest of it
    stays as it is.
    """
    height, width, _ = image.shape
    font = ImageFont.load_default(max(SMALLEST_FONT, height // FONT_SHARE))
    left, top, right, bottom = font.getbbox(text)
    gap = SMALLEST_FONT // 3
    size = min(width, round(right - left) + 2 * gap), min(height, round(bottom - top) + 2 * gap)
    label = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(label).text((gap - left, gap - top), text, INK, font)
    marked = image.clone()
    drawn = torch.from_numpy(np.asarray(label, dtype=np.float32) / np.float32(255.0))
    marked[height - size[1] :, : size[0]] = drawn.to(marked)
    return marked


def kept(steps: Iterable[int]) -> list[int]:
    """The steps whose images are kept: all up to `MOST`, then every second of them; the first and
    the last stay.
    """
    ascending = sorted(steps)
    if len(ascending) <= MOST:
        return ascending
    return [*ascending[:-1:2], ascending[-1]]
