"""One training run on the host's models, from pictures to embedding."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ..concept import Concept, check_words
from ..embedding import Embedding
from ..latents import expected, shape_of
from ..report import Outcome, training_report
from ..training import StepReport, TrainingSettings, train
from ..validation import validation_batches, validation_loss
from .borrow import BorrowSettings, borrowed
from .denoise import HostModel
from .files import checkpoint_hash
from .latents import encode_pictures
from .text import check_fits

VALIDATION_SAMPLES = 8


class Learned(NamedTuple):
    """What a run gives: the embedding, the loss of every step, and the report."""

    embedding: Embedding
    losses: list[float]
    report: str


def learn(
    model: ModelPatcher,
    clip: CLIP,
    vae: Any,
    concept: Concept,
    embedding: Embedding,
    settings: TrainingSettings,
    borrow: BorrowSettings,
    on_step: Callable[[StepReport], None],
) -> Learned:
    """Learn the embedding on MODEL, CLIP and VAE of a graph, which are afterwards as they were."""
    check_fits(embedding, clip)
    check_words(concept, embedding.placeholder)
    latents = encode_pictures(
        vae, model.model.latent_format, concept.pictures, concept.latents, settings.seed
    )
    check_latents(expected(latents[0]), model)
    largest = max((shape_of(one) for one in latents), key=math.prod)
    with borrowed(model, clip, embedding, largest, borrow) as frozen:
        drawn = validation_batches(
            frozen,
            concept,
            latents,
            embedding.placeholder,
            settings.seed,
            VALIDATION_SAMPLES,
            borrow.rows,
        )
        before = validation_loss(frozen, drawn, embedding.vectors)
        started = time.perf_counter()
        losses, last = [], None
        for last in train(frozen, concept, latents, embedding, settings):
            losses.append(last.loss)
            on_step(last)
        assert last is not None  # A schedule has at least one step.
        seconds = time.perf_counter() - started
        after = validation_loss(frozen, drawn, last.vectors)
        outcome = Outcome(losses, before, after, seconds, last.norms, frozen.vocabulary_norms)
        learned = Embedding(
            embedding.placeholder,
            embedding.initialiser,
            last.vectors,
            embedding.initial,
            provenance(frozen, model, settings, outcome),
        )
    return Learned(learned, losses, training_report(concept, learned, outcome))


def check_latents(latents: Tensor, model: ModelPatcher) -> None:
    """Raise ValueError if the VAE belongs to another kind of model."""
    wanted = model.model.latent_format.latent_channels
    if latents.shape[0] != wanted:
        raise ValueError(
            f"The VAE makes latents of {latents.shape[0]} channels, but the MODEL works on "
            f"{wanted}. Use the VAE that belongs to the MODEL."
        )


def provenance(
    frozen: HostModel, model: ModelPatcher, settings: TrainingSettings, outcome: Outcome
) -> dict[str, object]:
    """How the embedding was made, for its file."""
    return {
        "method": type(settings.method).__name__.removesuffix("Settings").lower(),
        "settings": dict(vars(settings.method)),
        "learning_rate": [list(piece) for piece in settings.schedule.pieces],
        "schedule": settings.schedule.shape,
        "warmup": settings.schedule.warmup,
        "steps": settings.schedule.steps,
        "batch_size": settings.batch_size,
        "accumulation": settings.accumulation,
        "seed": settings.seed,
        **base_model(model),
        "prediction": frozen.prediction,
        "compute_dtype": str(frozen.compute_dtype).removeprefix("torch."),
        "validation_loss": {"initialiser": outcome.before, "learned": outcome.after},
    }


def base_model(model: ModelPatcher) -> dict[str, str]:
    """File name and SHA-256 of the checkpoint, as far as the loader left it with the model, else
    the kind of model.
    """
    made_by = getattr(model, "cached_patcher_init", None)
    source = made_by[1][0] if made_by and made_by[1] else None
    if not isinstance(source, str) or not Path(source).is_file():
        return {"base_model": type(model.model).__name__}
    return {"base_model": Path(source).name, "base_model_hash": checkpoint_hash(Path(source))}
