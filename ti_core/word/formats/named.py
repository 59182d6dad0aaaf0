"""Tensors under the names of text encoders: kohya, invoke-training, ai-toolkit, OneTrainer and the
pivotal scripts of diffusers; and the file that we write by default.
"""

import json
import re

from ..families import ENCODERS, KINDS
from .contents import Contents, Draft, Stored
from .facts import name_of
from .mistaken import Mistaken

ANY_ENCODER = ("emb_params", "emp_params")  # Only the width tells which.
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
ONLY_ONETRAINER = (
    "it is an output embedding of OneTrainer: its vectors are inserted after the text encoder, "
    "where only OneTrainer can use them, and it "
    "has no others. In OneTrainer, train the word with 'output embedding' switched off"
)
ENCODER = re.compile(r"[A-Za-z0-9_.]{1,64}")
MAX_ENCODERS = 16
MAX_FACT = 1000


def read(contents: Contents) -> list[Draft] | None:
    """The one word of such a file, or None if there are other names in it."""
    tensors = contents.tensors
    if not tensors or not all(is_encoder(name.removesuffix(OUTPUT_SPACE)) for name in tensors):
        return None
    check_encoders(tensors)
    facts = toolkit_facts(contents)
    return [draft_of(name_of(facts.pop("name", "")), tensors, facts)]


def draft_of(
    name: str, tensors: dict[str, Stored], facts: dict[str, object], beside: bool = False
) -> Draft:
    """A word of tensors by encoder. Those that OneTrainer puts behind an encoder are left out,
    because no other tool has a place for them, and named in the facts.
    """
    inputs = {key: kept for key, kept in tensors.items() if not key.endswith(OUTPUT_SPACE)}
    outputs = sorted(tensors.keys() - inputs.keys())
    if not inputs:
        raise Mistaken(ONLY_ONETRAINER)
    stated = {**facts, "left_out": outputs} if outputs else facts
    behind = frozenset(encoder_of(key.removesuffix(OUTPUT_SPACE)) for key in outputs)
    return Draft(name, tuple(keyed(inputs)), stated, beside, outside=behind)


def is_encoder(name: str) -> bool:
    """Whether a tensor's name is one that trainers give to a text encoder's vectors."""
    plain = spelled(name)
    known = plain in ANY_ENCODER or plain in ALIASES or plain in ENCODERS or plain in KINDS
    return known or (plain.startswith(HOST_KEYS) and "." not in plain)


def spelled(name: str) -> str:
    """A name of an encoder as the host writes it: 'CLIP-L' is `clip_l`."""
    return name.lower().replace("-", "_").replace(" ", "_")


def check_encoders(tensors: dict[str, Stored]) -> None:
    """Raise ValueError where a word has tensors for more encoders than any model has, or for one
    with an impossible name.
    """
    if len(tensors) > MAX_ENCODERS or not all(map(ENCODER.fullmatch, map(spelled, tensors))):
        raise ValueError(
            f"its {len(tensors)} tensors are not those of at most {MAX_ENCODERS} text encoders"
        )


def keyed(tensors: dict[str, Stored]) -> list[tuple[str | None, Stored]]:
    """Tensors with the host's encoder keys; of a tensor under two names the host's counts."""
    aliases = {name for name in tensors if spelled(name) in ALIASES}
    hosts = {encoder_of(name) for name in tensors.keys() - aliases}
    named = [(encoder_of(name), name) for name in tensors]
    return [(key, tensors[name]) for key, name in named if name not in aliases or key not in hosts]


def encoder_of(name: str) -> str | None:
    """What a tensor's name says of its encoder; None where only the width tells it."""
    plain = spelled(name)
    if plain.startswith("clip_") and plain not in ENCODERS:
        return "clip"
    return None if plain in ANY_ENCODER else ALIASES.get(plain, plain)


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
