"""Which scene does a picture show? Answered by comparing it with drawn scenes, without a neural
network: `python -m toyworld.judge [N]` shows how often it is right on N fresh scenes.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import world
from .world import Scene, Thing

CANDIDATES = 24  # outlines that are compared in full
CAP = 110.0**2  # squared colour distance from which a pixel is simply wrong
FIELDS = ("colour", "texture", "shape", "background", "position", "size")

Pixels = NDArray[np.float32]


class Outlines(NamedTuple):
    """Every silhouette that a scene can have, `[n, 4096]`, and what each shows."""

    covered: Pixels
    shows: tuple[tuple[str, str, str, int, int], ...]


def judge(picture: Image.Image) -> Scene:
    """The scene that explains the picture best. Raises ValueError if it is not 64 x 64 px."""
    if picture.size != (world.SIZE, world.SIZE):
        raise ValueError(f"The judge looks at 64 x 64 px, but the picture has {picture.size}.")
    pixels = np.asarray(picture.convert("RGB"), np.float32).reshape(-1, 3)
    behind = {name: capped(pixels - ground(name)) for name in world.BACKGROUNDS}
    background = min(behind, key=lambda name: float(behind[name].sum()))
    outlines = all_outlines()
    best, found = np.inf, None
    for index in likely(outlines.covered, behind[background]):
        shape, position, size, x, y = outlines.shows[index]
        inside = outlines.covered[index] > 0.5
        missed = float(behind[background][~inside].sum())
        colour, texture, error = surface_of(pixels[inside], inside, x, y, world.SIZES[size])
        if missed + error < best:
            best = missed + error
            found = Scene(Thing(colour, texture, shape), background, position, size)
    assert found is not None
    return found


def likely(covered: Pixels, wrong: Pixels) -> NDArray[np.intp]:
    """Outlines that cover best what is not background."""
    strange = (wrong > 40.0**2).astype(np.float32)
    common = covered @ strange
    overlap = common / (covered.sum(1) + strange.sum() - common)
    return np.argsort(-overlap)[:CANDIDATES]


def surface_of(
    pixels: Pixels, inside: NDArray[np.bool_], x: int, y: int, radius: int
) -> tuple[str, str, float]:
    """Colour and texture nearest to the pixels `[n, 3]` of an object, and how far they are."""
    best = (np.inf, "", "")
    for texture in world.TEXTURES:
        share = world.pattern(texture, x, y, radius).reshape(-1)[inside]
        drawn = (
            share[None, :, None] * tones()[1][:, None]
            + (1 - share)[None, :, None] * (tones()[0][:, None])
        )
        errors = capped(drawn - pixels).sum(1)
        colour = int(errors.argmin())
        best = min(best, (float(errors[colour]), list(world.COLOURS)[colour], texture))
    return best[1], best[2], best[0]


def capped(difference: Any) -> Any:
    """Squared colour distance of each pixel, but never more than `CAP`."""
    return np.minimum((difference**2).sum(-1), CAP)


@cache
def tones() -> tuple[Pixels, Pixels]:
    """First and second tone of each colour, `[colours, 3]` each."""
    pairs = [world.two_tones(colour) for colour in world.COLOURS]
    return np.stack([first for first, _ in pairs]), np.stack([second for _, second in pairs])


@cache
def ground(background: str) -> Pixels:
    return world.backdrop(background).reshape(-1, 3).astype(np.float32)


@cache
def all_outlines() -> Outlines:
    covered, shows = [], []
    shifts = range(-world.JITTER, world.JITTER + 1)
    for shape, position, size, across, down in product(
        world.SHAPES, world.POSITIONS, world.SIZES, shifts, shifts
    ):
        thing = Thing("red", "smooth", shape)
        x, y = world.centre(Scene(thing, "sand", position, size, (across, down)))
        covered.append(world.silhouette(shape, x, y, world.SIZES[size]).reshape(-1))
        shows.append((shape, position, size, x, y))
    return Outlines(np.stack(covered), tuple(shows))


# Asked for, and shown


def values(scene: Scene) -> dict[str, str]:
    """A scene's values by field, as `world.said` gives those of a caption."""
    rest = {field: getattr(scene, field) for field in FIELDS[3:]}
    return {**scene.thing._asdict(), **rest}


def fulfilled(asked: Mapping[str, str], picture: Image.Image) -> dict[str, bool]:
    """For each value asked for, whether the picture shows it."""
    seen = values(judge(picture))
    return {field: seen[field] == value for field, value in asked.items()}


def confusion(scenes: Iterable[Scene]) -> dict[str, Counter[tuple[str, str]]]:
    """How often each value was taken for which, by field."""
    tables: dict[str, Counter[tuple[str, str]]] = {field: Counter() for field in FIELDS}
    for scene in scenes:
        seen = values(judge(world.render(scene)))
        for field, value in values(scene).items():
            tables[field][value, seen[field]] += 1
    return tables


def main(count: int) -> None:
    draws = Random(7)
    tables = confusion(world.random_scene(draws) for _ in range(count))
    for field, table in tables.items():
        right = sum(times for (true, seen), times in table.items() if true == seen)
        wrong = {f"{true} as {seen}": n for (true, seen), n in table.items() if true != seen}
        print(f"{field}: {right / count:.2%} of {count} right; wrong: {wrong or 'none'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
