"""The figures of the benchmark of learning."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from learning_report import (
    Marks,
    Row,
    earlier,
    gaps_by_word,
    goals,
    joined,
    sheet,
    spread,
    table,
    time_to,
    ways_of,
    write,
)
from PIL import Image

from toyworld.worlds import TOYWORLD

SETTING = {"device": "a test"}
CURVE = ((10, 2.0, 0.5), (20, 4.0, 0.4), (40, 8.0, 0.41))


def row(method: str = "ours", thing: int = 0, **changes: Any) -> Row:
    marks = Marks(0.4, 0.95, 0.9, 0.8, 0.7, 0.6)._replace(
        **{name: changes.pop(name) for name in list(changes) if name in Marks._fields}
    )
    image = Image.new("RGB", (64, 64), "red")
    rest = {"seed": 0, "steps": 40, "seconds": 8.0, "norm": 0.4, "curve": CURVE} | changes
    name = " ".join(TOYWORLD.held_out[thing])
    return Row(thing=name, method=method, marks=marks, **rest, **dict.fromkeys(IMAGES, image))


IMAGES = ("shown", "alone", "edited")


@pytest.mark.parametrize(("loss", "seconds"), [(0.6, 2.0), (0.45, 4.0), (0.4, 4.0), (0.39, None)])
def test_the_time_to_a_loss_is_that_of_the_first_point_that_reaches_it(
    loss: float, seconds: float | None
):
    assert time_to(CURVE, loss) == seconds


def test_the_spread_leaves_out_what_is_not_known():
    assert spread([1.0, None, 3.0], 1) == "2.0 ± 1.0"
    assert spread([None], 1) == ""


def test_the_table_has_a_line_per_method():
    lines = table([row(), row(thing=1, gap=0.85), row("diffusers, 0.0005")]).splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| ours", "2"],
        ["| diffusers, 0.0005", "1"],
    ]
    assert "0.900 ± 0.050" in lines[2]


def test_the_goals_compare_ours_with_a_peer_on_the_words_that_both_learned():
    peer = row("diffusers, 0.0005", loss=0.45, seconds=60.0, edit=0.4, concept=0.8)
    found = goals([row(), row(thing=1, gap=0.75, steps=500), peer])
    assert found == [
        "Gap closed: 0.850 (goal: at least 0.900): missed",
        "Most steps: 500 (goal: at most 400): missed",
        "Longest training, s: 8 (goal: at most 180): reached",
        "Ours reaches the last loss of 'diffusers, 0.0005' for 1 of 1 words",
        "Times faster to it than 'diffusers, 0.0005', median (0 where never): 15.0 "
        "(goal: at least 10.0): reached",
        "Edits, ours minus 'diffusers, 0.0005': 0.200 (goal: at least 0.100): reached",
        "Concept, ours minus 'diffusers, 0.0005': 0.100 (goal: at least 0.000): reached",
    ]


def test_a_loss_that_ours_never_reaches_counts_as_no_speed_at_all():
    peers = [row("diffusers, 0.0005", seconds=80.0), row("diffusers, 0.0005", 1, loss=0.1)]
    found = goals([row(), row(thing=1), *peers])
    assert "Ours reaches the last loss of 'diffusers, 0.0005' for 1 of 2 words" in found
    (line,) = (line for line in found if line.startswith("Times faster"))
    assert line.endswith("median (0 where never): 10.0 (goal: at least 10.0): reached")


def test_everything_is_written(tmp_path: Path):
    rows = [row("initializer", gap=None, norm=None, steps=0, seconds=0.0, curve=()), row()]
    write(rows, tmp_path, SETTING)
    facts = json.loads((tmp_path / "learning.json").read_text())
    assert facts["setting"] == SETTING
    assert facts["rows"][1]["marks"]["gap"] == 0.95 and facts["rows"][1]["curve"][0] == [10, 2, 0.5]
    assert "| initializer | 1 |" in (tmp_path / "learning.md").read_text()
    with Image.open(tmp_path / "learning.png") as sheet:
        assert sheet.size == (130 + 5 * 128, 16 + 128)


def test_words_are_taken_over_from_earlier_results_with_their_images(tmp_path: Path):
    blue = Image.new("RGB", (64, 64), "blue")
    rows = [row("truth", thing=1), replace(row(thing=2), edited=blue), row(seed=1)]
    write(rows, tmp_path, SETTING)
    again = earlier(tmp_path, SETTING)
    assert [one.key for one in again] == [one.key for one in rows]
    assert [one.marks for one in again] == [one.marks for one in rows]
    assert sheet(again).tobytes() == sheet(rows).tobytes()
    with pytest.raises(ValueError, match="was measured with"):
        earlier(tmp_path, SETTING | {"device": "another one"})


def test_a_word_in_two_results_is_counted_once(tmp_path: Path):
    known, again = tmp_path / "known", tmp_path / "again"
    write([row("truth"), row(gap=0.1)], known, SETTING)
    write([row(gap=0.2), row(thing=2)], again, SETTING)
    rows = joined([known, again], SETTING)
    assert [one.key for one in rows] == [one.key for one in (row("truth"), row(), row(thing=2))]
    assert rows[1].marks.gap == 0.2


def test_words_stand_beside_each_other_by_trainer():
    rows = [row("truth", steps=0), row(gap=0.1), row(gap=0.3, seed=1), row("adamw", thing=1)]
    assert gaps_by_word(rows).splitlines()[0] == "| word | ours | adamw |"
    assert gaps_by_word(rows).splitlines()[2:] == [
        f"| {' '.join(TOYWORLD.held_out[0])} | 0.200 |  |",
        f"| {' '.join(TOYWORLD.held_out[1])} |  | 0.950 |",
    ]


def test_the_way_is_the_mean_over_the_words_of_both():
    """Of the steps that all of them have; a word that only one has learned is left out."""
    ends = [
        row(name, thing=thing, steps=0, loss=loss)
        for thing in (0, 1)
        for name, loss in (("initializer", 1.0), ("truth", 0.2))
    ]
    peers = [
        row("kohya", curve=((5, 1.0, 0.6), (10, 2.0, 0.6))),
        row("kohya", thing=1, curve=((10, 4.0, 0.2),)),
    ]
    alone = row("diffusers", thing=2)
    assert list(ways_of([*ends, row(), row(thing=1), *peers, alone])) == [
        "kohya, 2 words: 0.75 at 3 s (10)",
        "ours, the same words: 0.62 at 2 s (10), 0.75 at 4 s (20), 0.74 at 8 s (40)",
    ]
