"""What an embedding is, in words and in an image."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .embedding import Embedding
from .families import family, usual_norm
from .formats import FORMATS, file_advice
from .vocabulary import Neighbor, Vocabulary

STRENGTH_ALONE = "strength scales the length for CLIP, and starts at 'the' for other text encoders"
FIGURES = 4
TOO_LONG = 1000  # times an ordinary word; trained vectors reach 100 times
SHORT = 120
SHOWN = 64  # vectors; more would make an image that no one looks at
WIDTH, ROW, MARGIN, TEXT = 960, 44, 12, 14
STRIP = 420


def inspection_report(embedding: Embedding, known: Mapping[str, Vocabulary], *more: str) -> str:
    """What the embedding fits and anything that needs a look, with what the caller has noticed;
    then keys, widths, norms, neighbors, recipe, and what can load it.
    """
    vectors = "1 vector" if embedding.count == 1 else f"{embedding.count} vectors"
    lines = [f"Fits {family(embedding.vectors).name}, {vectors}."]
    lines += filter(None, [*more, *doubts(embedding, known), *embedding.notes])
    for key, rows in embedding.vectors.items():
        lines += encoder_lines(key, rows, known.get(key))
    lines += filter(None, [file_advice(embedding)])
    lines += [
        f"'{embedding.placeholder}', init word '{embedding.initializer}'"
        f"{'' if embedding.has_origin else ' (start vectors unknown: ' + STRENGTH_ALONE + ')'}"
    ]
    lines += ["Recipe:", *recipe_lines(embedding)] if embedding.provenance else ["No recipe."]
    return "\n".join([*lines, "Save Embedding can write it as:", *format_lines(embedding)])


def encoder_lines(key: str, rows: Tensor, known: Vocabulary | None) -> list[str]:
    """Shape, norms and neighbors of one encoder's vectors."""
    norms = rows.norm(dim=-1)
    usual = f" (mean {norms.mean():.3f}, vocabulary {known.norm:.3f})" if known else ""
    lines = [f"{key}: {len(rows)} x {rows.shape[-1]}{usual}"]
    for number, norm in enumerate(norms[:SHOWN].tolist(), 1):
        near = nearest_text(known.nearest[number - 1]) if known else ""
        lines.append(f"  vector {number}: norm {norm:.3f}{near}")
    return [*lines, *([f"  ... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else [])]


def doubts(embedding: Embedding, known: Mapping[str, Vocabulary]) -> list[str]:
    """Vectors that cannot be what a trainer meant: of zeros, or far longer than those of words."""
    lines = []
    for key, rows in embedding.vectors.items():
        norms = rows.norm(dim=-1)
        most = TOO_LONG * (known[key].norm if key in known else usual_norm(key))
        for found, what in (((norms == 0), "zero"), ((norms > most), f"longer than {most:g}")):
            if found.any():
                lines.append(
                    f"{int(found.sum())} of the {len(rows)} {key} vectors are {what}, as in a "
                    f"damaged file or after a failed training."
                )
    return lines


def nearest_text(found: Sequence[Neighbor]) -> str:
    """Nearest tokens with their cosines."""
    return "; nearest " + ", ".join(f"{one.token} {one.cosine:.2f}" for one in found)


def recipe_lines(embedding: Embedding) -> list[str]:
    """The recipe, one entry per line, long ones cut."""
    entries = ((key, str(value)) for key, value in embedding.provenance.items())
    return [
        f"  {key}: {value if len(value) <= SHORT else value[:SHORT] + '...'}"
        for key, value in entries
    ]


def format_lines(embedding: Embedding) -> list[str]:
    """The formats that can hold it, and who reads them."""
    fitting = {name: kind.readers(embedding) for name, kind in FORMATS.items()}
    return [f"  {name}: {readers}" for name, readers in fitting.items() if readers]


def inspection_image(embedding: Embedding, known: Mapping[str, Vocabulary]) -> Tensor:
    """A row per vector `[1, h, w, 3]`, of the first 64: its values as a strip of gray, its norm
    beside the vocabulary's as a bar, its nearest tokens.
    """
    return torch.from_numpy(np.array(drawn_sheet(embedding, known))).float().div_(255.0)[None]


def drawn_sheet(embedding: Embedding, known: Mapping[str, Vocabulary]) -> Image.Image:
    """The image itself."""
    drawn = [
        (key, row, known.get(key), number)
        for key, rows in embedding.vectors.items()
        for number, row in enumerate(rows)
    ]
    title = f"{embedding.placeholder}: {family(embedding.vectors).name}"
    if len(drawn) > SHOWN:
        title += f", the first {SHOWN} of {len(drawn)} vectors"
    drawn = drawn[:SHOWN]
    sheet = Image.new("RGB", (WIDTH, ROW * (len(drawn) + 1) + MARGIN), "#1d1f21")
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN), title, font=ImageFont.load_default(20))
    for place, (key, row, vocabulary, number) in enumerate(drawn, 1):
        draw_row(sheet, place * ROW, f"{key} {number + 1}", row, vocabulary, number)
    return sheet


def draw_row(
    sheet: Image.Image, top: int, label: str, row: Tensor, known: Vocabulary | None, number: int
) -> None:
    """One vector's row."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    draw.text((MARGIN, top + 8), label, font=font, fill="#c5c8c6")
    strip = Image.fromarray(strip_of(row)).resize((STRIP, ROW - 16), Image.Resampling.BOX)
    sheet.paste(strip.convert("RGB"), (90, top + 4))
    norm, left = float(row.norm()), 90 + STRIP + MARGIN
    if known is None:
        draw.text((left, top + 8), f"norm {norm:.3f}", font=font, fill="#c5c8c6")
        return
    bar = min(norm / max(known.norm, 1e-12), FIGURES) / FIGURES * 120
    draw.rectangle((left, top + 8, left + bar, top + 22), fill="#81a2be")
    draw.line((left + 120 / FIGURES, top + 4, left + 120 / FIGURES, top + 26), fill="#cc6666")
    words = ", ".join(f"{one.token} {one.cosine:.2f}" for one in known.nearest[number][:3])
    draw.text((left + 132, top + 8), f"{norm:.2f}  {words}"[:40], font=font, fill="#c5c8c6")


def strip_of(row: Tensor) -> np.ndarray:
    """A vector's values `[1, d]` as bytes around middle gray, two standard deviations wide."""
    scaled = row / row.std().clamp_min(1e-12) * 64 + 128
    return scaled.clamp(0, 255).byte().numpy()[None]
