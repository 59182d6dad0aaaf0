"""TrainTextualInversion: learns the word from the pictures."""

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..ti_core.concept.concept import Concept
from ..ti_core.host.learn import LearnOptions, learn
from ..ti_core.host.models.borrow import BorrowSettings
from ..ti_core.host.page.previews import Previews
from ..ti_core.host.page.progress import Progress, say
from ..ti_core.host.page.stop_and_keep import stoppable
from ..ti_core.store.run_store import StoreSettings
from ..ti_core.training.loop import TrainingSettings
from ..ti_core.training.optimisers import FreeSettings, SphericalSettings
from ..ti_core.training.preview_pictures import PreviewSettings
from ..ti_core.training.schedule import schedule as make_schedule
from ..ti_core.word.embedding import Embedding
from .sockets import (
    CATEGORY,
    ConceptSocket,
    EmbeddingSocket,
    LossMapSocket,
    PreviewsSocket,
    RunStoreSocket,
)

RATE_SYNTAX = (
    "A number, or rates with the step that each ends at, as in AUTOMATIC1111: "
    "'0.2:100, 0.1:300, 0.02' (then set schedule to 'constant')."
)

SPHERICAL_INPUTS = [
    io.String.Input(
        "learning_rate",
        default="0.2",
        tooltip=f"Angle that a vector turns by in a step, in radians, when all recent gradients "
        f"agree; usually it is a third of that. 0.05 to 0.3 are usual. {RATE_SYNTAX}",
    ),
    io.Float.Input(
        "prior",
        default=1e-4,
        min=0.0,
        max=1.0,
        step=1e-5,
        advanced=True,
        tooltip="Pull towards the initialiser's meaning. 0.0001 hardly binds; 0.01 keeps the word "
        "close to the initialiser. 0 = off.",
    ),
]
FREE_INPUTS = [
    io.String.Input(
        "learning_rate",
        default="0.005",
        tooltip=f"Step size of AdamW; 0.0005 to 0.01 are usual. {RATE_SYNTAX}",
    ),
    io.Float.Input(
        "beta1",
        default=0.9,
        min=0.0,
        max=0.999,
        step=0.001,
        advanced=True,
        tooltip="How long AdamW remembers the gradient's direction.",
    ),
    io.Float.Input(
        "beta2",
        default=0.999,
        min=0.0,
        max=0.9999,
        step=0.0001,
        advanced=True,
        tooltip="How long AdamW remembers the gradient's size.",
    ),
    io.Float.Input(
        "norm_pull",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.001,
        advanced=True,
        tooltip="Draws the vectors' norm towards the vocabulary's by that fraction each step. 0.01 "
        "keeps prompts obedient; 0 = off, the norm may grow until the rest of the prompt is "
        "ignored.",
    ),
    io.Float.Input(
        "gradient_clip",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        advanced=True,
        tooltip="Largest norm of the vectors' own gradient; 0 = off.",
    ),
]
METHODS = {"spherical": SphericalSettings, "free": FreeSettings}


class TrainTextualInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainTextualInversion",
            display_name="Train Textual Inversion",
            category=CATEGORY,
            description="Learns what the word means from the pictures, on the models that the "
            "graph has already loaded. The models stay as they are; only the word's vectors "
            "change.",
            search_aliases=["textual inversion", "train embedding", "train concept", "TI"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The diffusion model, with any LoRAs and patches; they take part.",
                ),
                io.Clip.Input(
                    "clip", tooltip="The text encoders that the embedding was created with."
                ),
                io.Vae.Input("vae", tooltip="Used once, to encode the pictures."),
                ConceptSocket.Input("concept", tooltip="The pictures and captions."),
                EmbeddingSocket.Input(
                    "embedding",
                    tooltip="The word to train; one that was trained before goes on from there.",
                ),
                io.Int.Input(
                    "steps",
                    default=400,
                    min=1,
                    max=100000,
                    tooltip="How many times the vectors are moved, at most: 'auto_stop' ends "
                    "earlier when nothing more is learned. 200 to 600 for 'spherical', 500 to 3000 "
                    "for 'free'. More than were done before go on from there.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=[
                        io.DynamicCombo.Option("spherical", SPHERICAL_INPUTS),
                        io.DynamicCombo.Option("free", FREE_INPUTS),
                    ],
                    tooltip="'spherical' keeps the vectors as long as ordinary words, so that "
                    "prompts stay obedient, and learns in few steps. 'free' is the classic AdamW "
                    "of other trainers.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=["cool-down", "cosine", "linear", "constant"],
                    default="cool-down",
                    tooltip="How the learning rate falls. 'cool-down' holds it and lets it fall "
                    "over the last half, which begins earlier when auto_stop says so; 'cosine' "
                    "and 'linear' fall from the start; 'constant' for a list of rates.",
                ),
                io.Int.Input(
                    "warmup",
                    default=0,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip="Steps over which the learning rate rises at the start. 0 to 50.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Pictures per run of the model. More makes a step steadier and slower; "
                    "1 to 4 are usual.",
                ),
                io.Int.Input(
                    "accumulation",
                    default=1,
                    min=1,
                    max=256,
                    advanced=True,
                    tooltip="Runs of the model per step. The effect of a larger batch without its "
                    "memory; 1 to 8.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Decides the order, the noise and the captions. The same seed gives "
                    "the same word.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", "fp32", "bf16", "fp16"],
                    default="auto",
                    advanced=True,
                    tooltip="What the diffusion model computes in. 'auto' uses what its weights "
                    "are stored in where the device is good at it. The vectors are always fp32.",
                ),
                io.Combo.Input(
                    "checkpointing",
                    options=["auto", "on", "off"],
                    default="auto",
                    advanced=True,
                    tooltip="'on' saves memory by computing parts of the model twice (half as "
                    "long again). 'auto' does so when the memory would not suffice.",
                ),
                io.Boolean.Input(
                    "auto_stop",
                    default=True,
                    optional=True,
                    tooltip="Come to the end when the validation shows that nothing more is "
                    "learned. Off: all steps are done.",
                ),
                io.Combo.Input(
                    "keep",
                    options=["best", "last", "average"],
                    default="best",
                    optional=True,
                    advanced=True,
                    tooltip="Which vectors are the result: the best by the validation loss (the "
                    "last ones, where the learning rate has fallen and they are not clearly worse "
                    "than others), those after the last step, or the average of the last 50.",
                ),
                io.Boolean.Input(
                    "hold_out",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Keep every fifth picture for validation alone, if there are ten or "
                    "more. Honest figures for many pictures; with few, all are needed to learn.",
                ),
                io.Combo.Input(
                    "resume",
                    options=["resume", "start anew", "off"],
                    default="resume",
                    optional=True,
                    tooltip="'resume' goes on where a run with the same pictures, word, models and "
                    "settings was broken off; a finished one is not trained again. 'start anew' "
                    "trains from the beginning, and replaces it. 'off' stores nothing.",
                ),
                RunStoreSocket.Input(
                    "store",
                    optional=True,
                    tooltip="Where runs are kept and how often they are stored, from Training Run "
                    "Store. Without it: the user folder, every 25 steps.",
                ),
                PreviewsSocket.Input(
                    "previews",
                    optional=True,
                    tooltip="Pictures of the word while it is learned, from Training Previews.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The learned word, for Save Embedding and Apply Embedding to CLIP.",
                ),
                LossMapSocket.Output(
                    display_name="loss_map",
                    tooltip="The loss of every step, for Plot Loss Graph. It is noisy by nature; "
                    "the report has the comparable figure.",
                ),
                io.String.Output(display_name="report", tooltip="What was learned, in figures."),
                io.Image.Output(
                    display_name="previews",
                    tooltip="The pictures of Training Previews; nothing behind this runs without.",
                ),
            ],
        )

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
        schedule: Any,
        warmup: int,
        batch_size: int,
        accumulation: int,
        seed: int,
        precision: Any,
        checkpointing: Any,
        auto_stop: bool = True,
        keep: Any = "best",
        hold_out: bool = False,
        resume: Any = "resume",
        store: StoreSettings | None = None,
        previews: PreviewSettings | None = None,
    ) -> io.NodeOutput:
        chosen = dict(method)
        settings_type = METHODS[chosen.pop("method")]
        rates = make_schedule(chosen.pop("learning_rate"), steps, schedule, warmup)
        sampling = (batch_size, accumulation, seed, hold_out)
        settings = TrainingSettings(rates, settings_type(**chosen), *sampling)
        options = LearnOptions(auto_stop, keep, resume, store or StoreSettings())
        node_id = cls.hidden.unique_id
        drawn = Previews(previews, model, clip, vae, embedding, node_id) if previews else None
        progress = Progress(steps, node_id)
        with stoppable(node_id) as should_stop:
            learned = learn(
                *(model, clip, vae, concept, embedding, settings),
                BorrowSettings(batch_size, precision, checkpointing),
                progress,
                options,
                drawn,
                should_stop,
                progress.tell,
            )
        say(learned.report, node_id)
        pictures = drawn.images() if drawn else None
        return io.NodeOutput(
            learned.embedding,
            {"loss": learned.losses},
            learned.report,
            ExecutionBlocker(None) if pictures is None else pictures,
            ui={"text": [learned.report], "ti_loss": learned.losses},
        )
