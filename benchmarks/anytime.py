"""What does a run give that ends early? The word after so many steps, as it grows.

    COMFYUI_PATH=... python benchmarks/anytime.py [--world NAME] [--things N] [--seeds N]
        [--captions | --auto-captions [--init-words] | --diffusers DIR, or --kohya DIR, with
        --rate R]

Each word is learned with the defaults of the nodes (and `--set`): first a run of the fewest steps,
then the same run with more, as somebody does who queues it again; what Stop and keep gives after
that step, and what a run gives that was planned so, is the same word (tests hold it). Its loss on
20 fresh images says how much of the gap between the initializer and the true description it has
closed, and that of the run's own validation how well the run itself can tell. `--captions` are of
each image, and say all but the thing: size, place and background; `--auto-captions` those that the
model itself finds among all that its world can say. With `--init-words` the word starts at the
color and texture, in front of the shape, that the model finds among those of its world, with a
vector for each token, at the learning rate that **Find Init Word** gives. What is found counts in
the seconds. `--nameless` takes things with a look that no word names; they have no true
description, so what is given is the share of the initializer's loss that is gone. Another trainer's
script, of a checkout as for learning.py, runs to the last of the steps at that rate and reads our
templates, which toyworld's captions were made from. Writes anytime-WORLD.json and .md (or
anytime-WORLD-captions, anytime-WORLD-SCRIPT-RATE) into `--out`, adding to what is there of the same
setting.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

# isort: off
from examination import PLACEHOLDER, Exam, Models, Spoken, save_images  # noqa: E402 (finds the host)

# isort: on
import folder_paths  # noqa: E402
import torch  # noqa: E402
from image_reading import fragments_of, looks_of  # noqa: E402
from learning import WORK, half_of, pair, sha  # noqa: E402
from peers import scripts  # noqa: E402
from peers.scripts import ImageRecipe, Script, Task  # noqa: E402
from trainers import Subject, converted, node_inputs, trained  # noqa: E402

from ti_core.concept.templates import OBJECT_TEMPLATES  # noqa: E402
from ti_core.host.auto_captions import captioned  # noqa: E402
from ti_core.host.init_words import BARE_RATE, DESCRIBED_RATE, described  # noqa: E402
from ti_core.host.models.text import create_embedding  # noqa: E402
from ti_core.training.image_reader import ReadingSettings  # noqa: E402
from ti_core.word.formats import read_embedding  # noqa: E402
from toyworld import assembly, gate  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

STEPS = (10, 25, 50, 100, 200, 400)


@dataclass(frozen=True)
class Point:
    """A word after some steps: seconds of training, the share of the gap that is closed, the loss
    on fresh images, and the run's own validation.
    """

    thing: str
    seed: int
    steps: int
    seconds: float
    gap: float
    fresh: float
    validation: float | None = None
    passes: int = 0  # of the model without a gradient, to find captions and words


def main() -> None:
    chosen = arguments()
    setting = {"world": chosen.world, "half": chosen.half, "set": dict(chosen.set)}
    script = next((one for one in scripts.ALL if getattr(chosen, one.name)), None)
    name = f"anytime-{chosen.world}"
    if chosen.captions:
        setting |= {"captions": True}
        name += "-captions"
    if chosen.auto_captions:
        setting |= {"captions": "found by the model"}
        name += "-auto-captions"
    if chosen.init_words:
        setting |= {"init words": "found by the model"}
        name += "-init-words"
    if chosen.nameless:
        setting |= {"things": "nameless"}
        name += "-nameless"
    if script:
        setting |= {"script": script.name, "rate": chosen.rate}
        name += f"-{script.name}-{chosen.rate:g}"
    file = chosen.out / f"{name}.json"
    points = earlier(file, setting)
    known = {(one.thing, one.seed) for one in points}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as user:
        folder_paths.set_user_directory(user)
        files = chosen.files or assembly.assembled(chosen.world)
        models = Models(*gate.loaded(files))
        world = WORLDS[chosen.world]
        pipeline = converted(models, files, WORK / sha(files)) if script else Path()
        for seed in range(chosen.seeds):
            things = world.nameless if chosen.nameless else world.held_out
            for _, thing in half_of(things, chosen.half, chosen.things):
                exam = Exam(models, world, thing, ())
                if (exam.name, seed) in known:
                    continue
                subject = Subject(exam, seed, captions=chosen.captions)
                points += (
                    by_script(script, chosen, pipeline, subject)
                    if script
                    else learned(subject, chosen)
                )
                write(points, setting, file)
    print(file.with_suffix(".md").read_text())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--world", choices=WORLDS, default="toyworld")
    parser.add_argument("--files", type=Path, help="of its model; assembled if not given")
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=8, help="at most so many")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS)
    parser.add_argument("--set", nargs="*", default=[], metavar="INPUT=VALUE", type=pair)
    parser.add_argument("--captions", action="store_true", help="that say all but the thing")
    parser.add_argument("--auto-captions", action="store_true", help="that the model finds")
    parser.add_argument("--nameless", action="store_true", help="looks that no word names")
    parser.add_argument("--init-words", action="store_true", help="that the model finds")
    for script in scripts.ALL:
        parser.add_argument(f"--{script.name}", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rate", type=float, help="of the script, before its own scaling")
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results")
    chosen = parser.parse_args()
    if chosen.rate is None and any(getattr(chosen, script.name) for script in scripts.ALL):
        parser.error("another trainer's script needs a --rate")
    return chosen


def learned(subject: Subject, chosen: argparse.Namespace) -> Iterator[Point]:
    """The word of a run after each number of steps."""
    exam, started, passes = subject.exam, time.perf_counter(), 0
    initializer, changed = exam.initializer, dict(chosen.set)
    if chosen.init_words:
        every = (exam.models, subject.images, initializer, looks_of(exam.world))
        told = described(*every, ReadingSettings())
        rate = BARE_RATE if told.words == initializer else DESCRIBED_RATE
        initializer, passes = told.words, told.passes
        changed = {"vectors": "0", "learning_rate": rate, **changed}
    if chosen.auto_captions:
        word = create_embedding(exam.models.clip, PLACEHOLDER, initializer, 0)
        every = (exam.models, subject.images, word, fragments_of(exam.world), "")
        found = captioned(*every, ReadingSettings())
        subject, passes = subject._replace(found=found.concept), passes + found.passes
    for count in chosen.steps:
        inputs = node_inputs({"auto_stop": "False", **changed, "steps": str(count)})
        word = trained(exam.models, subject, initializer, inputs, lambda state: None, "continue")
        seconds = time.perf_counter() - started
        (fresh,) = exam.losses([Spoken(PLACEHOLDER, word.vectors)])
        validated: dict[str, float] = word.provenance["validation_loss"]  # type: ignore[assignment]
        gap = closed(exam, fresh)
        point = Point(
            exam.name, subject.seed, count, seconds, gap, fresh, validated["learned"], passes
        )
        print(json.dumps(asdict(point)), flush=True)
        yield point
        started = time.perf_counter() - seconds  # The judging takes none of the training's time.


def closed(exam: Exam, fresh: float) -> float:
    """The share of the gap that a word has closed, from its loss on fresh images; for what has no
    true description, the share of the initializer's loss that is gone.
    """
    gap = exam.gap(fresh)
    return 1 - fresh / exam.ends[0] if gap is None else gap


def by_script(
    script: Script, chosen: argparse.Namespace, pipeline: Path, subject: Subject
) -> Iterator[Point]:
    """The words of another trainer's run, saved nearest to each number of samples."""
    exam, steps = subject.exam, max(chosen.steps) // script.batch
    folder = (
        pipeline.parent / "anytime" / script.name / f"{exam.name} {subject.seed} {chosen.rate:g}"
    )
    save_images(subject.images, folder / "images")
    task = Task(pipeline, folder / "images", exam.initializer, subject.seed, OBJECT_TEMPLATES)
    saved = script.train(
        getattr(chosen, script.name), task, ImageRecipe(steps, chosen.rate, 1), folder / str(steps)
    )
    for count in chosen.steps:
        one = min(saved, key=lambda one: abs(one.step * script.batch - count))
        (fresh,) = exam.losses([Spoken(PLACEHOLDER, read_embedding(one.file).vectors)])
        gap = closed(exam, fresh)
        point = Point(exam.name, subject.seed, count, one.seconds, gap, fresh)
        print(json.dumps(asdict(point)), flush=True)
        yield point


def earlier(file: Path, setting: Mapping[str, object]) -> list[Point]:
    """The points that were written there; ValueError if they were measured in another setting."""
    if not file.exists():
        return []
    facts = json.loads(file.read_text())
    if facts["setting"] != setting:
        raise ValueError(f"{file} was measured with {facts['setting']}, not with {setting}.")
    return [Point(**one) for one in facts["points"]]


def write(points: Sequence[Point], setting: Mapping[str, object], file: Path) -> None:
    """All points, and the table of their means."""
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"setting": setting, "points": [asdict(one) for one in points]}
    file.write_text(json.dumps(facts, indent=1) + "\n")
    file.with_suffix(".md").write_text(table(points, setting))


def table(points: Sequence[Point], setting: Mapping[str, object]) -> str:
    """Mean, spread and worst word after each number of steps, and how well the validation ranks."""
    by_steps: dict[int, list[Point]] = defaultdict(list)
    for one in points:
        by_steps[one.steps].append(one)
    measure = "loss gone" if "things" in setting else "gap closed"
    lines = [
        f"{setting}, {torch.get_num_threads()} threads",
        "",
        f"| samples | words | {measure} | spread | worst | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for steps, some in sorted(by_steps.items()):
        gaps = [one.gap for one in some]
        lines.append(
            f"| {steps} | {len(some)} | {fmean(gaps):.2f} | {pstdev(gaps):.2f} | {min(gaps):.2f} "
            f"| {fmean(one.seconds for one in some):.0f} |"
        )
    if read := fmean(one.passes for one in points):
        lines += ["", f"What the model found for a word took {read:.0f} forward passes on average."]
    fall = f"Largest fall of a run from one row to the next: {largest_fall(points):.3f}."
    found = [rank for run in runs(points) if (rank := agreement(run)) is not None]
    lines += [
        "",
        f"{fall} Within a run, {fmean(found):.2f} of the pairs of words are ranked by its "
        f"validation as they are by fresh images."
        if found
        else fall,
    ]
    return "\n".join(lines) + "\n"


def runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points of each run, by steps."""
    found: dict[tuple[str, int], list[Point]] = defaultdict(list)
    for one in points:
        found[one.thing, one.seed].append(one)
    return [sorted(run, key=lambda one: one.steps) for run in found.values()]


def largest_fall(points: Sequence[Point]) -> float:
    """What a run lost at most of the gap between two of its points."""
    falls = [a.gap - b.gap for run in runs(points) for a, b in zip(run, run[1:], strict=False)]
    return max(falls, default=0.0)


def agreement(run: Sequence[Point]) -> float | None:
    """The share of pairs that validation and fresh images rank alike; None without any pairs."""
    judged = [(one.validation, one.fresh) for one in run if one.validation is not None]
    pairs = [(a, b) for n, a in enumerate(judged) for b in judged[n + 1 :] if a[0] != b[0]]
    alike = [(a[0] < b[0]) == (a[1] < b[1]) for a, b in pairs]
    return fmean(alike) if alike else None


if __name__ == "__main__":
    main()
