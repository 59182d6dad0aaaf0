"""How an embedding was made, for its file."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from comfy.model_patcher import ModelPatcher

from ..training.objective import Objective
from ..training.run import RunState
from ..training.settings import TrainingSettings
from ..training.settings_json import METHOD, as_json
from ..word.embedding import Embedding
from .embedding_files import RUN, checkpoint_hash
from .models.host_model import HostModel

DIGITS = 16  # of a run's key, as in the name of its folder
WRITTEN_BY_PEOPLE = "modelspec"  # author, license, tags and the like: see word/formats/recipe


def learned_word(
    embedding: Embedding, state: RunState, settings: TrainingSettings, key: str = ""
) -> Embedding:
    """The word as a run leaves it, with its recipe."""
    recipe = {**inherited(embedding), **provenance(state, settings), **known_by(key)}
    return replace(embedding, vectors=state.kept(settings.keep), provenance=recipe)


def inherited(embedding: Embedding) -> dict[str, object]:
    """What people have written into the file of a word: it stays when the word is trained on."""
    kept = embedding.provenance.get(WRITTEN_BY_PEOPLE)
    return {} if kept is None else {WRITTEN_BY_PEOPLE: kept}


def known_by(key: str) -> dict[str, object]:
    """The run in a recipe, by which a later save of it replaces the earlier file; nothing of a run
    that is not stored.
    """
    return {RUN: key[:DIGITS]} if key else {}


def provenance(state: RunState, settings: TrainingSettings) -> dict[str, object]:
    """Method, settings, steps, losses, and what it was trained on; values are JSON-ready."""
    chosen = as_json(settings)
    schedule, method = chosen["schedule"], chosen["method"]
    return {
        "method": method.pop(METHOD),
        "settings": method,
        "learning_rate": schedule["pieces"],
        "schedule": schedule["shape"],
        "warmup": schedule["warmup"],
        "steps": state.step,
        "steps_planned": schedule["steps"],
        "kept": chosen["keep"],
        "best_step": state.choice.step,
        **{name: chosen[name] for name in ("batch_size", "accumulation", "seed", "objective")},
        **state.origin,
        "validation_loss": {
            "initializer": state.initializer_loss,
            "learned": state.kept_loss(settings.keep),
        },
    }


def about(embedding: Embedding, settings: TrainingSettings) -> dict[str, str]:
    """What was asked for, by which a page tells the stored runs of a word apart."""
    return {
        "word": embedding.placeholder,
        "initializer": embedding.initializer if embedding.has_origin else "",
        "vectors": str(embedding.count),
        "method": as_json(settings.method)[METHOD],
        "rate": str(settings.schedule.pieces[0][0]),
        "batch": str(settings.batch_size * settings.accumulation),
        "seed": str(settings.seed),
    }


def origin(
    frozen: HostModel, model: ModelPatcher, sizes: Iterable[Sequence[int]], objective: Objective
) -> dict[str, str]:
    """What a run was trained on, with latents of these shapes."""
    usual = {objective.levels(frozen.usual_levels(shape)) for shape in sizes}
    ends = dict.fromkeys(str(pick(usual, key=lambda one: one.mean)) for pick in (min, max))
    return {
        **base_model(model),
        "prediction": frozen.prediction,
        "noise_levels": " to ".join(ends),
        "compute_dtype": str(frozen.compute_dtype).removeprefix("torch."),
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
