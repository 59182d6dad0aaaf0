"""The image to share: a sample with the word, its base model and its figures written on it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..embedding import Embedding

SIDE = 512
MIN_SIDE = 256
MAX_SIDE = 1024
TITLE_SHARE, FOOTER_SHARE = 12, 24
SHADE = 150


def card(embedding: Embedding, image: Image.Image | None) -> Image.Image:
    """An RGB card: the sample, or the vectors' own pattern where there is none; above it the word,
    below it base model, hash, vectors and steps.
    """
    base = at_card_size(image or pattern(embedding)).convert("RGBA")
    height = base.height
    title, footer = height // TITLE_SHARE, height // FOOTER_SHARE
    shade = Image.new("RGBA", base.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(shade)
    draw.rectangle((0, 0, base.width, title * 2), fill=(0, 0, 0, SHADE))
    draw.rectangle((0, height - footer * 2, base.width, height), fill=(0, 0, 0, SHADE))
    result = Image.alpha_composite(base, shade)
    draw_line(result, f"<{embedding.placeholder}>", title // 2, title)
    draw_line(result, footer_text(embedding), height - footer * 3 // 2, footer)
    return result.convert("RGB")


def footer_text(embedding: Embedding) -> str:
    """Base model, its short hash, vectors and steps, as far as they are known."""
    made = embedding.provenance
    digest = str(made.get("base_model_hash") or "")[:10]
    parts = [str(made.get("base_model") or ""), f"[{digest}]" if digest else ""]
    parts.append(
        f"{embedding.count}v {made['steps']}s" if "steps" in made else f"{embedding.count}v"
    )
    return "   ".join(part for part in parts if part)


def draw_line(image: Image.Image, text: str, top: int, size: int) -> None:
    """A line of text, made smaller until it fits the width."""
    draw = ImageDraw.Draw(image)
    wide = draw.textlength(text, font=ImageFont.load_default(size))
    room = image.width - size
    font = ImageFont.load_default(max(6, int(size * min(1.0, room / max(wide, 1)))))
    draw.text((size // 2, top), text, font=font, fill="white")


def at_card_size(image: Image.Image) -> Image.Image:
    """The image at a size that suits a card."""
    longest, shortest = max(image.size), min(image.size)
    scale = min(MAX_SIDE / longest, max(1.0, MIN_SIDE / shortest))
    size = (max(16, round(image.width * scale)), max(16, round(image.height * scale)))
    return image if scale == 1.0 else image.resize(size, Image.Resampling.LANCZOS)


def pattern(embedding: Embedding) -> Image.Image:
    """The vectors as bands of gray."""
    bands = []
    for rows in embedding.vectors.values():
        size = rows.detach().abs()
        bands.append((size / size.max().clamp_min(1e-12) * 255).byte().numpy()[:, :768])
    tall = np.concatenate([np.pad(band, ((0, 0), (0, 768 - band.shape[1]))) for band in bands])
    return Image.fromarray(tall).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
