"""TrainTextualInversion: learns the word from the pictures."""

import math
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..ti_core.concept.concept import Concept
from ..ti_core.host.learn import Audience, Learned, LearnSettings, Models, learn
from ..ti_core.host.models.borrow import BorrowSettings
from ..ti_core.host.page.followed_runs import followed
from ..ti_core.host.page.monitor import Monitor
from ..ti_core.host.page.previews import Previews, on_request
from ..ti_core.training.objective import USUAL, Objective
from ..ti_core.training.optimisers import FreeSettings, SphericalSettings
from ..ti_core.training.preview_pictures import PreviewSettings
from ..ti_core.training.schedule import schedule as make_schedule
from ..ti_core.training.settings import TrainingSettings
from ..ti_core.training.stopping import StoppingRule
from ..ti_core.word.embedding import Embedding
from .checked import check_values
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
        tooltip=f"How far the first steps turn a vector, in radians, if all recent gradients "
        f"agree; most steps turn it a third as far. 0.1 to 0.5 are usual. Too high forgets what "
        f"was learned. {RATE_SYNTAX}",
    ),
    io.Float.Input(
        "prior",
        default=1e-4,
        min=0.0,
        max=1.0,
        step=1e-5,
        advanced=True,
        tooltip="Pull towards the initialiser. 0.0001 is weak; 0.01 keeps the word close to the "
        "initialiser. 0 = off.",
    ),
]
FREE_INPUTS = [
    io.String.Input(
        "learning_rate",
        default="0.005",
        tooltip=f"Step size of AdamW; 0.0005 to 0.01 are usual. Higher is faster but less stable. "
        f"{RATE_SYNTAX}",
    ),
    io.Float.Input(
        "beta1",
        default=0.9,
        min=0.0,
        max=0.999,
        step=0.001,
        advanced=True,
        tooltip="How long AdamW averages the gradient's direction. Higher is smoother; 0.9 is "
        "usual.",
    ),
    io.Float.Input(
        "beta2",
        default=0.999,
        min=0.0,
        max=0.9999,
        step=0.0001,
        advanced=True,
        tooltip="How long AdamW averages the gradient's size. Higher is smoother; 0.999 is usual.",
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
METHODS = {"spherical": SphericalSettings, "free": FreeSettings}


ADVANCED_INPUTS = [
    io.Combo.Input(
        "schedule",
        options=["auto", "falling", "constant", "cosine", "linear", "cool-down"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="How the learning rate falls. 'auto' takes a list of rates as it is, and 'falling' "
        "for a single one: with the root of the steps, however many are planned. 'constant' never "
        "falls. 'cosine' and 'linear' fall to nothing at the last step, 'cool-down' over the last "
        "half; with these, another number of steps is another run.",
    ),
    io.Int.Input(
        "warmup",
        default=0,
        min=0,
        max=10000,
        optional=True,
        advanced=True,
        tooltip="Number of steps over which the learning rate rises at the start. 0 to 50 are "
        "usual.",
    ),
    io.Int.Input(
        "accumulation",
        default=1,
        min=1,
        max=256,
        optional=True,
        advanced=True,
        tooltip="Batches per step: the effect of a larger batch size without its memory. 1 to 8 "
        "are usual.",
    ),
    io.Combo.Input(
        "precision",
        options=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="Precision of the diffusion model. 'auto' uses that of its weights, if the device "
        "computes well in it. The vectors are always fp32.",
    ),
    io.Combo.Input(
        "checkpointing",
        options=["auto", "on", "off"],
        default="auto",
        optional=True,
        advanced=True,
        tooltip="'on' saves memory by computing parts of the model twice; a step takes about 50 % "
        "longer. 'auto' turns it on if it is needed.",
    ),
    io.Boolean.Input(
        "auto_stop",
        default=True,
        optional=True,
        advanced=True,
        tooltip="End the run when the validation loss has stopped improving, after 160 steps at "
        "the earliest. Off: all steps are done.",
    ),
    io.Combo.Input(
        "keep",
        options=["best", "last"],
        default="best",
        optional=True,
        advanced=True,
        tooltip="Which vectors to output. 'best': the last ones, unless their validation loss is "
        "worse than that of earlier ones by more than chance; then those. 'last': the last ones. "
        "All are means over the steps before them.",
    ),
    io.Boolean.Input(
        "hold_out",
        default=False,
        optional=True,
        advanced=True,
        tooltip="Use every fifth picture only for validation, if there are ten or more. Gives more "
        "honest figures if you have many pictures; if you have few, all are needed for training.",
    ),
    io.Combo.Input(
        "resume",
        options=["continue", "start over", "off"],
        default="continue",
        optional=True,
        advanced=True,
        tooltip="'continue' resumes an interrupted run with the same pictures, word, models and "
        "settings, and does not train a finished one again. 'start over' trains from the beginning "
        "and replaces it. 'off' stores nothing.",
    ),
]


class TrainTextualInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainTextualInversion",
            display_name="Train Textual Inversion",
            category=CATEGORY,
            description="Learns the meaning of the word from the pictures, with the models that "
            "the graph has already loaded. The models stay unchanged; only the word's vectors "
            "change.",
            search_aliases=["textual inversion", "train embedding", "train concept", "TI"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The diffusion model. Its LoRAs and patches take part in the training.",
                ),
                io.Clip.Input("clip", tooltip="The CLIP that the embedding was created with."),
                io.Vae.Input("vae", tooltip="Encodes the pictures, once."),
                ConceptSocket.Input("concept", tooltip="The pictures and captions."),
                EmbeddingSocket.Input(
                    "embedding",
                    tooltip="The word to train. If it was trained before, training continues from "
                    "there.",
                ),
                io.Int.Input(
                    "steps",
                    default=400,
                    min=1,
                    max=100000,
                    tooltip="Maximum number of training steps. 100 to 400 for 'spherical', 500 to "
                    "3000 for 'free'. More can be asked for later: training continues from what is "
                    "stored.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=[
                        io.DynamicCombo.Option("spherical", SPHERICAL_INPUTS),
                        io.DynamicCombo.Option("free", FREE_INPUTS),
                    ],
                    tooltip="'spherical' keeps the vectors as long as ordinary words, so that the "
                    "rest of the prompt still counts, and needs few steps. 'free' is the classic "
                    "AdamW of other trainers.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Pictures per batch. Larger is steadier, but slower, and needs more "
                    "memory. 1 to 4 are usual.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Decides the order of the pictures, the noise and the captions. The "
                    "same seed gives the same word.",
                ),
                *ADVANCED_INPUTS,
                PreviewsSocket.Input(
                    "previews",
                    optional=True,
                    tooltip="From Training Previews: pictures of the word during training.",
                ),
                ObjectiveSocket.Input(
                    "objective",
                    optional=True,
                    tooltip="From Training Objective: which noise levels are trained on.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The learned word, for Save Embedding and Apply Embedding to CLIP.",
                ),
                LossMapSocket.Output(
                    display_name="loss_map",
                    tooltip="The loss of every step, for Plot Loss Graph. It is noisy; to compare "
                    "runs, use the validation loss in the report.",
                ),
                io.String.Output(
                    display_name="report", tooltip="What was learned, in figures, and warnings."
                ),
                io.Image.Output(
                    display_name="previews",
                    tooltip="Preview pictures. Nodes connected here are skipped when Training "
                    "Previews is not connected.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, **values: Any) -> bool:
        """Refuses at Run, before anything is loaded, learning rates that do not fit the steps.
        Raises ValueError, which the host tells once; a text it would tell for every input.
        """
        check_values(cls.define_schema().inputs, values)
        rates = dict(values["method"]).get("learning_rate")
        planned: list[Any] = [values.get(name) for name in ("steps", "schedule", "warmup")]
        if rates is not None and None not in planned:
            make_schedule(rates, *planned)
        return True

    @classmethod
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
        models, hidden = Models(model, clip, vae), cls.hidden
        address = hidden.unique_id, workflow_id(hidden.extra_pnginfo)
        with followed(Monitor(embedding, clip, steps, keep, *address)) as monitor:
            chosen = dict(method)
            settings_type = METHODS[chosen.pop("method")]
            training = monitor.settings = TrainingSettings(
                make_schedule(chosen.pop("learning_rate"), steps, schedule, warmup),
                settings_type(**chosen),
                batch_size,
                accumulation,
                seed,
                hold_out,
                StoppingRule() if auto_stop else None,
                objective,
            )
            settings = LearnSettings(
                training, BorrowSettings(batch_size, precision, checkpointing), keep, resume
            )
            artist = (
                Previews(previews, *models, embedding, monitor.picture)
                if previews
                else on_request(concept, *models, embedding, monitor.picture)
            )
            learned = learn(models, concept, embedding, settings, watched_by(monitor, artist))
            monitor.end(learned.report)
        pictures = artist.images() if previews else None
        return outputs(learned, pictures, monitor.snapshot())


def watched_by(monitor: Monitor, artist: Previews) -> Audience:
    """The page and its pictures, as those who watch a run."""
    return Audience(
        monitor.on_step,
        monitor.tell,
        monitor.stop.is_set,
        artist,
        monitor.draw_asked,
        monitor.enter,
        monitor.take_up,
        monitor.stored_at,
        {"node": monitor.node_id, "workflow": monitor.workflow},
    )


def workflow_id(extra: Any) -> str:
    """What the page calls the workflow that a prompt comes from; '' for one that comes without."""
    workflow = extra.get("workflow") if isinstance(extra, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return found[:MOST_ID] if isinstance(found, str) else ""


def outputs(learned: Learned, pictures: Tensor | None, snapshot: dict[str, Any]) -> io.NodeOutput:
    """What goes on in the graph: nothing of a word of which nothing was learned, and no pictures
    where none were drawn.
    """
    losses = learned.losses
    return io.NodeOutput(
        learned.embedding if losses else ExecutionBlocker(None),
        {"loss": drawable(losses)},
        learned.report,
        ExecutionBlocker(None) if pictures is None else pictures,
        ui={"text": [learned.report], "ti_loss": losses, "ti_monitor": [snapshot]},
    )


def drawable(losses: list[float]) -> list[float]:
    """The losses as Plot Loss Graph can draw them: it divides by the range that they span (core
    nodes_train.py:1444), which that of a single step does not.
    """
    flat = bool(losses) and min(losses) == max(losses)
    return [*losses, math.nextafter(losses[-1], math.inf)] if flat else losses
