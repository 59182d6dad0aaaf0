"""Tensors under the names of text encoders: kohya, invoke-training, ai-toolkit, OneTrainer and the
pivotal scripts of diffusers; and the file that we write by default.
"""

import json
import re

from ..families import ENCODERS
from .contents import Contents, Draft, Stored
from .facts import name_of

# Names for vectors of which only the width tells the encoder.
ANY_ENCODER = ("emb_params", "emp_params", "qwen", "gemma", "mistral")
HOST_KEYS = (
    "clip_l",
    "clip_g",
    "clip_h",
    "t5xxl",
    "llama",
    "qwen",
    "gemma",
    "mistral",
    "ministral",
)
HOST_KEYS += ("pile_t5xl", "umt5xxl", "byt5", "sam3_clip", "jina")
ALIASES = {"t5": "t5xxl", "t5_xxl": "t5xxl", "llama3": "llama"}
OUTPUT_SPACE = "_out"
ENCODER = re.compile(r"[A-Za-z0-9_.]{1,64}")
MAX_ENCODERS = 16
MAX_FACT = 1000


def read(contents: Contents) -> list[Draft] | None:
    """The one word of such a file, or None if there are other names in it."""
    tensors = contents.tensors
    inputs = {name: kept for name, kept in tensors.items() if not name.endswith(OUTPUT_SPACE)}
    if not inputs or not all(is_encoder(name) for name in inputs):
        return None
    check_encoders(tensors)
    facts = toolkit_facts(contents)
    if len(inputs) < len(tensors):
        # OneTrainer's vectors behind the encoder: nothing but OneTrainer has a place for them.
        facts["left_out"] = sorted(set(tensors) - set(inputs))
    return [Draft(name_of(facts.pop("name", "")), tuple(keyed(inputs)), facts)]


def is_encoder(name: str) -> bool:
    """Whether a tensor's name is one that trainers give to a text encoder's vectors."""
    known = name in ANY_ENCODER or name in ALIASES or name in ENCODERS
    return known or name.startswith(HOST_KEYS)


def check_encoders(tensors: dict[str, Stored]) -> None:
    """Raise ValueError where a word has tensors for more encoders than any model has, or for one
    with an impossible name.
    """
    if len(tensors) > MAX_ENCODERS or not all(map(ENCODER.fullmatch, tensors)):
        raise ValueError(
            f"its {len(tensors)} tensors are not those of at most {MAX_ENCODERS} text encoders"
        )


def keyed(tensors: dict[str, Stored]) -> list[tuple[str | None, Stored]]:
    """Tensors with the host's encoder keys; of a tensor under two names the host's counts."""
    known = {ALIASES.get(name, name): kept for name, kept in tensors.items() if name in ALIASES}
    known |= {name: kept for name, kept in tensors.items() if name not in ALIASES}
    return [(None if name in ANY_ENCODER else name, kept) for name, kept in known.items()]


def toolkit_facts(contents: Contents) -> dict[str, object]:
    """Name, step and checkpoint as ai-toolkit writes them into the metadata."""
    ours = {"name": "name", "step": "steps", "sd_checkpoint_name": "base_model"}
    found = {
        ours[key]: unquoted(contents.metadata[key]) for key in ours if key in contents.metadata
    }
    return {key: value for key, value in found.items() if isinstance(value, str | int)}


def unquoted(text: str) -> object:
    """A value that may stand as JSON."""
    try:
        return json.loads(text) if len(text) <= MAX_FACT else None
    except (ValueError, RecursionError):
        return text
