"""How long and how to train."""

from dataclasses import dataclass

from .objective import Objective
from .optimisers import FreeSettings, SphericalSettings
from .schedule import Schedule
from .stopping import StoppingRule


@dataclass(frozen=True)
class TrainingSettings:
    """`schedule` knows the number of steps, and `rule` ends a run before them (None: never).
    `hold_out` keeps some pictures for validation alone, where there are enough.
    """

    schedule: Schedule
    method: SphericalSettings | FreeSettings
    batch_size: int = 1
    accumulation: int = 1
    seed: int = 0
    hold_out: bool = False
    rule: StoppingRule | None = StoppingRule()
    objective: Objective = Objective()
