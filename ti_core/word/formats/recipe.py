"""The metadata of a file: the model metadata standard, and our own recipe as JSON."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone

import safetensors.torch
from PIL import Image
from torch import Tensor

from ...quoted import quoted
from ..embedding import Embedding
from ..families import family
from .contents import Contents, FileBytes, json_of

RECIPE = "textual_inversion"
STANDARD = "modelspec."
HASH = f"{STANDARD}hash_sha256"
VERSION = 1
# What a person has written into a file; it goes on into every file that is made of it.
KEPT = ("author", "description", "license", "tags", "usage_hint", "resolution", "encoder_layer")
KEPT += ("is_negative_embedding", "thumbnail")
PREDICTIONS = {"eps": "epsilon"}
# What kohya's scripts, and others after them, call what a recipe holds.
TRAINER = {
    "ss_training_type": "training_type",
    "ss_sd_model_name": "base_model",
    "ss_base_model_version": "base_model_version",
    "ss_new_sd_model_hash": "base_model_hash",
    "ss_steps": "steps",
    "ss_learning_rate": "learning_rate",
    "ss_seed": "seed",
}
PLAIN_NUMBER = re.compile(r"\d{1,15}")
CONTEXT = "learned_context"
HEADER_LENGTH = 8
THUMBNAIL_SIDE = 256


def file_metadata(embedding: Embedding, now: datetime | None = None) -> dict[str, str]:
    """Metadata of the Stability AI model metadata standard, and our own recipe as JSON under
    `textual_inversion`.
    """
    moment = (now or datetime.now(timezone.utc)).replace(microsecond=0, tzinfo=None)
    recipe = recipe_of(embedding)
    kept = recipe.pop("modelspec", {})
    known = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{family(embedding.vectors).architecture}/textual-inversion",
        "implementation": "comfyui-textual-inversion",
        "title": embedding.placeholder,
        "trigger_phrase": embedding.placeholder,
        "date": moment.isoformat(),
    }
    if "prediction" in recipe:
        known["prediction_type"] = PREDICTIONS.get(
            str(recipe["prediction"]), str(recipe["prediction"])
        )
    known |= dict(kept) if isinstance(kept, Mapping) else {}
    standard = {f"{STANDARD}{key}": str(value) for key, value in known.items()}
    return {**standard, RECIPE: json.dumps(recipe, sort_keys=True)}


def recipe_of(embedding: Embedding) -> dict[str, object]:
    """How the embedding was made; a file that only guesses its initializer does not tell one."""
    origin = {"initializer": embedding.initializer} if embedding.has_origin else {}
    recipe = {**origin, **embedding.provenance}
    return {
        **recipe,
        "version": VERSION,
        "placeholder": embedding.placeholder,
        "vectors": embedding.count,
    }


def read_recipe(metadata: Mapping[str, str], file: FileBytes) -> dict[str, object]:
    """Our recipe, and what the standard's entries tell, from a file's metadata."""
    found = recipe_in(metadata[RECIPE], file) if RECIPE in metadata else {}
    standard = {name: metadata.get(f"{STANDARD}{name}") for name in KEPT}
    if kept := {name: value for name, value in standard.items() if value}:
        found["modelspec"] = kept
    made_by = metadata.get(f"{STANDARD}implementation_version")
    return {**trainer_facts(metadata), **({"made_with": made_by} if made_by else {}), **found}


def trainer_facts(metadata: Mapping[str, str]) -> dict[str, object]:
    """What the scripts of kohya, and those made after them, tell of a training."""
    stated = {ours: metadata[theirs] for theirs, ours in TRAINER.items() if theirs in metadata}
    return {
        name: int(text) if PLAIN_NUMBER.fullmatch(text) else text for name, text in stated.items()
    }


def note_of_context(contents: Contents) -> None:
    """Note of rows that were trained to stand behind a text encoder, that they do not there."""
    metadata = contents.metadata
    if not any(
        CONTEXT in name or CONTEXT in metadata[name] for name in metadata if name[:3] == "ss_"
    ):
        return
    kind = metadata.get("ss_training_type") or CONTEXT
    contents.file.note(
        f"It is a learned context of another trainer ({quoted(kind)}), not a word: its vectors "
        f"were trained for use after the text encoder, next to the encoded prompt. ComfyUI and "
        f"these nodes insert the vectors of an embedding file before the encoder, where they mean "
        f"something else."
    )


def recipe_in(text: str, file: FileBytes) -> dict[str, object]:
    """Our own recipe, or nothing where it is damaged."""
    try:
        recipe = json_of(text.encode(), file.budget)
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict):
        file.note("The recipe in the file is damaged, and was left out.")
        return {}
    return {key: value for key, value in recipe.items() if key != "modelspec"}


def with_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the standard's hash: SHA-256 of the file without its header."""
    plain = safetensors.torch.save(dict(tensors))
    header = int.from_bytes(plain[:HEADER_LENGTH], "little") + HEADER_LENGTH
    digest = hashlib.sha256(memoryview(plain)[header:]).hexdigest()
    return {HASH: f"0x{digest}", **metadata}


def thumbnail_address(image: Image.Image) -> str:
    """A small JPEG as a data address, as the model metadata standard wants it."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
