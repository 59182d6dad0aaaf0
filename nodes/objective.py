"""TrainingObjective: which noise levels a word is learned at, and how their losses count."""

from typing import Any

from comfy_api.latest import io

from ..ti_core.training.objective import Objective
from .sockets import CATEGORY, ObjectiveSocket


class TrainingObjective(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingObjective",
            display_name="Training Objective",
            category=CATEGORY,
            description="Sets which noise levels the word is learned at, and how much each counts. "
            "Without this node, training does what the trainers of the model's family publish.",
            search_aliases=["textual inversion", "timestep", "noise level", "min snr", "sigma"],
            inputs=[
                io.Combo.Input(
                    "noise_levels",
                    options=["auto", "uniform", "logit-normal"],
                    default="auto",
                    tooltip="'auto' is what the model's family is trained with: all levels alike "
                    "for SD and SDXL, logit-normal through its shift for flow models (SD3, Flux). "
                    "'logit-normal' draws mostly the middle.",
                ),
                io.Float.Input(
                    "from",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    tooltip="The lowest noise that is trained on, as a share of the schedule. 0.3 "
                    "leaves out fine detail; 0 = all.",
                ),
                io.Float.Input(
                    "to",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="The highest noise that is trained on. 0.7 leaves out the composition; "
                    "1 = all.",
                ),
                io.Combo.Input(
                    "weighting",
                    options=["none", "min-SNR", "soft min-SNR", "debiased"],
                    default="none",
                    advanced=True,
                    tooltip="How much each noise level's loss counts. 'min-SNR' lets low noise "
                    "count less. It tells within a step of several samples, and with 'free': "
                    "'spherical' takes each step's gradient by its direction alone.",
                ),
                io.Float.Input(
                    "gamma",
                    default=5.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Of 'min-SNR' and 'soft min-SNR': lower evens the levels out more. 1 "
                    "to 20 are usual.",
                ),
                io.Float.Input(
                    "offset_noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Shifts whole channels of the noise, for very dark or bright pictures. "
                    "0.03 to 0.1 are usual, for models that were trained with it; 0 = off.",
                ),
                io.Float.Input(
                    "guidance",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="What Flux dev and Hunyuan are told as guidance while training; others "
                    "have no such input. 1 is what other trainers take.",
                ),
            ],
            outputs=[
                ObjectiveSocket.Output(
                    display_name="objective",
                    tooltip="For the objective input of Train Textual Inversion.",
                )
            ],
        )

    @classmethod
    def execute(cls, **chosen: Any) -> io.NodeOutput:
        start, end = chosen.pop("from"), chosen.pop("to")
        return io.NodeOutput(Objective(start=start, end=end, **chosen))
