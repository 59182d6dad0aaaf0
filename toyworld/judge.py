"""Which scene does an image show? Answered by comparing it with drawn scenes, without a neural
network: `python -m toyworld.judge [N [WORLD]]` shows how often it is right on N fresh scenes.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from itertools import product
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import drawing
from .drawing import SIZE
from .world import JITTER, POSITIONS, SIZES, Scene, Thing, World, center
from .worlds import WORLDS

CANDIDATES = 24  # outlines that are compared in full
CAP = 110.0**2  # squared color distance from which a pixel is simply wrong
FIELDS = ("color", "texture", "shape", "background", "position", "size")

Pixels = NDArray[np.float32]


class Outlines(NamedTuple):
    """Every silhouette that a scene can have, `[n, 4096]`, and what each shows."""

    covered: Pixels
    shows: tuple[tuple[str, str, str, int, int], ...]


class Judge:
    """Knows what a world looks like."""

    def __init__(self, world: World) -> None:
        self.world = world

    def judge(self, image: Image.Image) -> Scene:
        """The scene that explains the image best. Raises ValueError if it is not 64 x 64 px."""
        if image.size != (SIZE, SIZE):
            raise ValueError(f"The judge looks at 64 x 64 px, but the image has {image.size}.")
        pixels = np.asarray(image.convert("RGB"), np.float32).reshape(-1, 3)
        behind = {name: capped(pixels - ground) for name, ground in self.grounds.items()}
        background = min(behind, key=lambda name: float(behind[name].sum()))
        best, found = np.inf, None
        for index in likely(self.outlines.covered, behind[background]):
            shape, position, size, x, y = self.outlines.shows[index]
            inside = self.outlines.covered[index] > 0.5
            missed = float(behind[background][~inside].sum())
            color, texture, error = self.surface_of(pixels[inside], inside, x, y, SIZES[size])
            if missed + error < best:
                best = missed + error
                found = Scene(Thing(color, texture, shape), background, position, size)
        assert found is not None
        return found

    def fulfilled(self, asked: Mapping[str, str], image: Image.Image) -> dict[str, bool]:
        """For each value asked for, whether the image shows it."""
        seen = values(self.judge(image))
        return {field: seen[field] == value for field, value in asked.items()}

    def surface_of(
        self, pixels: Pixels, inside: NDArray[np.bool_], x: int, y: int, radius: int
    ) -> tuple[str, str, float]:
        """Color and texture nearest to the pixels `[n, 3]` of an object, and how far they are."""
        best = (np.inf, "", "")
        first, second = self.tones
        for texture, kind in self.world.textures.items():
            share = drawing.pattern(kind, x, y, radius).reshape(-1)[inside][None, :, None]
            drawn = share * second[:, None] + (1 - share) * first[:, None]
            errors = capped(drawn - pixels).sum(1)
            color = int(errors.argmin())
            best = min(best, (float(errors[color]), list(self.world.colors)[color], texture))
        return best[1], best[2], best[0]

    @cached_property
    def tones(self) -> tuple[Pixels, Pixels]:
        """First and second tone of each color, `[colors, 3]` each."""
        pairs = [drawing.two_tones(color) for color in self.world.colors.values()]
        return np.stack([first for first, _ in pairs]), np.stack([second for _, second in pairs])

    @cached_property
    def grounds(self) -> dict[str, Pixels]:
        """The pixels `[4096, 3]` of each background."""
        return {
            name: drawing.ground(*ground[:2]).reshape(-1, 3).astype(np.float32)
            for name, ground in self.world.backgrounds.items()
        }

    @cached_property
    def outlines(self) -> Outlines:
        covered, shows = [], []
        shifts = range(-JITTER, JITTER + 1)
        for (shape, form), position, size, across, down in product(
            self.world.shapes.items(), POSITIONS, SIZES, shifts, shifts
        ):
            x, y = center(Scene(ANYTHING, "", position, size, (across, down)))
            covered.append(drawing.silhouette(form, x, y, SIZES[size]).reshape(-1))
            shows.append((shape, position, size, x, y))
        return Outlines(np.stack(covered), tuple(shows))


ANYTHING = Thing("", "", "")


@cache
def judge_of(world: World) -> Judge:
    """The judge of a world, once."""
    return Judge(world)


def likely(covered: Pixels, wrong: Pixels) -> NDArray[np.intp]:
    """Outlines that cover best what is not background."""
    strange = (wrong > 40.0**2).astype(np.float32)
    common = covered @ strange
    overlap = common / (covered.sum(1) + strange.sum() - common)
    return np.argsort(-overlap)[:CANDIDATES]


def capped(difference: Any) -> Any:
    """Squared color distance of each pixel, but never more than `CAP`."""
    return np.minimum((difference**2).sum(-1), CAP)


def values(scene: Scene) -> dict[str, str]:
    """A scene's values by field, as `World.said` gives those of a caption."""
    rest = {field: getattr(scene, field) for field in FIELDS[3:]}
    return {**scene.thing._asdict(), **rest}


def confusion(world: World, scenes: Iterable[Scene]) -> dict[str, Counter[tuple[str, str]]]:
    """How often each value was taken for which, by field."""
    tables: dict[str, Counter[tuple[str, str]]] = {field: Counter() for field in FIELDS}
    for scene in scenes:
        seen = values(judge_of(world).judge(world.render(scene)))
        for field, value in values(scene).items():
            tables[field][value, seen[field]] += 1
    return tables


def main(scenes: str = "1000", name: str = "toyworld") -> None:
    draws, world, count = Random(7), WORLDS[name], int(scenes)
    tables = confusion(world, (world.random_scene(draws) for _ in range(count)))
    for field, table in tables.items():
        right = sum(times for (true, seen), times in table.items() if true == seen)
        wrong = {f"{true} as {seen}": n for (true, seen), n in table.items() if true != seen}
        print(f"{field}: {right / count:.2%} of {count} right; wrong: {wrong or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
