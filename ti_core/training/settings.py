"""All that is chosen for a run."""

from dataclasses import dataclass
from typing import Literal

from .objective import Objective
from .optimizers import AdamWSettings, SphericalSettings
from .run import Keep
from .schedule import Schedule
from .stopping import StoppingRule

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Checkpointing = Literal["auto", "on", "off"]
Resume = Literal["continue", "start over", "off"]
SMALLEST_ANGLE = 0.01  # radians; AdamW's rates are below it, and turn a word by nothing to speak of


@dataclass(frozen=True)
class TrainingSettings:
    """`schedule` knows the number of steps, and `rule` ends a run before them (None: never).
    `hold_out` keeps some images for validation alone, where there are enough. `precision` is what
    the diffusion model computes in, `checkpointing` whether activations are computed twice, `keep`
    which vectors the run gives, and `resume` whether it goes on where an earlier one was broken
    off.
    """

    schedule: Schedule
    method: SphericalSettings | AdamWSettings
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 0
    hold_out: bool = False
    rule: StoppingRule | None = StoppingRule()
    objective: Objective = Objective()
    precision: Precision = "auto"
    checkpointing: Checkpointing = "auto"
    keep: Keep = "best"
    resume: Resume = "off"

    def __post_init__(self) -> None:
        check_rate(self.schedule, self.method)


def check_rate(schedule: Schedule, method: SphericalSettings | AdamWSettings) -> None:
    """Raise ValueError for a learning rate of AdamW's size where it is an angle. What counts is the
    mean over the steps, because some lists of AUTOMATIC1111 begin higher.
    """
    if isinstance(method, SphericalSettings) and (rate := schedule.usual) < SMALLEST_ANGLE:
        mean = " (on average over the steps)" if len(schedule.pieces) > 1 else ""
        raise ValueError(
            f"The learning rate {rate:.2g}{mean} is too low for the method 'spherical', where it "
            f"is an angle: how far the first steps turn a vector, in radians. Write 0.4 (usually "
            f"0.1 to 0.5, at least {SMALLEST_ANGLE:g}), or choose the method 'adamw', whose AdamW "
            f"takes the rates of other trainers, 0.0005 to 0.01."
        )
