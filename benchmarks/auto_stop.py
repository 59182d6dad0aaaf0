"""Does the automatic stop come when nothing more is learned?

    COMFYUI_PATH=... python benchmarks/auto_stop.py [--half report] [--things N] [--set INPUT=VALUE]

Trains words for compositions of toyworld with the nodes' defaults and at most 1,000 steps: with the
automatic stop, and (the first of them, `--full`) to the last step too. Reports the steps, and how
much of the gap between the initializer and the true description is closed on fresh images.
`--add` takes words over from earlier results, which are not learned again. Writes stopping.md and
.json into benchmarks/results.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

import torch  # noqa: E402, I001
from examination import PLACEHOLDER, Exam, Models, Spoken, questions  # noqa: E402
from learning import half_of, pair  # noqa: E402
from toyworld import assembly, gate  # noqa: E402
from toyworld.worlds import TOYWORLD  # noqa: E402
from trainers import Subject, node_inputs, trained  # noqa: E402

RESULTS = REPO / "benchmarks" / "results"
MOST = 1000
SLACK = 0.05  # of the gap
COLUMNS = {
    "stopped at": ("steps", ".0f"),
    "gap closed": ("gap", ".3f"),
    f"by {MOST} steps": ("full_gap", ".3f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=12, help="at most so many")
    parser.add_argument("--full", type=int, default=12, help="to the last step, at most so many")
    parser.add_argument("--checkpoint", type=Path, help="toyworld's; assembled if not given")
    parser.add_argument("--set", nargs="*", default=[], metavar="INPUT=VALUE", type=pair)
    parser.add_argument("--add", nargs="*", type=Path, default=[], help="results of this same code")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [row for folder in chosen.add for row in earlier(folder, dict(chosen.set))]
    known = {row["thing"] for row in rows}
    if rows:
        write(rows, dict(chosen.set), chosen.out)
    with torch.inference_mode():  # As the host runs its nodes.
        models = Models(*gate.loaded(chosen.checkpoint or assembly.assembled("toyworld")))
        for number, thing in half_of(TOYWORLD.held_out, chosen.half, chosen.things):
            exam = Exam(models, TOYWORLD, thing, questions(TOYWORLD, 1, False))
            if exam.name in known:
                continue
            steps, seconds, gap = learned(exam, chosen.set, True)
            rows.append({"thing": exam.name, "steps": steps, "gap": gap, "seconds": seconds})
            if number < chosen.full:
                full_steps, full_seconds, full_gap = learned(exam, chosen.set, False)
                assert full_steps == MOST
                rows[-1] |= {"full_gap": full_gap, "full_seconds": full_seconds}
            print(json.dumps(rows[-1]), flush=True)
            write(rows, dict(chosen.set), chosen.out)


def earlier(folder: Path, changed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows that were written there; ValueError if they were measured with other inputs."""
    facts = json.loads((folder / "stopping.json").read_text())
    if facts["set"] != changed:
        raise ValueError(f"{folder} was measured with {facts['set']}, not with {changed}.")
    return facts["rows"]


def learned(
    exam: Exam, changed: Sequence[tuple[str, str]], stops: bool
) -> tuple[int, float, float | None]:
    """Steps and seconds of a training, and the gap that its word closes."""
    inputs = node_inputs({"steps": str(MOST), "auto_stop": str(stops)} | dict(changed))
    started = time.perf_counter()
    subject = Subject(exam, 0)
    word = trained(exam.models, subject, exam.initializer, inputs, lambda state: None)
    seconds = time.perf_counter() - started
    steps: Any = word.provenance["steps"]
    (loss,) = exam.losses([Spoken(PLACEHOLDER, word.vectors)])
    return steps, seconds, exam.gap(loss)


def write(rows: Sequence[Mapping[str, Any]], changed: Mapping[str, str], out: Path) -> None:
    """Write the figures of all words, their mean, and what the stop saved and lost."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "stopping.json").write_text(json.dumps({"set": changed, "rows": rows}, indent=1) + "\n")
    lines = [f"| word | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    known = {name: [row[name] for row in rows if name in row] for name, _ in COLUMNS.values()}
    mean = {name: fmean(values) for name, values in known.items() if len(values) == len(rows)}
    for row in (*rows, {"thing": "mean", **mean}):
        cells = [format(row[n], form) if n in row else "" for n, form in COLUMNS.values()]
        lines.append(f"| {row['thing']} | {' | '.join(cells)} |")
    saved = 1 - mean["steps"] / MOST
    full = [row for row in rows if "full_gap" in row]
    near = sum(row["gap"] >= row["full_gap"] - SLACK for row in full)
    lines += [
        "",
        f"{torch.get_num_threads()} threads; set: {changed or 'the defaults'}. "
        f"Steps saved: {saved:.0%}. "
        f"Not more than {SLACK} of the gap behind {MOST} steps: {near} of {len(full)} words.",
    ]
    (out / "stopping.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
