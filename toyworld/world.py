"""A small world: 64 px scenes of one object on a background, with captions that say what is there.

Small enough for a diffusion model that trains in an hour or two on a CPU, rich enough for textual
inversion to be a real task: compositions that the model never saw (`held_out`), and looks that no
caption ever names (`nameless`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import drawing
from .drawing import SIZE, Color

POSITIONS = {
    "middle": (0, 0),
    "left": (-11, 0),
    "right": (11, 0),
    "top": (0, -11),
    "bottom": (0, 11),
}
SIZES = {"tiny": 14, "huge": 20}  # Half the width of the object, px.
JITTER = 1  # px
TONE = 0.04  # Brightness of a background varies by that share.


class Thing(NamedTuple):
    """What an object is."""

    color: str
    texture: str
    shape: str


class Ground(NamedTuple):
    """What lies behind: its color, the marks on it, and how a caption says where that is."""

    color: Color
    marks: str = ""
    said: str = "on {}"


class Scene(NamedTuple):
    """An object on a background; `shift` in px and `tone` vary without a word for it."""

    thing: Thing
    background: str
    position: str = "middle"
    size: str = "huge"
    shift: tuple[int, int] = (0, 0)
    tone: float = 1.0


def things(*words: str) -> tuple[Thing, ...]:
    """Things by their words: "red smooth star"."""
    return tuple(Thing(*one.split()) for one in words)


@dataclass(frozen=True, eq=False)
class World:
    """The words of a world and what they look like.

    Textures and shapes by their names in `drawing`; `unnamed` are values that the model draws but
    that no caption ever names. `held_out` things are in no training scene: the concepts with a
    known right answer. `nameless` ones have a value without a word. A nickname is one word for a
    whole look, as "dalmatian" is one for a dog, white and spotted: so that the model has met words
    that mean several things at once. `templates` are the sentences that captions are put into.
    """

    colors: Mapping[str, Color]
    textures: Mapping[str, str]
    shapes: Mapping[str, str]
    backgrounds: Mapping[str, Ground]
    held_out: Sequence[Thing]
    nicknames: Sequence[str]
    templates: Sequence[str]
    unnamed: Sequence[str] = ()
    nameless: Sequence[Thing] = ()

    @cached_property
    def things(self) -> list[Thing]:
        return [Thing(*values) for values in product(self.colors, self.textures, self.shapes)]

    @cached_property
    def named(self) -> list[Thing]:
        """The things that can be said in whole."""
        return [thing for thing in self.things if not set(thing) & set(self.unnamed)]

    @cached_property
    def nicknamed(self) -> dict[str, Thing]:
        known = [one for one in self.named if one not in self.held_out]
        looks = Random(48).sample(known, len(self.nicknames))
        return dict(zip(self.nicknames, looks, strict=True))

    @cached_property
    def words(self) -> dict[str, Sequence[str]]:
        """The values of `Thing`'s and `Scene`'s fields."""
        return {
            "color": list(self.colors),
            "texture": list(self.textures),
            "shape": list(self.shapes),
            "background": list(self.backgrounds),
            "position": list(POSITIONS),
            "size": list(SIZES),
        }

    # Images

    def render(self, scene: Scene) -> Image.Image:
        """The image of a scene, RGB, 64 x 64 px."""
        back = drawing.ground(*self.backgrounds[scene.background][:2]) * scene.tone
        body = self.surface(scene.thing, *center(scene), SIZES[scene.size])
        drawn = back + (body - back) * self.mask(scene)[..., None]
        return Image.fromarray(np.clip(np.rint(drawn), 0, 255).astype("u1"))

    def mask(self, scene: Scene) -> NDArray[np.float32]:
        """How much of each pixel is the thing, `[64, 64]` in 0..1."""
        form = self.shapes[scene.thing.shape]
        return drawing.silhouette(form, *center(scene), SIZES[scene.size])

    def surface(self, thing: Thing, x: int, y: int, radius: int) -> NDArray[np.float32]:
        """The object's colors `[64, 64, 3]`, 0..255, as if it filled the image."""
        first, second = drawing.two_tones(self.colors[thing.color])
        share = drawing.pattern(self.textures[thing.texture], x, y, radius)
        return (first + (second - first) * share[..., None]).astype(np.float32)

    def random_scene(self, draws: Random, thing: Thing | None = None) -> Scene:
        """A scene of a thing, all else drawn; without one, of any that is not held out."""
        return Scene(
            thing or self.random_thing(draws),
            draws.choice(list(self.backgrounds)),
            draws.choice(list(POSITIONS)),
            draws.choice(list(SIZES)),
            (draws.randint(-JITTER, JITTER), draws.randint(-JITTER, JITTER)),
            draws.uniform(1 - TONE, 1 + TONE),
        )

    def random_thing(self, draws: Random) -> Thing:
        """A thing that is not held out: mostly of named values, at times one with a nickname."""
        kind = draws.random()
        if kind < 0.12:
            return draws.choice(list(self.nicknamed.values()))
        while True:
            thing = draws.choice(self.named if kind < 0.75 else self.things)
            if thing not in self.held_out:
                return thing

    # Captions

    def describe(self, thing: Thing) -> str:
        """The thing in words, as far as there are any; "thing" where its shape has none."""
        words = [word for word in (thing.texture, thing.color) if word not in self.unnamed]
        return " ".join([*words, "thing" if thing.shape in self.unnamed else thing.shape])

    def place_words(self, scene: Scene) -> tuple[str, str]:
        """Words for the position and for the background."""
        side, behind = scene.position, scene.background
        return (
            f"at the {side}" if side in ("top", "bottom") else f"on the {side}",
            self.backgrounds[behind].said.format(behind),
        )

    def caption(self, scene: Scene, draws: Random) -> str:
        """What is there in words, in a template; mostly a part of it, at times nothing."""
        if draws.random() < 0.06:
            return ""
        color, texture, shape = scene.thing
        nickname = next((name for name, one in self.nicknamed.items() if one == scene.thing), None)
        if nickname and draws.random() < 0.8:
            words = [nickname]
        else:
            words = [texture] if texture not in self.unnamed and draws.random() < 0.75 else []
            words += [color] if color not in self.unnamed and draws.random() < 0.8 else []
            draws.shuffle(words)
            words += [shape if shape not in self.unnamed and draws.random() < 0.9 else "thing"]
        if draws.random() < 0.4:
            words.insert(0, scene.size)
        places = zip(self.place_words(scene), (0.35, 0.65), strict=True)
        ending = [words for words, chance in places if draws.random() < chance]
        template = draws.choice(self.templates) if draws.random() < 0.6 else "{}"
        return template.format(" ".join([*words, *ending]))

    def said(self, text: str) -> dict[str, str]:
        """What a caption says, by `Thing`'s and `Scene`'s fields."""
        words = text.split()
        found = {
            field: word
            for word in words
            for field, values in self.words.items()
            if word in values and word not in self.unnamed
        }
        nicknamed = next((self.nicknamed[word] for word in words if word in self.nicknamed), None)
        return found | (nicknamed._asdict() if nicknamed else {})

    def scene_for(self, text: str, draws: Random) -> Scene:
        """A scene that a caption is true of; what it does not say is drawn."""
        known = self.said(text)
        of_thing = {field: known.pop(field) for field in Thing._fields if field in known}
        while True:
            scene = self.random_scene(draws)
            thing = scene.thing._replace(**of_thing)
            if thing not in self.held_out or of_thing == thing._asdict():
                return scene._replace(thing=thing, **known)


def center(scene: Scene) -> tuple[int, int]:
    """Where the middle of the object lies, px."""
    across, down = POSITIONS[scene.position]
    return SIZE // 2 + across + scene.shift[0], SIZE // 2 + down + scene.shift[1]
