"""What a step takes, measured before the first one."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..concept.concept import Concept
from .batches import Batch
from .frozen_model import FrozenModel
from .latents import Latents, shape_of
from .loop import check_gradient, gradient, rows_without_gradient
from .optimizers import leaf
from .settings import TrainingSettings
from .validation import fixed_samples, validation_batches

log = logging.getLogger(__name__)


class Preflight(NamedTuple):
    """Seconds of a step, bytes of memory at its peak (None where nobody counts them) and of the
    device, and whether parts of the model are computed twice.
    """

    seconds: float
    peak: int | None
    total: int
    checkpointed: bool


def measured_step(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    vectors: Mapping[str, Tensor],
    settings: TrainingSettings,
    tell: Callable[[str], None] = log.warning,
) -> float:
    """Seconds of an optimizer step from `vectors` on the largest images. It moves nothing, draws
    nothing that the training draws, and tells which vectors no caption reaches. Raises what the
    first step would: RuntimeError when the gradient or the loss cannot be right, and whatever a
    device says whose memory is too small.
    """
    batch = largest_batch(model, concept, latents, placeholder, settings)
    live = {key: leaf(rows) for key, rows in vectors.items()}
    _, scale = gradient(model, live, [batch], model.loss_scale)
    check_gradient(0, live)
    fixed = fixed_samples(model, concept, latents, placeholder, settings)
    for key, rows in rows_without_gradient(model, live, fixed).items():
        tell(no_gradient_note(key, rows, len(vectors[key])))
    started = time.perf_counter()  # The first time, a device looks for its kernels.
    gradient(model, live, [batch], scale)
    return (time.perf_counter() - started) * settings.accumulation


def no_gradient_note(key: str, rows: Sequence[int], count: int) -> str:
    """What to say of vectors that no caption reaches."""
    return (
        f"{key} vector {', '.join(map(str, rows))} of {count} gets no gradient from any caption "
        f"and will not be trained; the others will. Flux uses only the first 75 tokens of CLIP-L: "
        f"put the word near the beginning of captions."
    )


def largest_batch(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    placeholder: str,
    settings: TrainingSettings,
) -> Batch:
    """A batch of the image whose latents are the largest."""
    areas = [math.prod(shape_of(latents[crops[0]])) for crops in concept.places]
    largest, size = areas.index(max(areas)), settings.batch_size
    chosen = {"among": [largest], "objective": settings.objective}
    (batch,) = validation_batches(model, concept, latents, placeholder, size, size, **chosen)
    return batch


def preflight_line(found: Preflight, steps: int) -> str:
    """`A step takes 0.35 s and 3.2 of 24.0 GiB (with gradient checkpointing); 400 steps
    take 2:20.`
    """
    takes = f"A step takes {found.seconds:.2f} s"
    if found.peak is not None:
        takes += f" and {found.peak / 2**30:.1f} of {found.total / 2**30:.1f} GiB"
    if found.checkpointed:
        takes += " (with gradient checkpointing)"
    return f"{takes}. Remaining steps: {steps}, about {clock(found.seconds * steps)}."


def clock(seconds: float) -> str:
    """A length of time as minutes and seconds, `2:20`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
