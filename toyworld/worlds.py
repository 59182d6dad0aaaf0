"""The worlds that models were trained on, by their names."""

from ti_core.concept.templates import OBJECT_TEMPLATES, STYLE_TEMPLATES

from .world import Ground, World, things

NICKNAMES = (
    *("apple", "banana", "bear", "bird", "boat", "book", "bottle", "bread", "bus", "butterfly"),
    *("cake", "camera", "car", "castle", "cat", "chair", "clock", "cow", "crab", "dog"),
    *("dragon", "duck", "eagle", "elephant", "fish", "flower", "fox", "frog", "guitar", "hat"),
    *("horse", "house", "lamp", "lion", "monkey", "mouse", "owl", "panda", "piano", "pig"),
    *("rabbit", "robot", "rose", "sheep", "ship", "snake", "tiger", "tree"),
)

TOYWORLD = World(
    colors={
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
    },
    textures={
        name: name
        for name in ("smooth", "striped", "dotted", "checkered", "shaded", "zigzag", "halved")
    },
    shapes={
        name: name
        for name in (
            *("circle", "square", "triangle", "star", "cross", "heart", "ring", "moon"),
            *("hourglass", "arrow", "table"),
        )
    },
    backgrounds={
        "sand": Ground((222, 196, 140)),
        "grass": Ground((120, 170, 90)),
        "sky": Ground((140, 190, 235), said="in the {}"),
        "stone": Ground((128, 128, 128)),
        "night": Ground((45, 40, 95), "stars", "at {}"),
        "bricks": Ground((170, 90, 70), "bricks"),
        "tiles": Ground((185, 190, 185), "tiles"),
        "water": Ground((50, 120, 150), "waves"),
    },
    unnamed=("aqua", "lime", "maroon", "hourglass", "arrow", "table", "zigzag", "halved"),
    held_out=things(
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
    ),
    nameless=things(
        "aqua smooth circle",
        "lime striped cross",
        "maroon smooth star",
        "red smooth hourglass",
        "blue smooth arrow",
        "yellow striped table",
        "purple zigzag square",
        "green halved circle",
    ),
    nicknames=NICKNAMES,
    templates=(*OBJECT_TEMPLATES, *STYLE_TEMPLATES),
)


# For the flow model with a language model: a part of toyworld.
FLOWWORLD = World(
    colors={
        name: TOYWORLD.colors[name]
        for name in ("red", "yellow", "green", "blue", "purple", "white")
    },
    textures={name: name for name in ("smooth", "striped", "dotted")},
    shapes={name: name for name in ("circle", "square", "star", "heart")},
    backgrounds={
        name: TOYWORLD.backgrounds[name] for name in ("sand", "grass", "sky", "night", "bricks")
    },
    held_out=things(
        "purple striped star",
        "green dotted heart",
        "white smooth circle",
        "blue striped square",
        "red dotted star",
        "yellow smooth heart",
        "purple dotted circle",
        "green smooth square",
        "white striped heart",
        "blue smooth star",
        "red striped circle",
        "yellow dotted square",
    ),
    nicknames=NICKNAMES[::4],
    templates=TOYWORLD.templates,
)

# On which nothing of ours was tuned: other words, palette and looks, and none of the sentences that
# the pack trains with but the plainest.
OTHERWORLD = World(
    colors={
        "crimson": (190, 20, 60),
        "amber": (255, 185, 0),
        "olive": (105, 110, 30),
        "teal": (0, 125, 120),
        "navy": (20, 25, 95),
        "violet": (165, 95, 235),
        "peach": (255, 190, 150),
        "grey": (75, 75, 80),
        "mint": (150, 240, 190),
    },
    textures={
        "plain": "smooth",
        "banded": "striped",
        "barred": "barred",
        "zigzag": "zigzag",
        "halved": "halved",
        "spotted": "dotted",
    },
    shapes={
        "ball": "circle",
        "diamond": "diamond",
        "hourglass": "hourglass",
        "arrow": "arrow",
        "table": "table",
        "tent": "triangle",
        "plus": "cross",
        "crescent": "moon",
        "ring": "ring",
    },
    backgrounds={
        "snow": Ground((235, 240, 245), said="in the {}"),
        "moss": Ground((60, 140, 70)),
        "dusk": Ground((160, 120, 165), said="at {}"),
        "clay": Ground((185, 120, 90)),
        "space": Ground((25, 25, 45), "stars", "in {}"),
        "planks": Ground((150, 110, 70), "bricks"),
        "paving": Ground((150, 155, 150), "tiles"),
        "lake": Ground((70, 110, 180), "waves", "by the {}"),
    },
    unnamed=("mint", "spotted", "ring"),
    held_out=things(
        "crimson barred hourglass",
        "teal zigzag diamond",
        "amber halved ball",
        "navy banded arrow",
        "violet plain table",
        "peach barred tent",
        "olive zigzag plus",
        "grey halved crescent",
        "amber plain diamond",
        "crimson banded crescent",
        "teal barred table",
        "violet zigzag ball",
        "navy halved hourglass",
        "peach banded plus",
        "grey barred arrow",
        "olive plain tent",
    ),
    nameless=things(
        "mint plain ball",
        "crimson spotted diamond",
        "navy plain ring",
        "mint halved tent",
    ),
    nicknames=NICKNAMES[1::3],
    templates=(
        *("{}", "a photo of a {}", "an image of a {}", "there is a {}", "here we see a {}"),
        *("look, a {}", "somebody drew a {}", "{} in an image book", "my favorite {}"),
        *("a simple drawing that shows a {}", "one {} and nothing else", "a card with a {}"),
    ),
)

WORLDS = {"toyworld": TOYWORLD, "flowworld": FLOWWORLD, "otherworld": OTHERWORLD}
