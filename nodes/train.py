"""TrainTextualInversion: trains the word on the images."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..ti_core.concept.concept import Concept
from ..ti_core.host.faults import Faults
from ..ti_core.host.learn import Learned, Models, learn
from ..ti_core.host.page.kept_results import holds_while, times_given_anew
from ..ti_core.host.page.known_runs import followed
from ..ti_core.host.page.monitor import Monitor
from ..ti_core.host.page.preview_images import PreviewSettings
from ..ti_core.host.page.previews import PREVIEWS, Previews, on_request
from ..ti_core.host.referenced import references_hold
from ..ti_core.host.run_observer import PAGE
from ..ti_core.training.objective import USUAL, Objective
from ..ti_core.training.optimizers import METHODS
from ..ti_core.training.schedule import schedule as make_schedule
from ..ti_core.training.settings import TrainingSettings, check_rate
from ..ti_core.training.stopping import StoppingRule
from ..ti_core.word.embedding import Embedding
from .checked import CheckedNode, checked
from .sockets import (
    CATEGORY,
    ConceptSocket,
    EmbeddingSocket,
    LossMapSocket,
    ObjectiveSocket,
    PreviewsSocket,
)

MOST_ID = 64  # letters; the page has 36

RATE_SYNTAX = (
    "A number, or a list of rates, each with its last step, as in AUTOMATIC1111: '0.2:100, "
    "0.1:300, 0.02'."
)

SPHERICAL_INPUTS = [
    io.String.Input(
        "learning_rate",
        default="0.4",
        tooltip=f"Largest rotation of a vector per step, in radians; typical steps turn a third "
        f"of it. 0.1 to 0.5 is usual. If it is too high, later steps undo earlier ones. "
        f"{RATE_SYNTAX}",
    ),
    io.Float.Input(
        "prior",
        default=1e-4,
        min=0.0,
        max=1.0,
        step=1e-5,
        advanced=True,
        tooltip="Pull towards the init word. 0.0001 is weak; 0.01 keeps the word close to it. "
        "0 = off.",
    ),
]
ADAMW_INPUTS = [
    io.String.Input(
        "learning_rate",
        default="0.005",
        tooltip=f"Step size of AdamW; 0.0005 to 0.01 is usual. Higher is faster but less stable. "
        f"{RATE_SYNTAX}",
    ),
    io.Float.Input(
        "beta1",
        default=0.9,
        min=0.0,
        max=0.999,
        step=0.001,
        advanced=True,
        tooltip="Decay of AdamW's average of the gradient. Higher is smoother; 0.9 is usual.",
    ),
    io.Float.Input(
        "beta2",
        default=0.999,
        min=0.0,
        max=0.9999,
        step=0.0001,
        advanced=True,
        tooltip="Decay of AdamW's average of the squared gradient. Higher is smoother; 0.999 is "
        "usual.",
    ),
    io.Float.Input(
        "norm_pull",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.001,
        advanced=True,
        tooltip="Moves the vectors' norm towards the vocabulary's by this fraction each step. 0.01 "
        "is usual. 0 = off: the norm may grow until the rest of the prompt is ignored.",
    ),
    io.Float.Input(
        "gradient_clip",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        advanced=True,
        tooltip="Upper limit for the norm of the gradient. 1 is usual; 0 = off.",
    ),
]

ADVANCED_INPUTS = [
    io.Combo.Input(
        "schedule",
        options=["auto", "inverse sqrt", "constant", "cosine", "linear", "cool-down"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="How the learning rate falls. 'auto' takes a list of rates as it is, and "
        "uses 'inverse sqrt' for a single one, which does not depend on the number of steps. "
        "'constant' never falls. 'cosine' and 'linear' fall to 0 at the last step, 'cool-down' "
        "over the last half; with these three, changing steps starts another run.",
    ),
    io.Int.Input(
        "warmup",
        default=0,
        min=0,
        max=10000,
        optional=True,
        advanced=True,
        tooltip="Number of steps over which the learning rate rises at the start. 0 to 50 is "
        "usual.",
    ),
    io.Int.Input(
        "accumulation",
        display_name="gradient accumulation",
        default=1,
        min=1,
        max=256,
        optional=True,
        advanced=True,
        tooltip="Batches per step: the effect of a larger batch without its memory. 1 to 8 is "
        "usual.",
    ),
    io.Combo.Input(
        "precision",
        display_name="dtype",
        options=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Data type that the diffusion model computes in. 'auto' uses that of its weights "
        "where the device supports it well. The vectors are always fp32.",
    ),
    io.Combo.Input(
        "checkpointing",
        display_name="gradient checkpointing",
        options=["auto", "on", "off"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="'on' saves memory by computing activations twice; a step takes about 50 % longer. "
        "'auto' turns it on when needed.",
    ),
    io.Boolean.Input(
        "auto_stop",
        default=True,
        optional=True,
        advanced=True,
        tooltip="Stop when the validation loss no longer improves, after 160 steps at the "
        "earliest. Off: run all steps.",
    ),
    io.Combo.Input(
        "keep",
        options=["best", "last"],
        default="best",
        optional=True,
        advanced=True,
        tooltip="Which vectors to output. 'best' = the last ones, or earlier ones if their "
        "validation loss is significantly lower. 'last' = always the last ones. Both are iterate "
        "averages.",
    ),
    io.Boolean.Input(
        "hold_out",
        default=False,
        optional=True,
        advanced=True,
        tooltip="Keep every fifth image for validation only, if there are ten or more. The figures "
        "are more honest; with few images, all are needed for training.",
    ),
    io.Combo.Input(
        "resume",
        options=["continue", "start over", "off"],
        default="continue",
        optional=True,
        advanced=True,
        tooltip="'continue' resumes an interrupted run with the same images, word, models and "
        "settings, and loads a finished one. 'start over' trains from the beginning and replaces "
        "the stored run. 'off' stores nothing.",
    ),
]


class TrainTextualInversion(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainTextualInversion",
            display_name="Train Textual Inversion",
            category=CATEGORY,
            description="Trains the word on the images, with the models that the graph has "
            "already loaded. The models stay unchanged; only the word's vectors are trained.",
            search_aliases=[
                "textual inversion",
                "train embedding",
                "train concept",
                "trigger word",
                "TI",
            ],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The diffusion model. Active LoRAs and patches apply during training.",
                ),
                io.Clip.Input("clip", tooltip="The CLIP that the embedding was created with."),
                io.Vae.Input("vae", tooltip="Encodes the images once, before training."),
                ConceptSocket.Input("concept", tooltip="The images and captions."),
                EmbeddingSocket.Input(
                    "embedding",
                    tooltip="The word to train. If it is already trained, training continues from "
                    "its vectors.",
                ),
                io.Int.Input(
                    "steps",
                    default=400,
                    min=1,
                    max=100000,
                    tooltip="Maximum number of optimizer steps: 100 to 400 for 'spherical', 500 "
                    "to 3000 for 'adamw'. You can raise it later; training continues.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=[
                        io.DynamicCombo.Option("spherical", SPHERICAL_INPUTS),
                        io.DynamicCombo.Option("adamw", ADAMW_INPUTS),
                    ],
                    tooltip="'spherical' keeps the norm of ordinary words, so that the rest of the "
                    "prompt still counts, and needs few steps. 'adamw' is the classic optimizer of "
                    "other trainers.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Images per batch. Larger batches have less gradient noise, but are "
                    "slower and need more memory. 1 to 4 is usual.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Seed of the image order, the noise, the timesteps and the captions. "
                    "The same seed gives the same word.",
                ),
                *ADVANCED_INPUTS,
                PreviewsSocket.Input(
                    "previews",
                    optional=True,
                    tooltip="From Training Previews: images of the word during training.",
                ),
                ObjectiveSocket.Input(
                    "objective",
                    optional=True,
                    tooltip="From Training Objective: which timesteps to train on.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The learned word, for Save Embedding and Apply Embedding to CLIP.",
                ),
                LossMapSocket.Output(
                    display_name="loss_map",
                    tooltip="The loss of every step, for Plot Loss Graph. It is noisy: compare "
                    "runs by the validation loss in the report.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Figures of the run, and warnings."
                ),
                io.Image.Output(
                    display_name="previews",
                    tooltip="Preview images. Nodes connected here are skipped when Training "
                    "Previews is not connected.",
                ),
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        values = {"schedule": "auto", "warmup": 0, **given}
        chosen = dict(values["method"])
        rates = chosen.get("learning_rate")
        planned: list[Any] = [values.get(name) for name in ("steps", "schedule", "warmup")]
        if rates is not None and None not in planned:
            check_rate(make_schedule(rates, *planned), METHODS[chosen["method"]]())

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> int:
        return times_given_anew()

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        concept: Concept,
        embedding: Embedding,
        steps: int,
        method: dict[str, Any],
        batch_size: int,
        seed: int,
        schedule: Any = "auto",
        warmup: int = 0,
        accumulation: int = 1,
        precision: Any = "auto",
        checkpointing: Any = "auto",
        auto_stop: bool = True,
        keep: Any = "best",
        hold_out: bool = False,
        resume: Any = "continue",
        previews: PreviewSettings | None = None,
        objective: Objective = USUAL,
    ) -> io.NodeOutput:
        models, hidden, faults = Models(model, clip, vae), cls.hidden, Faults()
        address = hidden.unique_id, workflow_id(hidden.extra_pnginfo)
        monitor = Monitor(embedding, clip, steps, keep, *address)
        with ExitStack() as ended:
            ended.push(faults.harmless(monitor.__exit__, None, PAGE))
            faults.harmless(followed, monitor, PAGE)(monitor)
            chosen = dict(method)
            settings_type = METHODS[chosen.pop("method")]
            settings = monitor.settings = TrainingSettings(
                make_schedule(chosen.pop("learning_rate"), steps, schedule, warmup),
                settings_type(**chosen),
                batch_size,
                accumulation,
                seed,
                hold_out,
                StoppingRule() if auto_stop else None,
                objective,
                precision,
                checkpointing,
                keep,
                resume,
            )
            draw_asked = faults.harmless(on_request, None, PREVIEWS)
            artist = (
                Previews(previews, *models, embedding, monitor.image, size=trained_size(concept))
                if previews
                else draw_asked(concept, *models, embedding, monitor.image)
            )
            same_references = references_hold(concept)
            learned = learn(models, concept, embedding, settings, monitor, artist)
            faults.harmless(monitor.end, None, PAGE)(learned.report)
        over = learned.over  # Without the rest of it, which is large.
        holds_while(lambda: over and same_references())
        images = (
            faults.harmless(artist.image_batch, None, PREVIEWS) if previews and artist else None
        )
        snapshot = faults.harmless(monitor.snapshot, {}, PAGE)()
        return outputs(learned, images() if images else None, snapshot)


def trained_size(concept: Concept) -> tuple[int, int]:
    """Height and width in pixels of the first training image."""
    height, width, _ = concept.crops[0].shape
    return height, width


def workflow_id(extra: Any) -> str:
    """What the page calls the workflow that a prompt comes from; '' for one that comes without."""
    workflow = extra.get("workflow") if isinstance(extra, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return found[:MOST_ID] if isinstance(found, str) else ""


def outputs(learned: Learned, images: Tensor | None, snapshot: dict[str, Any]) -> io.NodeOutput:
    """What goes on in the graph: nothing of a word of which nothing was learned, and no images
    where none were drawn.
    """
    losses, shown = learned.losses, [snapshot] if snapshot else []
    return io.NodeOutput(
        learned.embedding if losses else ExecutionBlocker(None),
        {"loss": drawable(losses)},
        learned.report,
        ExecutionBlocker(None) if images is None else images,
        ui={
            "text": [learned.report],
            "ti_loss": losses,
            "ti_monitor": shown,
        },
    )


def drawable(losses: list[float]) -> list[float]:
    """The losses as Plot Loss Graph can draw them: it divides by the range that they span (core
    nodes_train.py:1444), which that of a single step does not.
    """
    flat = bool(losses) and min(losses) == max(losses)
    return [*losses, math.nextafter(losses[-1], math.inf)] if flat else losses
