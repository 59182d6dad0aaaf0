"""Does a word that was learned on a base model work on its turbo model?

    COMFYUI_PATH=... python benchmarks/turbo.py [--half report] [--things N] [--set INPUT=VALUE]

Learns words for compositions of flowworld on its flow model with the nodes' defaults, and lets both
models draw them: the flow model in 25 steps with guidance, the turbo model in 4 without. The
initializer and the true description are drawn too. Writes turbo.md and .png into
benchmarks/results/flowworld.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

import torch  # noqa: E402, I001
from examination import PLACEHOLDER, Exam, Models, Spoken, questions  # noqa: E402
from learning import half_of, pair  # noqa: E402
from toyworld import assembly, gate  # noqa: E402
from toyworld.worlds import FLOWWORLD  # noqa: E402
from trainers import Subject, node_inputs, our_training  # noqa: E402

SAID = ("initializer", "true description", "learned word")


class Drawn(NamedTuple):
    """What a model draws of a word."""

    thing: str
    said: str
    model: str
    concept: float
    edit: float
    image: Any


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=99, help="at most so many")
    parser.add_argument("--set", nargs="*", default=[], metavar="INPUT=VALUE", type=pair)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "flowworld")
    chosen = parser.parse_args()
    files = assembly.assembled("flowworld")
    rows: list[Drawn] = []
    with torch.inference_mode():  # As the host runs its nodes.
        models = Models(*gate.loaded(files))
        turbo = models._replace(model=gate.loaded(files, turbo=True)[0])
        for _, thing in half_of(FLOWWORLD.held_out, chosen.half, chosen.things):
            exam = Exam(models, FLOWWORLD, thing, questions(FLOWWORLD, 4, True))
            rows += drawn(exam, turbo, dict(chosen.set))
            write(rows, dict(chosen.set), chosen.out)
            print(rows[-2][:-1], rows[-1][:-1], flush=True)
    print((chosen.out / "turbo.md").read_text())


def drawn(exam: Exam, turbo: Models, changed: Mapping[str, str]) -> Iterator[Drawn]:
    """What both models draw of a thing's initializer, true description, and word."""
    word = our_training(exam.models, Subject(exam, 0), exam.initializer, node_inputs(changed))
    learned = Spoken(PLACEHOLDER, word[-1].vectors)
    spoken = (Spoken(exam.initializer), Spoken(exam.truth or ""), learned)
    exams = {"flow": exam, "turbo": replace(exam, models=turbo, sampling=gate.TURBO)}
    for said, words in zip(SAID, spoken, strict=True):
        for model, one in exams.items():
            marks, alone, _ = one.mark(words)
            yield Drawn(exam.name, said, model, marks.concept, marks.edit, alone)


def write(rows: Sequence[Drawn], changed: Mapping[str, str], out: Path) -> None:
    """Write the means as a table, and a line of images for each thing."""
    out.mkdir(parents=True, exist_ok=True)
    things = list(dict.fromkeys(row.thing for row in rows))
    lines = [
        "| | concept, flow | edit, flow | concept, turbo | edit, turbo |",
        "|---|---|---|---|---|",
    ]
    for said in SAID:
        cells = [
            fmean(getattr(row, mark) for row in rows if (row.said, row.model) == (said, model))
            for model in ("flow", "turbo")
            for mark in ("concept", "edit")
        ]
        lines.append(f"| {said} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    settings = ", ".join(f"{name} {value}" for name, value in changed.items()) or "the defaults"
    lines += ["", f"Learned on the flow model with {settings}: {', '.join(things)}."]
    (out / "turbo.md").write_text("\n".join(lines) + "\n")
    gate.contact_sheet([row.image for row in rows], 6).save(out / "turbo.png", optimize=True)


if __name__ == "__main__":
    main()
