"""Does the automatic stop come when nothing more is learned?

    COMFYUI_PATH=... python benchmarks/stopping.py [--half report] [--things N] [--set INPUT=VALUE]

Trains words for compositions of toyworld to the last of 1,000 steps, with the nodes' defaults but
without the automatic stop, and asks the rule afterwards where it would have ended: how many steps
that saves, and how much of what there was to learn was learned by then. Writes stopping.md and
.json into benchmarks/results.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

import torch  # noqa: E402, I001
from examination import Exam, Models, questions  # noqa: E402
from learning import assembled, half_of, pair  # noqa: E402
from toyworld import gate, world  # noqa: E402
from trainers import Subject, node_inputs, trained  # noqa: E402

from ti_core.state import RunState  # noqa: E402
from ti_core.stopping import StoppingRule, Validation, best_of, nothing_more  # noqa: E402

RESULTS = REPO / "benchmarks" / "results"
FIXED = {"steps": "1000", "auto_stop": "False"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=12, help="at most so many")
    parser.add_argument("--checkpoint", type=Path, help="toyworld's; assembled if not given")
    parser.add_argument("--set", nargs="*", default=[], metavar="INPUT=VALUE", type=pair)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    inputs = node_inputs(FIXED | dict(chosen.set))
    rows = []
    with torch.inference_mode():  # As the host runs its nodes.
        models = Models(*gate.loaded(chosen.checkpoint or assembled()))
        for _, thing in half_of(world.HELD_OUT, chosen.half, chosen.things):
            exam = Exam(models, thing, questions(1, False))
            states: list[RunState] = []
            trained(models, Subject(exam, 0), exam.initialiser, inputs, states.append)
            rows.append({"thing": exam.name, **judged(states[-1].validations)})
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "history"}), flush=True)
            write(rows, dict(chosen.set), chosen.out)


def judged(history: Sequence[Validation]) -> dict[str, Any]:
    """Where the rule ends a run with that history, beside where its best was."""
    ends = (cut for cut in range(1, len(history)) if nothing_more(history[:cut], StoppingRule()))
    seen = history[: next(ends, len(history))]
    fallen = history[0].loss - best_of(history).loss
    return {
        "stopped": seen[-1].step,
        "kept": best_of(seen).step,
        "best": best_of(history).step,
        "learned": (history[0].loss - best_of(seen).loss) / fallen if fallen else 1.0,
        "history": [list(one) for one in history],
    }


def write(rows: Sequence[Mapping[str, Any]], changed: Mapping[str, str], out: Path) -> None:
    """Write the figures of all words, and their mean."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {"rule": vars(StoppingRule()), "set": changed, "rows": rows}
    (out / "stopping.json").write_text(json.dumps(facts) + "\n")
    columns = ("stopped", "kept", "best", "learned")
    lines = [f"Rule: {vars(StoppingRule())}; set: {changed or 'the defaults'}", ""]
    lines += [f"| word | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in (*rows, {"thing": "mean", **{c: fmean(r[c] for r in rows) for c in columns}}):
        cells = [f"{row[c]:.3f}" if c == "learned" else f"{row[c]:.0f}" for c in columns]
        lines.append(f"| {row['thing']} | {' | '.join(cells)} |")
    (out / "stopping.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
