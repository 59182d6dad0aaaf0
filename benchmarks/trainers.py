"""The trainers that benchmarks/learning.py compares: ours, and other trainers' own scripts."""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import examination
import torch
from examination import PLACEHOLDER, Exam, Models
from peers import scripts
from peers.scripts import ImageRecipe, Script, Task
from torch import Tensor

from ti_core.concept.concept import Concept
from ti_core.concept.fit import FitSettings
from ti_core.concept.pixels import in_floats
from ti_core.host.learn import learn
from ti_core.host.models.text import create_embedding
from ti_core.host.run_observer import Unobserved
from ti_core.training.objective import Objective
from ti_core.training.optimizers import METHODS
from ti_core.training.run import RunState
from ti_core.training.schedule import schedule
from ti_core.training.settings import Resume, TrainingSettings
from ti_core.training.stopping import StoppingRule
from ti_core.word.embedding import Embedding
from ti_core.word.formats import read_embedding
from toyworld.worlds import TOYWORLD

REPO = Path(__file__).resolve().parents[1]
OURS = ("ours", "ours, adamw", "ours, from 'thing'", "ours, with masks", "ours, with captions")
CURVE = (12, 25, 50, 75, 100, 150, 200, 300, 400, 600, 1000)
REMEMBERED = 500  # position in the schedule that the scripts' environments are asked about
FIT = "fit."  # begins the names of Crop & Buckets's inputs


class Point(NamedTuple):
    """The word after some steps, and the seconds that they took."""

    step: int
    seconds: float
    vectors: Mapping[str, Tensor]


class Subject(NamedTuple):
    """What is learned: images of a thing, drawn for one of the seeds, and how they are handed to
    our trainer.
    """

    exam: Exam
    seed: int
    fit: FitSettings = examination.WHOLE
    masks: bool = False
    captions: bool = False
    found: Concept | None = None  # the images with captions that the model has found

    @property
    def images(self) -> Concept:
        """The concept to learn."""
        shown = self.exam.scenes(f"shown {self.seed}", examination.SHOWN)
        return self.found or examination.concept_of(
            self.exam.world, shown, self.fit, self.masks, self.captions
        )


Optimizer = Callable[[Subject], list[Point]]


# Ours


def our_methods(models: Models, chosen: argparse.Namespace) -> Iterator[tuple[str, Optimizer]]:
    """Our trainer as its node comes, and with one thing changed."""

    def method(name: str) -> Optimizer:
        def trained(subject: Subject) -> list[Point]:
            adamw = {"method": "adamw"} if name == "ours, adamw" else {}
            word = "thing" if name == "ours, from 'thing'" else subject.exam.initializer
            subject = subject._replace(
                fit=fit_of(chosen.set),
                masks=name == "ours, with masks",
                captions=name == "ours, with captions",
            )
            inputs = node_inputs({n: v for n, v in chosen.set if not n.startswith(FIT)} | adamw)
            points = our_training(models, subject, word, inputs)
            compared = name == "ours" and any(getattr(chosen, peer.name) for peer in scripts.ALL)
            return points if compared else points[-1:]

        return trained

    for name in chosen.methods:
        yield name, method(name)


def our_training(
    models: Models, subject: Subject, initializer: str, inputs: Mapping[str, Any]
) -> list[Point]:
    """Learn as TrainTextualInversion does; the vectors after the steps of `CURVE`, as the others'
    scripts save them on their way, and what it gives.
    """
    points: list[Point] = []
    started = time.perf_counter()

    def note(state: RunState) -> None:
        if state.step in CURVE:
            passed = time.perf_counter() - started
            points.append(Point(state.step, passed, state.kept("last")))

    learned = trained(models, subject, initializer, inputs, note)
    steps: Any = learned.provenance["steps"]
    points.append(Point(steps, time.perf_counter() - started, learned.vectors))
    return points


class Notes(Unobserved):
    """Calls `note` before the first step and after each."""

    def __init__(self, note: Callable[[RunState], None]):
        self.note = note

    def on_step(self, state: RunState) -> None:
        self.note(state)


def trained(
    models: Models,
    subject: Subject,
    initializer: str,
    inputs: Mapping[str, Any],
    note: Callable[[RunState], None],
    resume: Resume = "off",
) -> Embedding:
    """Learn; `note` is called after each step."""
    embedding = create_embedding(models.clip, PLACEHOLDER, initializer, inputs["vectors"])
    chosen = replace(settings(inputs, subject.seed), resume=resume)
    return learn(models, subject.images, embedding, chosen, Notes(note)).embedding


def settings(inputs: Mapping[str, Any], seed: int) -> TrainingSettings:
    """The node's inputs as it hands them on."""
    rates = schedule(inputs["learning_rate"], inputs["steps"], inputs["schedule"], inputs["warmup"])
    kind = METHODS[inputs["method"]]
    method = kind(**{name: inputs[name] for name in kind.__dataclass_fields__})
    return TrainingSettings(
        rates,
        method,
        inputs["batch_size"],
        inputs["accumulation"],
        seed,
        inputs["hold_out"],
        StoppingRule() if inputs["auto_stop"] else None,
        objective(inputs),
        inputs["precision"],
        inputs["checkpointing"],
        inputs["keep"],
    )


def objective(inputs: Mapping[str, Any]) -> Objective:
    """What Training Objective makes of its inputs."""
    node = pack_module("nodes.objective").TrainingObjective
    names = [one.id for one in node.define_schema().inputs]
    made = node.execute(**{name: inputs[name] for name in names}).result[0]
    return Objective(**vars(made))


def node_inputs(changed: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of CreateEmbedding, TrainTextualInversion and TrainingObjective as a user finds
    them, with some values changed.
    """
    inputs = {}
    nodes = ["CreateEmbedding", "TrainTextualInversion", "TrainingObjective"]
    for module, node in zip(("embedding", "train", "objective"), nodes, strict=True):
        for one in getattr(pack_module(f"nodes.{module}"), node).define_schema().inputs:
            inputs[one.id] = getattr(one, "default", None)
            if one.id == "method":
                options = {option.key: option.inputs for option in one.options}
                inputs["method"] = changed.get("method", next(iter(options)))
                inputs |= {inner.id: inner.default for inner in options[inputs["method"]]}
    return inputs | {name: like(inputs, name, value) for name, value in changed.items()}


def fit_of(changed: Sequence[tuple[str, str]]) -> FitSettings:
    """How images are cut, with some values changed."""
    plain = examination.WHOLE
    fits = [(name.removeprefix(FIT), text) for name, text in changed if name.startswith(FIT)]
    return replace(plain, **{name: like(vars(plain), name, text) for name, text in fits})


def like(inputs: Mapping[str, Any], name: str, text: str) -> Any:
    """A written value as the type of the input's default."""
    if inputs.get(name) is None:
        raise ValueError(f"There is no input {name!r} to set; there are {', '.join(inputs)}.")
    kind = type(inputs[name])
    return text == "True" if kind is bool else kind(text)


def pack_module(name: str) -> ModuleType:
    """A module of the pack; a package of its own, as ComfyUI has a module `nodes` too."""
    if "pack" not in sys.modules:
        sys.modules["pack"] = ModuleType("pack")
        sys.modules["pack"].__path__ = [str(REPO)]
    return importlib.import_module(f"pack.{name}")


# Others


def converted(models: Models, checkpoint: Path, place: Path) -> Path:
    """The checkpoint as a folder in diffusers' layout, made once and compared each time."""
    from peers import pipeline

    folder = place / "pipeline"
    tokenizer = Path(os.environ["COMFYUI_PATH"], "comfy", "sd1_tokenizer")
    if not folder.exists():
        pipeline.write_pipeline(checkpoint, tokenizer, place / "part")
        (place / "part").rename(folder)
    check_conversion(models, folder)
    return folder


def peer_methods(
    script: Script, checkout: Path, folder: Path, chosen: argparse.Namespace
) -> Iterator[tuple[str, Optimizer]]:
    """Another trainer's script on converted networks, at each learning rate; what it makes is kept
    beside their folder.
    """
    place = folder.parent

    def method(recipe: ImageRecipe) -> Optimizer:
        def trained(subject: Subject) -> list[Point]:
            exam, seed = subject.exam, subject.seed
            name = f"{exam.name} {seed}".replace(" ", "-")
            images = place / "images" / name
            examination.save_images(subject.images, images)
            task = Task(folder, images, exam.initializer, seed)
            out = place / script.name / f"{name}-{recipe.steps}-{recipe.rate:g}"
            saved = script.train(checkout, task, recipe, out)
            return [Point(one.step, one.seconds, read_embedding(one.file).vectors) for one in saved]

        return trained

    steps = chosen.peer_steps or script.documented.steps
    short = "" if steps == script.documented.steps else f", {steps} steps"
    for rate in chosen.peer_rates or [script.documented.rate]:
        yield f"{script.name}, {rate:g}{short}", method(ImageRecipe(steps, rate))


def check_conversion(models: Models, folder: Path) -> None:
    """Raise ValueError unless the converted networks compute what the host's do, and leave what
    those compute beside them, for the environments of the scripts.
    """
    from peers.pipeline import Outputs, Question, compare, outputs, remember

    scene = TOYWORLD.random_scene(Random(0), TOYWORLD.held_out[0])
    image = in_floats(examination.concept_of(TOYWORLD, [scene]).crops[0])
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = examination.TEMPLATE.format(TOYWORLD.describe(scene.thing))
    for position in (50, REMEMBERED, 950):
        hosts = Outputs(*examination.host_outputs(models, text, image, noise, position))
        asked = Question(text, image, noise, position)
        for name, apart in compare(outputs(folder, asked), hosts):
            print(f"Converted for others, {name} at step {position}: differs by {apart:.1e}")
        if position == REMEMBERED:
            remember(folder, asked, hosts)
