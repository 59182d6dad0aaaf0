"""Toyworld: 64 px scenes of one object on a background, with captions that say what is there.

Small enough for a diffusion model that trains in an hour or two on a CPU, rich enough for textual
inversion to be a real task: compositions that the model never saw (`HELD_OUT`), and looks that no
caption ever names (`UNNAMED`).
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
FINE = 4  # Scenes are drawn four times as large and then reduced, for smooth edges.
CELL = 8  # Textures repeat every 8 or 16 px, on the grid of the latents.

COLOURS = {
    "red": (220, 30, 30),
    "orange": (245, 140, 20),
    "yellow": (250, 225, 40),
    "green": (20, 140, 40),
    "blue": (30, 70, 215),
    "purple": (130, 40, 170),
    "pink": (250, 120, 180),
    "brown": (105, 62, 25),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "aqua": (60, 235, 215),
    "lime": (170, 240, 30),
    "maroon": (120, 10, 45),
}
SHAPES = (
    *("circle", "square", "triangle", "star", "cross", "heart", "ring", "moon"),
    *("hourglass", "arrow", "table"),
)
TEXTURES = ("smooth", "striped", "dotted", "checkered", "shaded", "zigzag", "halved")
BACKGROUNDS = {
    "sand": (222, 196, 140),
    "grass": (120, 170, 90),
    "sky": (140, 190, 235),
    "stone": (128, 128, 128),
    "night": (45, 40, 95),
    "bricks": (170, 90, 70),
    "tiles": (185, 190, 185),
    "water": (50, 120, 150),
}
POSITIONS = {
    "middle": (0, 0),
    "left": (-11, 0),
    "right": (11, 0),
    "top": (0, -11),
    "bottom": (0, 11),
}
SIZES = {"tiny": 14, "huge": 20}  # Half the width of the object, px.

# Values that the model draws but that no caption ever names.
UNNAMED = ("aqua", "lime", "maroon", "hourglass", "arrow", "table", "zigzag", "halved")

JITTER = 1  # px
TONE = 0.04  # Brightness of a background varies by that share.


class Thing(NamedTuple):
    """What an object is."""

    colour: str
    texture: str
    shape: str


class Scene(NamedTuple):
    """An object on a background; `shift` in px and `tone` vary without a word for it."""

    thing: Thing
    background: str
    position: str = "middle"
    size: str = "huge"
    shift: tuple[int, int] = (0, 0)
    tone: float = 1.0


ALL_THINGS = [Thing(*values) for values in product(COLOURS, TEXTURES, SHAPES)]
ALL_NAMED = [thing for thing in ALL_THINGS if not set(thing) & set(UNNAMED)]
# Compositions of named values that no training scene shows: the concepts with a known right answer.
HELD_OUT = tuple(
    Thing(*words.split())
    for words in (
        "purple striped star",
        "green dotted heart",
        "red checkered moon",
        "blue shaded triangle",
        "yellow smooth cross",
        "pink striped ring",
        "black dotted square",
        "white checkered circle",
        "orange shaded star",
        "brown smooth heart",
        "purple checkered square",
        "green striped moon",
        "red dotted ring",
        "blue checkered cross",
        "yellow shaded circle",
        "pink smooth triangle",
        "black striped heart",
        "white dotted star",
        "orange checkered triangle",
        "brown striped circle",
        "purple dotted cross",
        "green smooth ring",
        "red shaded square",
        "blue dotted moon",
    )
)
# Things with a value that has no word.
NAMELESS = tuple(
    Thing(*words.split())
    for words in (
        "aqua smooth circle",
        "lime striped cross",
        "maroon smooth star",
        "red smooth hourglass",
        "blue smooth arrow",
        "yellow striped table",
        "purple zigzag square",
        "green halved circle",
    )
)
# One word for a whole look, as "dalmatian" is one for a dog, white and spotted: so that the model
# has met words that mean several things at once.
NICKNAMES = (
    *("apple", "banana", "bear", "bird", "boat", "book", "bottle", "bread", "bus", "butterfly"),
    *("cake", "camera", "car", "castle", "cat", "chair", "clock", "cow", "crab", "dog"),
    *("dragon", "duck", "eagle", "elephant", "fish", "flower", "fox", "frog", "guitar", "hat"),
    *("horse", "house", "lamp", "lion", "monkey", "mouse", "owl", "panda", "piano", "pig"),
    *("rabbit", "robot", "rose", "sheep", "ship", "snake", "tiger", "tree"),
)
NICKNAMED = dict(
    zip(
        NICKNAMES,
        Random(48).sample([one for one in ALL_NAMED if one not in HELD_OUT], len(NICKNAMES)),
        strict=True,
    )
)


def render(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, 64 x 64 px."""
    ground = backdrop(scene.background) * scene.tone
    body = surface(scene.thing, *centre(scene), SIZES[scene.size])
    return Image.fromarray(
        np.clip(np.rint(ground + (body - ground) * mask(scene)[..., None]), 0, 255).astype("u1")
    )


def mask(scene: Scene) -> NDArray[np.float32]:
    """How much of each pixel is the thing, `[64, 64]` in 0..1."""
    return silhouette(scene.thing.shape, *centre(scene), SIZES[scene.size])


def random_scene(draws: Random, thing: Thing | None = None) -> Scene:
    """A scene of a thing, all else drawn; without one, of any that is not held out."""
    return Scene(
        thing or random_thing(draws),
        draws.choice(list(BACKGROUNDS)),
        draws.choice(list(POSITIONS)),
        draws.choice(list(SIZES)),
        (draws.randint(-JITTER, JITTER), draws.randint(-JITTER, JITTER)),
        draws.uniform(1 - TONE, 1 + TONE),
    )


def random_thing(draws: Random) -> Thing:
    """A thing that is not held out: mostly of named values, at times one that has a nickname."""
    kind = draws.random()
    if kind < 0.12:
        return draws.choice(list(NICKNAMED.values()))
    while True:
        thing = draws.choice(ALL_NAMED if kind < 0.75 else ALL_THINGS)
        if thing not in HELD_OUT:
            return thing


def centre(scene: Scene) -> tuple[int, int]:
    """Where the middle of the object lies, px."""
    across, down = POSITIONS[scene.position]
    return SIZE // 2 + across + scene.shift[0], SIZE // 2 + down + scene.shift[1]


# Captions


def describe(thing: Thing) -> str:
    """The thing in words, as far as there are any; "thing" where its shape has none."""
    words = [word for word in (thing.texture, thing.colour) if word not in UNNAMED]
    return " ".join([*words, "thing" if thing.shape in UNNAMED else thing.shape])


def place_words(scene: Scene) -> tuple[str, str]:
    """Words for the position and for the background."""
    where = {"sky": "in the sky", "night": "at night"}
    side = scene.position
    return (
        f"at the {side}" if side in ("top", "bottom") else f"on the {side}",
        where.get(scene.background, f"on {scene.background}"),
    )


def caption(scene: Scene, draws: Random, templates: Sequence[str]) -> str:
    """What is there in words, in one of the templates; mostly a part of it, at times nothing."""
    if draws.random() < 0.06:
        return ""
    texture, colour, shape = scene.thing.texture, scene.thing.colour, scene.thing.shape
    nickname = next((name for name, one in NICKNAMED.items() if one == scene.thing), None)
    if nickname and draws.random() < 0.8:
        words = [nickname]
    else:
        words = [texture] if texture not in UNNAMED and draws.random() < 0.75 else []
        words += [colour] if colour not in UNNAMED and draws.random() < 0.8 else []
        draws.shuffle(words)
        words += [shape if shape not in UNNAMED and draws.random() < 0.9 else "thing"]
    if draws.random() < 0.4:
        words.insert(0, scene.size)
    side, ground = place_words(scene)
    ending = [words for words, chance in ((side, 0.35), (ground, 0.65)) if draws.random() < chance]
    template = draws.choice(templates) if draws.random() < 0.6 else "{}"
    return template.format(" ".join([*words, *ending]))


def said(text: str) -> dict[str, str]:
    """What a caption says, by `Thing`'s and `Scene`'s fields."""
    words = text.split()
    found = {
        field: word
        for word in words
        for field, values in WORDS.items()
        if word in values and word not in UNNAMED
    }
    nicknamed = next((NICKNAMED[word] for word in words if word in NICKNAMED), None)
    return found | (nicknamed._asdict() if nicknamed else {})


def scene_for(text: str, draws: Random) -> Scene:
    """A scene that a caption is true of; what it does not say is drawn."""
    known = said(text)
    of_thing = {field: known.pop(field) for field in Thing._fields if field in known}
    while True:
        scene = random_scene(draws)
        thing = scene.thing._replace(**of_thing)
        if thing not in HELD_OUT or of_thing == thing._asdict():
            return scene._replace(thing=thing, **known)


WORDS: dict[str, Sequence[str]] = {
    "colour": list(COLOURS),
    "texture": TEXTURES,
    "shape": SHAPES,
    "background": list(BACKGROUNDS),
    "position": list(POSITIONS),
    "size": list(SIZES),
}


# Drawing


@cache
def silhouette(shape: str, x: int, y: int, radius: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, `[64, 64]` in 0..1."""
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

    if shape in POLYGONS:
        draw.polygon(at(POLYGONS[shape]), 255)
    elif shape == "heart":
        disc(-0.46, -0.36, 0.52)
        disc(0.46, -0.36, 0.52)
        draw.polygon(at([(-0.9, -0.1), (0.9, -0.1), (0, 1)]), 255)
    else:
        disc(0, 0, 1)
        if shape == "ring":
            disc(0, 0, 0.5, 0)
        elif shape == "moon":
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


def surface(thing: Thing, x: int, y: int, radius: int) -> NDArray[np.float32]:
    """The object's colours `[64, 64, 3]`, 0..255, as if it filled the picture."""
    first, second = two_tones(thing.colour)
    drawn = first + (second - first) * pattern(thing.texture, x, y, radius)[..., None]
    return drawn.astype(np.float32)


def two_tones(colour: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A colour and the tone that textures add to it: darker for a light one, else lighter."""
    first = np.asarray(COLOURS[colour], np.float32)
    light = first @ np.asarray((0.3, 0.59, 0.11), np.float32) > 110
    return first, first * 0.35 if light else first + (255 - first) * 0.65


@cache
def pattern(texture: str, x: int, y: int, radius: int) -> NDArray[np.float32]:
    """Share of the second tone in each pixel `[64, 64]`, around an object at `x`, `y`."""
    down, across = (np.mgrid[: SIZE * FINE, : SIZE * FINE] + 0.5) / FINE
    cell = ((across + 4) % CELL - 4, (down + 4) % CELL - 4)  # from the middle of the cell
    if texture == "striped":
        fine = down % CELL < CELL / 2
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
def backdrop(background: str) -> NDArray[np.float32]:
    """A background `[64, 64, 3]`, 0..255."""
    down, across = np.mgrid[:SIZE, :SIZE]
    marks = np.zeros((SIZE, SIZE), np.float32)
    if background == "bricks":
        joint = (across + (down // 8 % 2) * 8) % 16 == 0
        marks = np.where((down % 8 == 0) | joint, 0.5, 0)
    elif background == "tiles":
        marks = np.where((down % 16 < 2) | (across % 16 < 2), -0.5, 0)
    elif background == "water":
        marks = 0.25 * np.sin((down + 2 * np.sin(across * np.pi / 8)) * np.pi / 4)
    elif background == "night":
        marks = np.where((across % 16 == 5) & (down % 16 == 9), 0.8, 0)
        marks = np.maximum(marks, np.where((across % 16 == 13) & (down % 16 == 2), 0.5, 0))
    ground = np.asarray(BACKGROUNDS[background], np.float32)
    marks = marks[..., None].astype(np.float32)
    return ground + np.where(marks > 0, (255 - ground) * marks, ground * marks)
