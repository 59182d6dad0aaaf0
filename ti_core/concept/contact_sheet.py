"""An image of what will be trained on: each crop with its mask, and texts as they are drawn."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .audit import facts_of, sample_texts, size_text, title_of
from .concept import Concept, ConceptImage
from .pixels import in_bytes, in_floats

COLUMNS = 2
THUMBNAIL = 192
TEXT = 380
GAP = 12
LETTERS = 54  # in a line of text
LINES = 12  # in a cell
MOST = 60  # images on a sheet
FONT = 13
PAPER, INK, FAINT = "#ffffff", "#1c1c1c", "#767676"
TINT = torch.tensor([0.85, 0.1, 0.2])  # over what does not count
TINT_STRENGTH = 0.65


def contact_sheet(concept: Concept, placeholder: str, summary: str) -> Tensor:
    """The sheet `[h, w, 3]` in 0..1: the summary, and a cell for each image."""
    shown = range(min(MOST, len(concept.images)))
    head = [*summary.splitlines()]
    if len(concept.images) > MOST:
        head.append(f"The first {MOST} of {len(concept.images)} images:")
    top = GAP + (FONT + 5) * len(head) + GAP
    rows = -(-len(shown) // COLUMNS)
    cell = (THUMBNAIL + TEXT + 3 * GAP, THUMBNAIL + GAP)
    sheet = Image.new("RGB", (cell[0] * COLUMNS + GAP, top + rows * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT)
    draw.multiline_text((GAP, GAP), "\n".join(head), INK, font, spacing=5)
    for place, image in enumerate(shown):
        left, upper = GAP + place % COLUMNS * cell[0], top + place // COLUMNS * cell[1]
        sheet.paste(small_crop(concept.images[image]), (left, upper))
        draw_lines(
            draw, (left + THUMBNAIL + GAP, upper), cell_text(concept, image, placeholder), font
        )
    return torch.from_numpy(np.asarray(sheet, dtype=np.float32) / np.float32(255.0))


def draw_lines(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: Sequence[tuple[str, str]], font: Any
) -> None:
    """Lines of text with their colors, one below the other."""
    for number, (line, color) in enumerate(text[:LINES]):
        draw.text((place[0], place[1] + number * (FONT + 3)), line, color, font)


def cell_text(concept: Concept, number: int, placeholder: str) -> list[tuple[str, str]]:
    """What stands beside an image: its name and facts, and three texts as they are drawn."""
    image = concept.images[number]
    more = f", {len(image.crops)} crops" if len(image.crops) > 1 else ""
    title = title_of(image, facts_of(image))
    lines = [(line, INK) for line in textwrap.wrap(title, LETTERS, max_lines=3)]
    lines.append((f"{size_text(image.size)}{more}", FAINT))
    for text in sample_texts(concept, number, placeholder):
        wrapped = textwrap.wrap(f"· {text}", LETTERS, max_lines=2, placeholder=" ...") or ["·"]
        lines += [(line, INK) for line in wrapped]
    return lines


def small_crop(image: ConceptImage) -> Image.Image:
    """An image's first crop, small, red where it does not count, on a square of paper."""
    shown = tinted(in_floats(image.crops[0]), image.weights[0])
    small = Image.fromarray(in_bytes(shown).numpy())
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), PAPER)
    square.paste(small, ((THUMBNAIL - small.width) // 2, (THUMBNAIL - small.height) // 2))
    return square


def tinted(image: Tensor, weights: Tensor | None) -> Tensor:
    """A crop `[h, w, 3]` in 0..1, red where its weights `[h, w]` are low."""
    if weights is None:
        return image
    off = TINT_STRENGTH * (1 - weights / weights.max())[..., None]
    return image * (1 - off) + TINT * off
