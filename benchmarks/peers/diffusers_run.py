"""Train with diffusers' own `textual_inversion.py`, in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LAUNCHER = Path(__file__).with_name("diffusers_launch.py")
REPO = Path(__file__).resolve().parents[2]
SCRIPT = Path("examples", "textual_inversion", "textual_inversion.py")
# The script's README, but for the resolution, which is toyworld's, and for four pictures at a time
# where it accumulates four single ones: the same gradient and learning rate, in less time.
README_STEPS, README_RATE = 3000, 5e-4
README = (
    "--learnable_property=object",
    "--resolution=64",
    "--train_batch_size=4",
    "--gradient_accumulation_steps=1",
    "--scale_lr",
    "--lr_scheduler=constant",
    "--lr_warmup_steps=0",
)
POINTS = 12  # of the curve, evenly over the steps
FEWEST_STEPS = 2 * POINTS


@dataclass(frozen=True)
class Task:
    """What to train: pictures and word; `pipeline` as `write_pipeline` makes it."""

    pipeline: Path
    pictures: Path
    initialiser: str
    seed: int


class Saved(NamedTuple):
    """The word after some steps: its file, and the seconds that they took."""

    step: int
    seconds: float
    file: Path


def train(checkout: Path, task: Task, steps: int, rate: float, out: Path) -> list[Saved]:
    """Run the script, unless `out` has its result already; the words that it saved on its way, the
    last one last. Seconds are those of the steps, without imports and loading. Raises RuntimeError
    with the end of its output if it fails.
    """
    if steps < FEWEST_STEPS:
        raise ValueError(f"{steps} steps are too few for a curve; use {FEWEST_STEPS} or more.")
    if not (out / "learned_embeds.safetensors").exists():
        run(checkout, task, steps, rate, out)
    files = {int(file.stem.rsplit("-", 1)[1]): file for file in out.glob("learned_embeds-steps-*")}
    first, last = min(files), max(files)
    times = {step: file.stat().st_mtime for step, file in files.items()}
    pace = (times[last] - times[first]) / (last - first)
    saved = [Saved(step, step * pace, files[step]) for step in sorted(files)]
    return [*saved, Saved(steps, steps * pace, out / "learned_embeds.safetensors")]


def run(checkout: Path, task: Task, steps: int, rate: float, out: Path) -> None:
    """The script as its README calls it."""
    command = [
        *(sys.executable, LAUNCHER, checkout / SCRIPT, *README),
        f"--pretrained_model_name_or_path={task.pipeline}",
        f"--train_data_dir={task.pictures}",
        f"--initializer_token={task.initialiser}",
        f"--seed={task.seed}",
        f"--max_train_steps={steps}",
        f"--learning_rate={rate}",
        f"--save_steps={steps // POINTS}",
        f"--output_dir={out}",
        "--placeholder_token=<toyword>",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPO), "HF_HUB_OFFLINE": "1"}
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob("learned_embeds-steps-*"):  # by a run that was broken off
        left.unlink()
    log = out / "output.txt"
    with log.open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=output, env=environment)
    if done.returncode:
        end = log.read_text()[-2000:]
        raise RuntimeError(
            f"diffusers' script failed. It needs `pip install diffusers accelerate`. {end}"
        )
