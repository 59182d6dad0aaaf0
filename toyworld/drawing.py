"""What a toyworld can draw: outlines, textures and grounds, by the names that they have here."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
FINE = 4  # Scenes are drawn four times as large and then reduced, for smooth edges.
CELL = 8  # Textures repeat every 8 or 16 px, on the grid of the latents.

Color = tuple[int, int, int]


@cache
def silhouette(form: str, x: int, y: int, radius: int) -> NDArray[np.float32]:
    """How much of each pixel an outline covers, `[64, 64]` in 0..1."""
    canvas = Image.new("L", (SIZE * FINE, SIZE * FINE))
    draw = ImageDraw.Draw(canvas)

    def at(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [
            ((x + across * radius) * FINE, (y + down * radius) * FINE) for across, down in points
        ]

    def disc(across: float, down: float, size: float, fill: int = 255) -> None:
        draw.ellipse(
            [*at([(across - size, down - size)])[0], *at([(across + size, down + size)])[0]], fill
        )

    if form in POLYGONS:
        draw.polygon(at(POLYGONS[form]), 255)
    elif form == "heart":
        disc(-0.46, -0.36, 0.52)
        disc(0.46, -0.36, 0.52)
        draw.polygon(at([(-0.9, -0.1), (0.9, -0.1), (0, 1)]), 255)
    else:
        disc(0, 0, 1)
        if form == "ring":
            disc(0, 0, 0.5, 0)
        elif form == "moon":
            disc(0.55, -0.2, 0.8, 0)
    covered = (np.asarray(canvas.reduce(FINE)) / 255).astype(np.float32)
    covered.flags.writeable = False
    return covered


def star_points() -> list[tuple[float, float]]:
    """A star of five points in the unit square."""
    turns = np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2, 0.45, 1.1)
    return list(zip(reach * np.sin(turns), -reach * np.cos(turns) + 0.1, strict=True))


POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "diamond": [(0, -1.1), (0.8, 0), (0, 1.1), (-0.8, 0)],
    "triangle": [(0, -1), (1, 0.85), (-1, 0.85)],
    "star": star_points(),
    "cross": [
        *((-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35)),
        *((0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)),
    ],
    "hourglass": [(-0.9, -1), (0.9, -1), (0.15, 0), (0.9, 1), (-0.9, 1), (-0.15, 0)],
    "arrow": [
        *((0, -1), (1, 0), (0.4, 0), (0.4, 1), (-0.4, 1), (-0.4, 0), (-1, 0)),
    ],
    "table": [
        *((-1, -0.8), (1, -0.8), (1, -0.1), (0.8, -0.1), (0.8, 0.9)),
        *(
            (0.3, 0.9),
            (0.3, -0.1),
            (-0.3, -0.1),
            (-0.3, 0.9),
            (-0.8, 0.9),
            (-0.8, -0.1),
            (-1, -0.1),
        ),
    ],
}


def two_tones(color: Color) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A color and the tone that textures add to it: darker for a light one, else lighter."""
    first = np.asarray(color, np.float32)
    light = first @ np.asarray((0.3, 0.59, 0.11), np.float32) > 110
    return first, first * 0.35 if light else first + (255 - first) * 0.65


@cache
def pattern(texture: str, x: int, y: int, radius: int) -> NDArray[np.float32]:
    """Share of the second tone in each pixel `[64, 64]`, around an object at `x`, `y`."""
    down, across = (np.mgrid[: SIZE * FINE, : SIZE * FINE] + 0.5) / FINE
    cell = ((across + 4) % CELL - 4, (down + 4) % CELL - 4)  # from the middle of the cell
    if texture == "striped":
        fine = down % CELL < CELL / 2
    elif texture == "barred":
        fine = across % CELL < CELL / 2
    elif texture == "dotted":
        fine = np.hypot(*cell) < 2.6
    elif texture == "checkered":
        fine = across // CELL % 2 == down // CELL % 2
    elif texture == "zigzag":
        fine = (down + abs(across % (2 * CELL) - CELL)) % (2 * CELL) < CELL
    elif texture == "halved":
        fine = across > x
    elif texture == "shaded":
        fine = np.clip((down - y + radius) / (2 * radius), 0, 1)
    else:
        fine = np.zeros_like(down)
    return fine.astype(np.float32).reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))


@cache
def ground(color: Color, marks: str) -> NDArray[np.float32]:
    """A background `[64, 64, 3]`, 0..255, plain or with marks."""
    down, across = np.mgrid[:SIZE, :SIZE]
    drawn = np.zeros((SIZE, SIZE), np.float32)
    if marks == "bricks":
        joint = (across + (down // 8 % 2) * 8) % 16 == 0
        drawn = np.where((down % 8 == 0) | joint, 0.5, 0)
    elif marks == "tiles":
        drawn = np.where((down % 16 < 2) | (across % 16 < 2), -0.5, 0)
    elif marks == "waves":
        drawn = 0.25 * np.sin((down + 2 * np.sin(across * np.pi / 8)) * np.pi / 4)
    elif marks == "stars":
        drawn = np.where((across % 16 == 5) & (down % 16 == 9), 0.8, 0)
        drawn = np.maximum(drawn, np.where((across % 16 == 13) & (down % 16 == 2), 0.5, 0))
    plain = np.asarray(color, np.float32)
    drawn = drawn[..., None].astype(np.float32)
    return plain + np.where(drawn > 0, (255 - plain) * drawn, plain * drawn)
