"""The figures of benchmarks/learning.py as a table, a JSON and a contact sheet."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from toyworld.worlds import WORLDS

COMPOSITIONS = {" ".join(thing) for world in WORLDS.values() for thing in world.held_out}
OURS = "ours"
GAP, MOST_STEPS, MOST_SECONDS, FASTER, EDITS = 0.9, 400, 180.0, 10.0, 0.1  # what we aim for
SIDE, HEAD, LEFT = 128, 16, 130  # of the contact sheet, px


Key = tuple[str, int, str]  # thing, seed, method


class Marks(NamedTuple):
    """How good a word is, by the fresh images and by what it draws; all but the loss are shares.

    `gap` is the part of the way from the initializer's loss to the true description's, None where
    there is none. `concept`: of color, texture and shape, how many are right for the word alone.
    Over the prompts that ask for more: `change` is there, `kept` is the whole thing, `edit` both.
    """

    loss: float
    gap: float | None
    concept: float
    change: float
    kept: float
    edit: float


@dataclass(frozen=True)
class Row:
    """One word: learned by a method, or one that it is measured against. `curve` has (step,
    seconds, loss); of those that were not learned, steps and seconds are 0 and `norm` is None.
    """

    thing: str
    seed: int
    method: str
    marks: Marks
    steps: int
    seconds: float
    norm: float | None
    curve: Sequence[tuple[int, float, float]]
    shown: Image.Image
    alone: Image.Image
    edited: Image.Image

    @property
    def key(self) -> Key:
        """What tells it from other rows."""
        return self.thing, self.seed, self.method

    def figures(self) -> dict[str, Any]:
        """All but the images, JSON-ready."""
        kept = {name: value for name, value in vars(self).items() if name not in IMAGES}
        return kept | {"marks": self.marks._asdict()}

    def line(self) -> str:
        """For the terminal."""
        known = {n: value for n, value in self.marks._asdict().items() if value is not None}
        marks = ", ".join(f"{name} {value:.4f}" for name, value in known.items())
        spent = f"{self.steps} steps, {self.seconds:.0f} s"
        return f"{self.thing} {self.seed}, {self.method}: {marks}, {spent}"


IMAGES = ("shown", "alone", "edited")
COLUMNS: dict[str, Callable[[Row], float | None]] = {
    "loss": lambda row: row.marks.loss,
    "gap closed": lambda row: row.marks.gap,
    "concept": lambda row: row.marks.concept,
    "edit": lambda row: row.marks.edit,
    "change": lambda row: row.marks.change,
    "kept": lambda row: row.marks.kept,
    "steps": lambda row: float(row.steps) or None,
    "seconds": lambda row: row.seconds or None,
    "norm": lambda row: row.norm,
}
DIGITS = {"loss": 4, "steps": 0, "seconds": 1}


def write(rows: Sequence[Row], folder: Path, setting: Mapping[str, object]) -> None:
    """Write learning.json, learning.md and learning.png."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"setting": setting, "rows": [row.figures() for row in rows]}
    (folder / "learning.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "learning.md").write_text(page(rows, setting))
    sheet(rows).save(folder / "learning.png", optimize=True)


def earlier(folder: Path, setting: Mapping[str, object]) -> list[Row]:
    """The rows that were written there; ValueError if they were measured in another setting."""
    facts = json.loads((folder / "learning.json").read_text())
    if facts["setting"] != dict(setting):
        raise ValueError(f"{folder} was measured with {facts['setting']}, not with {setting}.")
    with Image.open(folder / "learning.png") as image:
        drawn, blank = image.convert("RGB"), Image.new("RGB", (SIDE, SIDE), "white")
    rows = [
        Row(
            **one | {"marks": Marks(**one["marks"])},
            shown=blank,
            alone=blank,
            edited=blank,
        )
        for one in facts["rows"]
    ]
    places = cells(rows)
    return [
        replace(row, **{name: drawn.crop(box) for name, box in places[row.key].items()})
        if row.key in places
        else row
        for row in rows
    ]


def joined(folders: Iterable[Path], setting: Mapping[str, object]) -> list[Row]:
    """The rows of several results, each word once: what is in two is taken from the last one."""
    rows = (row for folder in folders for row in earlier(folder, setting))
    return list({row.key: row for row in rows}.values())


def page(rows: Sequence[Row], setting: Mapping[str, object]) -> str:
    """The tables and how far the goals are reached."""
    parts = [", ".join(f"{name}: {value}" for name, value in setting.items() if value)]
    compositions = [row for row in rows if row.thing in COMPOSITIONS]
    nameless = [row for row in rows if row.thing not in COMPOSITIONS]
    for title, some in (
        ("Compositions that the model never saw", compositions),
        ("Looks that have no word", nameless),
    ):
        if some:
            parts.append(f"## {title}\n\n{table(some)}")
    parts.append(f"## Gap closed, word by word\n\n{gaps_by_word(compositions)}")
    if ways := list(ways_of(compositions)):
        parts.append("## Gap closed on the way\n\n" + "\n".join(f"- {text}" for text in ways))
    parts.append("## Goals\n\n" + "\n".join(f"- {text}" for text in goals(compositions)))
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A line per method: mean ± spread over things and seeds."""
    lines = [f"| method | words | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for method, some in by_method(rows).items():
        cells = [
            spread([read(row) for row in some], DIGITS.get(n, 3)) for n, read in COLUMNS.items()
        ]
        lines.append(f"| {method} | {len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gaps_by_word(rows: Sequence[Row]) -> str:
    """A line per thing, a column per trainer: the gap closed, mean over seeds."""
    trained = by_method(row for row in rows if row.steps)
    lines = [f"| word | {' | '.join(trained)} |", "|---" * (len(trained) + 1) + "|"]
    for thing in dict.fromkeys(row.thing for some in trained.values() for row in some):
        gaps = [[r.marks.gap for r in some if r.thing == thing] for some in trained.values()]
        cells = [mean(some, 3) for some in gaps]
        lines.append(f"| {thing} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ways_of(rows: Sequence[Row]) -> Iterator[str]:
    """The gap closed after seconds and steps, mean over the words that a peer and ours learned."""
    losses = {(row.thing, row.method): row.marks.loss for row in rows if not row.steps}
    ends = {
        thing: (losses[thing, "initializer"], last)
        for (thing, name), last in losses.items()
        if name == "truth" and (thing, "initializer") in losses
    }
    learned = by_method(row for row in rows if row.steps and row.thing in ends)
    for method, theirs in learned.items():
        pairs = [] if method.startswith(OURS) else paired(learned.get(OURS, []), theirs)
        if pairs:
            yield f"{method}, {len(pairs)} words: {way([other for _, other in pairs], ends)}"
            yield f"ours, the same words: {way([one for one, _ in pairs], ends)}"


def way(rows: Sequence[Row], ends: Mapping[str, tuple[float, float]]) -> str:
    """The mean curve of a method's words, at the steps that all of them have; `ends` are the losses
    of each thing's initializer and true description.
    """
    points: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        first, last = ends[row.thing]
        for step, (seconds, loss) in {step: point for step, *point in row.curve}.items():
            points.setdefault(step, []).append((seconds, (first - loss) / (first - last)))
    return ", ".join(
        f"{fmean(gaps):.2f} at {fmean(seconds):.0f} s ({step})"
        for step, found in points.items()
        if len(found) == len(rows)
        for seconds, gaps in [zip(*found, strict=True)]
    )


def paired(ours: Sequence[Row], theirs: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The words that both have learned from the same images."""
    known = {(row.thing, row.seed): row for row in ours}
    return [(known[key], row) for row in theirs if (key := (row.thing, row.seed)) in known]


def mean(values: Iterable[float | None], digits: int) -> str:
    """Mean of those that are known."""
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if known else ""


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each method, in the order of their first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return found


def spread(values: Iterable[float | None], digits: int) -> str:
    """Mean ± standard deviation of those that are known."""
    known = [value for value in values if value is not None]
    return f"{mean(known, digits)} ± {pstdev(known):.{digits}f}" if known else ""


# Goals


def goals(rows: Sequence[Row]) -> list[str]:
    """How far ours has come, on words that were learned by both where it is compared."""
    ours = [row for row in rows if row.method == OURS]
    found = []
    if gaps := [row.marks.gap for row in ours if row.marks.gap is not None]:
        found.append(reached("Gap closed", fmean(gaps), GAP, ".3f"))
        found.append(reached("Most steps", max(row.steps for row in ours), MOST_STEPS, ".0f", True))
        longest = max(row.seconds for row in ours)
        found.append(reached("Longest training, s", longest, MOST_SECONDS, ".0f", True))
    for method, theirs in by_method(row for row in rows if row.steps).items():
        if not method.startswith(OURS):
            found += compared(ours, theirs, method)
    return found


def reached(what: str, value: float, goal: float, form: str, most: bool = False) -> str:
    """A figure beside its goal."""
    good = value <= goal if most else value >= goal
    sign = "at most" if most else "at least"
    return f"{what}: {value:{form}} (goal: {sign} {goal:{form}}): {'reached' if good else 'missed'}"


def compared(ours: Sequence[Row], theirs: Sequence[Row], method: str) -> list[str]:
    """Speed and editability against a peer, word by word."""
    pairs = paired(ours, theirs)
    if not pairs:
        return []
    times = [time_to(one.curve, other.marks.loss) for one, other in pairs]
    ratios = [
        other.seconds / spent if spent else 0.0  # never there
        for spent, (_, other) in zip(times, pairs, strict=True)
    ]
    share = f"{sum(map(bool, ratios))} of {len(pairs)} words"
    faster = f"Times faster to it than '{method}', median (0 where never)"
    found = [
        f"Ours reaches the last loss of '{method}' for {share}",
        reached(faster, median(ratios), FASTER, ".1f"),
    ]
    edits = fmean(one.marks.edit - other.marks.edit for one, other in pairs)
    concepts = fmean(one.marks.concept - other.marks.concept for one, other in pairs)
    found.append(reached(f"Edits, ours minus '{method}'", edits, EDITS, ".3f"))
    found.append(reached(f"Concept, ours minus '{method}'", concepts, 0.0, ".3f"))
    return found


def time_to(curve: Iterable[tuple[int, float, float]], loss: float) -> float | None:
    """Seconds until a curve is at a loss or below; None if it never is."""
    return next((seconds for _, seconds, found in curve if found <= loss), None)


# Images


def sheet(rows: Sequence[Row]) -> Image.Image:
    """A line of images per thing: one to learn from, then for each method the word alone and an
    edit, all of the first seed.
    """
    places = cells(rows)
    boxes = [box for place in places.values() for box in place.values()]
    size = (max(box[2] for box in boxes), max(box[3] for box in boxes)) if boxes else (LEFT, HEAD)
    drawn = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(drawn)
    draw.text((LEFT, 2), "to learn from", "black")
    for row in rows:
        if row.key not in places:
            continue
        place = places[row.key]
        draw.text((place["alone"][0], 2), f"{row.method}: alone, on sand", "black")
        draw.text((2, place["shown"][1] + SIDE // 2), row.thing, "black")
        for name, box in place.items():
            drawn.paste(larger(getattr(row, name)), box)
    return drawn


def cells(rows: Sequence[Row]) -> dict[Key, dict[str, tuple[int, int, int, int]]]:
    """Where the images of the rows of the first seed are in the sheet, by their names."""
    first = [row for row in rows if row.seed == 0]
    things, methods = list(dict.fromkeys(row.thing for row in first)), list(by_method(first))
    found = {}
    for row in first:
        top, column = HEAD + SIDE * things.index(row.thing), 1 + 2 * methods.index(row.method)
        lefts = (LEFT, LEFT + SIDE * column, LEFT + SIDE * (column + 1))
        boxes = [(left, top, left + SIDE, top + SIDE) for left in lefts]
        found[row.key] = dict(zip(IMAGES, boxes, strict=True))
    return found


def larger(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
