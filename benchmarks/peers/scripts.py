"""Train with other trainers' own scripts, each run in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE, REPO = Path(__file__).parent, Path(__file__).resolve().parents[2]
WORD = "toyword"
TEMPLATES = "TI_BENCHMARK_TEMPLATES"  # hands a task's to its launcher, one a line
POINTS = 12  # of the curve, evenly over the steps
FEWEST_STEPS = 2 * POINTS


@dataclass(frozen=True)
class Task:
    """What to train: images and word; `pipeline` as `write_pipeline` makes it; `templates` to be
    read in place of the script's own.
    """

    pipeline: Path
    images: Path
    initializer: str
    seed: int
    templates: tuple[str, ...] = ()


class ImageRecipe(NamedTuple):
    """How to train, and after how many steps each time the word is saved: else twelve times."""

    steps: int
    rate: float
    saved: int = 0

    @property
    def every(self) -> int:
        """Steps from one saved word to the next."""
        return self.saved or self.steps // POINTS


class Saved(NamedTuple):
    """The word after some steps: its file, and the seconds that they took."""

    step: int
    seconds: float
    file: Path


@dataclass(frozen=True)
class Script:
    """A trainer's script: the file that starts it here, what it saves words as, the recipe of its
    documentation, the arguments that make it follow one, and the samples of its step.
    """

    name: str
    launcher: Path
    stem: str
    documented: ImageRecipe
    arguments: Callable[[Task, ImageRecipe, Path], list[str]]
    batch: int

    def train(self, checkout: Path, task: Task, recipe: ImageRecipe, out: Path) -> list[Saved]:
        """Run it, unless `out` has its result already; the words that it saved on its way, the last
        one last. Seconds are those of the steps, without imports and loading. Raises RuntimeError
        with the end of its output if it fails.
        """
        if not recipe.saved and recipe.steps < FEWEST_STEPS:
            raise ValueError(
                f"{recipe.steps} steps are too few for a curve; use {FEWEST_STEPS} or more."
            )
        last = out / f"{self.stem}.safetensors"
        if not last.exists():
            self.run(checkout, task, recipe, out)
        files = {step_of(file): file for file in out.glob(f"{self.stem}-step*")}
        ends = min(files), max(files)
        begun, ended = (files[step].stat().st_mtime for step in ends)
        pace = (ended - begun) / (ends[1] - ends[0])
        saved = [Saved(step, step * pace, files[step]) for step in sorted(files)]
        return [*saved, Saved(recipe.steps, recipe.steps * pace, last)]

    def run(self, checkout: Path, task: Task, recipe: ImageRecipe, out: Path) -> None:
        """With the Python of the checkout's `venv`, where it has one."""
        own = checkout / "venv" / "bin" / "python"
        python = own if own.exists() else Path(sys.executable)
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{self.stem}-step*"):  # by a run that was broken off
            left.unlink()
        command = [python, self.launcher, checkout, *self.arguments(task, recipe, out)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (REPO, HERE.parent))),
            "HF_HUB_OFFLINE": "1",
            TEMPLATES: "\n".join(task.templates),
        }
        log = out / "output.txt"
        with log.open("w") as output:
            done = subprocess.run(command, stdout=output, stderr=output, env=environment)
        if done.returncode:
            raise RuntimeError(
                f"The script of {self.name} failed; {python} needs the packages that the script's "
                f"own instructions name. {log.read_text()[-2000:]}"
            )


def given_templates() -> list[str]:
    """For a launcher: the sentences that its script is to read; none if it reads its own."""
    return os.environ.get(TEMPLATES, "").splitlines()


def step_of(file: Path) -> int:
    """The number at the end of a file's name: `word-steps-250`, `word-step00000250`."""
    return int("".join(c for c in file.stem.rsplit("-", 1)[1] if c.isdigit()))


def diffusers_arguments(task: Task, recipe: ImageRecipe, out: Path) -> list[str]:
    """Those of its README, but for the resolution, which is toyworld's, and for four images at a
    time where it accumulates four single ones: the same gradient and learning rate, in less time.
    """
    return [
        "--learnable_property=object",
        "--resolution=64",
        "--train_batch_size=4",
        "--gradient_accumulation_steps=1",
        "--scale_lr",
        "--lr_scheduler=constant",
        "--lr_warmup_steps=0",
        f"--pretrained_model_name_or_path={task.pipeline}",
        f"--train_data_dir={task.images}",
        f"--placeholder_token=<{WORD}>",
        f"--initializer_token={task.initializer}",
        f"--seed={task.seed}",
        f"--max_train_steps={recipe.steps}",
        f"--learning_rate={recipe.rate}",
        f"--save_steps={recipe.every}",
        f"--output_dir={out}",
    ]


def kohya_arguments(task: Task, recipe: ImageRecipe, out: Path) -> list[str]:
    """Those of its documentation, but for one vector, the resolution, and what a CPU has not: eight
    bits in AdamW and fp16. The templates stand for captions. What it would download is laid out.
    """
    tokenizers, dataset = out / "tokenizers", out / "dataset.toml"
    name = "openai_clip-vit-large-patch14"
    shutil.copytree(task.pipeline / "tokenizer", tokenizers / name, dirs_exist_ok=True)
    dataset.write_text(
        "[[datasets]]\nresolution = 64\nbatch_size = 1\n\n[[datasets.subsets]]\nnum_repeats = 20\n"
        f'image_dir = "{task.images.as_posix()}"\nclass_tokens = "{WORD}"\n'
    )
    return [
        f"--dataset_config={dataset}",
        "--use_object_template",
        "--optimizer_type=AdamW",
        "--cache_latents",
        "--max_data_loader_n_workers=1",
        "--persistent_data_loader_workers",
        f"--pretrained_model_name_or_path={task.pipeline}",
        f"--tokenizer_cache_dir={tokenizers}",
        f"--token_string={WORD}",
        f"--init_word={task.initializer}",
        f"--seed={task.seed}",
        f"--max_train_steps={recipe.steps}",
        f"--learning_rate={recipe.rate}",
        f"--save_every_n_steps={recipe.every}",
        "--save_model_as=safetensors",
        f"--output_dir={out}",
        f"--output_name={WORD}",
    ]


DIFFUSERS = Script(
    "diffusers",
    HERE / "diffusers_launch.py",
    "learned_embeds",
    ImageRecipe(3000, 5e-4),
    diffusers_arguments,
    batch=4,
)
KOHYA = Script(
    "kohya", HERE / "kohya_launch.py", WORD, ImageRecipe(1600, 1e-6), kohya_arguments, batch=1
)
ALL = (DIFFUSERS, KOHYA)
