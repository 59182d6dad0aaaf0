"""TrainingObjective: which timesteps to train on, and how much each counts."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..ti_core.training.objective import Objective
from .checked import CheckedNode, checked
from .sockets import CATEGORY, ObjectiveSocket


class TrainingObjective(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingObjective",
            display_name="Training Objective",
            category=CATEGORY,
            description="Sets which timesteps to train on, and how much each counts. Its "
            "defaults change nothing: they are what the trainers of the model's family use.",
            search_aliases=["textual inversion", "timestep", "noise level", "min snr", "sigma"],
            inputs=[
                io.Combo.Input(
                    "noise_levels",
                    options=["auto", "uniform", "logit-normal"],
                    default="auto",
                    tooltip="Distribution of the timesteps. 'auto' is the usual one for the model: "
                    "uniform for SD and SDXL, shifted logit-normal for flow models (SD3, Flux). "
                    "'logit-normal' favors the middle.",
                ),
                io.Float.Input(
                    "from",
                    display_name="min timestep",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    tooltip="Lowest timestep to train on, as a fraction of the schedule. 0.3 "
                    "leaves out fine detail; 0 = all.",
                ),
                io.Float.Input(
                    "to",
                    display_name="max timestep",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Highest timestep to train on, as a fraction of the schedule. 0.7 "
                    "leaves out the composition; 1 = all.",
                ),
                io.Combo.Input(
                    "weighting",
                    options=["none", "min-SNR", "soft min-SNR", "debiased"],
                    default="none",
                    advanced=True,
                    tooltip="Loss weight of each timestep. 'min-SNR' lowers it at low noise. Only "
                    "matters with a batch size or gradient accumulation above 1, or with 'adamw': "
                    "'spherical' uses only the direction of a step's gradient.",
                ),
                io.Float.Input(
                    "gamma",
                    default=5.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="For 'min-SNR' and 'soft min-SNR': lower values even out the timesteps "
                    "more. 1 to 20 is usual.",
                ),
                io.Float.Input(
                    "offset_noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Shifts whole channels of the noise, for very dark or bright images. "
                    "0.03 to 0.1 is usual for models that were trained with it; 0 = off.",
                ),
                io.Float.Input(
                    "guidance",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Guidance value passed to distilled models (Flux dev, Hunyuan) during "
                    "training; others ignore it. Other trainers use 1.",
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
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if None not in (given.get("from"), given.get("to")):
            Objective(start=given["from"], end=given["to"])

    @classmethod
    @checked
    def execute(cls, **chosen: Any) -> io.NodeOutput:
        start, end = chosen.pop("from"), chosen.pop("to")
        return io.NodeOutput(Objective(start=start, end=end, **chosen))
