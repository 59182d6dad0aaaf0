"""The readers of embedding files and checkpoints, as targets of the fuzzer."""

import base64
import io
import json
import pickle
import random
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from fuzz_mutations import LARGEST, bent_bytes, bent_json, bent_lines, bent_pickle, json_bytes
from fuzz_watch import Target
from hostile_files import archive, encoded, good_files, png
from PIL import Image
from sample_embeddings import embedding, rows
from toy import ran, settings, word

from ti_core.store.checkpoint import checkpoint, opened, restored, sealed
from ti_core.training.optimizers import AdamWSettings
from ti_core.word.embedding import Embedding
from ti_core.word.formats import FORMATS, Export, read_embedding
from ti_core.word.formats.embedding_image import CHUNK
from ti_core.word.formats.panels import with_panels
from ti_core.word.formats.recipe import RECIPE
from ti_core.word.inspection import inspection_image, inspection_report

LONGEST_INITIALIZER = 200
SHOWN_ONE_IN = 8  # inputs; drawing and writing take longer than reading
LIKE = word().vectors


def read_file(folder: Path, data: bytes, ending: str = ".bin") -> None:
    """Load, inspect and save again what a file holds, as the nodes do."""
    path = folder / f"input{ending}"
    path.write_bytes(data)
    try:
        found = read_embedding(path)
    finally:
        path.unlink()
    check_text(found)
    if zlib.crc32(data) % SHOWN_ONE_IN:
        return
    inspection_report(found, {})
    inspection_image(found, {})
    for kind in FORMATS.values():
        if kind.readers(found):
            kind.write(found, Export())


def check_text(found: Embedding) -> None:
    """A file's words cannot name another embedding, nor break a prompt or a file."""
    assert len(found.initializer) <= LONGEST_INITIALIZER, "a long initializer"
    assert "embedding:" not in found.initializer.lower(), "an initializer that names a file"
    for text in (found.initializer, found.placeholder, json.dumps(dict(found.provenance))):
        text.encode()


def safetensors_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and values of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def bent_safetensors(samples: Sequence[bytes], seed: int) -> bytes:
    """A file whose header was changed as JSON, or as bytes."""
    draws = random.Random(seed)
    if draws.random() < 0.3:
        return bent_bytes(samples, seed)
    header, values = safetensors_parts(draws.choice(samples))
    kept = header.get("__metadata__", {})
    if RECIPE in kept and draws.random() < 0.5:
        kept[RECIPE] = json.dumps(bent_json(json.loads(kept[RECIPE]), draws))
    else:
        header = bent_json(header, draws)
    text = json_bytes(header)
    return len(text).to_bytes(8, "little") + text + values


@cache
def safetensors_samples() -> list[bytes]:
    """One and several encoders, several words."""
    made = embedding(clip_l=768, clip_g=1280)
    words = {"<a>": rows(1, 768), "<b>": rows(2, 768)}
    return [
        good_files()["safetensors"],
        FORMATS["standard"].write(made, Export())[".safetensors"],
        safetensors.torch.save({key: value.clone() for key, value in words.items()}),
    ]


def torch_files(old: bool) -> list[bytes]:
    """What torch.save makes of the things that trainers save."""
    several = {f"<{n}>": rows(1, 768, n) for n in range(3)}
    things = (
        {"emb_params": rows(2, 768)},
        {"string_to_token": {"*": 265}, "string_to_param": {"*": rows(2, 768)}, "name": "cat"},
        several,
        {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(rows(1, 768))})},
        {"clip_l": rows(1, 768).half(), "clip_g": rows(1, 1280).half()},
    )
    return [saved(thing, old) for thing in things]


def saved(thing: object, old: bool) -> bytes:
    """A file of torch.save."""
    file = io.BytesIO()
    torch.save(thing, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


@cache
def plain_samples() -> list[bytes]:
    return torch_files(old=True)


@cache
def pickle_samples() -> list[bytes]:
    """The pickles inside of the archives, and of other protocols."""
    found = []
    for data in torch_files(old=False):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            name = next(name for name in opened.namelist() if name.endswith("data.pkl"))
            found.append(opened.read(name))
    plain = {"name": "cat", "step": 5, "list": [1, 2.5, None, (True, "x")], 3: {"a": b"b"}}
    return [*found, *(pickle.dumps(plain, protocol) for protocol in range(5))]


def read_pickle(folder: Path, data: bytes) -> None:
    """A pickle in an archive that is otherwise as it should be."""
    read_file(folder, archive(data, b"\0\0\x80\x3f" * 1536))


@cache
def archive_samples() -> list[bytes]:
    return torch_files(old=False)


@cache
def card_samples() -> list[bytes]:
    return [good_files()["png"], png(Image.effect_noise((64, 64), 60).convert("RGB"))]


@cache
def carried_samples() -> list[bytes]:
    """The JSON that a card carries."""
    with Image.open(io.BytesIO(good_files()["png"])) as opened:
        return [base64.b64decode(opened.text[CHUNK])]  # type: ignore[attr-defined]


def bent_carried(samples: Sequence[bytes], seed: int) -> bytes:
    """JSON that was changed as a tree, or as bytes."""
    draws = random.Random(seed)
    if draws.random() < 0.2:
        return bent_bytes(samples, seed)
    return json_bytes(bent_json(json.loads(draws.choice(samples)), draws))[:LARGEST]


def read_chunk(folder: Path, data: bytes) -> None:
    """JSON in the text chunk of a card."""
    small = Image.new("RGB", (16, 16))
    read_file(folder, png(small, base64.b64encode(data).decode()), ".png")


def read_panels(folder: Path, data: bytes) -> None:
    """JSON in the panels of an image, zipped."""
    small = Image.new("RGB", (64, 64), "gray")
    shades = torch.arange(9).numpy().astype("uint8") + 90
    read_file(folder, encoded(with_panels(small, zlib.compress(data), shades), "PNG"), ".png")


@cache
def checkpoint_samples() -> list[bytes]:
    """A run of a few steps."""
    return [checkpoint(ran(settings(3, method=AdamWSettings())))]


def bent_checkpoint(samples: Sequence[bytes], seed: int) -> bytes:
    """A checkpoint that was changed, or written anew with other facts and a digest that fits."""
    draws = random.Random(seed)
    if draws.random() < 0.5:
        return bent_safetensors(samples, seed)
    tensors, facts = opened(draws.choice(samples))
    facts.pop("digest")
    try:
        return sealed(tensors, dict(bent_json(facts, draws)))
    except (ValueError, TypeError):  # No checkpoint of ours could say that.
        return bent_safetensors(samples, seed)


def read_checkpoint(folder: Path, data: bytes) -> None:
    restored(data, LIKE)


def read_recipe_text(folder: Path, data: bytes) -> None:
    """A recipe in the metadata of a good file."""
    header, values = safetensors_parts(good_files()["safetensors"])
    header["__metadata__"] = {
        RECIPE: data.decode("utf-8", "replace"),
        "modelspec.author": data[:5000].decode("latin-1"),
        "modelspec.description": data[-5000:].decode("utf-8", "surrogateescape"),
    }
    text = json_bytes(header)
    read_file(folder, len(text).to_bytes(8, "little") + text + values)


@cache
def recipe_samples() -> list[bytes]:
    header, _ = safetensors_parts(good_files()["safetensors"])
    return [header["__metadata__"][RECIPE].encode()]


def bent_recipe(samples: Sequence[bytes], seed: int) -> bytes:
    """A recipe changed as JSON, or as text."""
    if seed % 3:
        return bent_carried(samples, seed)
    return bent_lines(samples, seed, ("embedding:a", "null"))


TARGETS = (
    Target("safetensors", safetensors_samples, bent_safetensors, read_file),
    Target("zip", archive_samples, bent_bytes, read_file),
    Target("plain torch file", plain_samples, bent_bytes, read_file),
    Target("pickle", pickle_samples, bent_pickle, read_pickle),
    Target("image", card_samples, bent_bytes, read_file),
    Target("image chunk", carried_samples, bent_carried, read_chunk),
    Target("image panels", carried_samples, bent_carried, read_panels),
    Target("recipe", recipe_samples, bent_recipe, read_recipe_text),
    Target("checkpoint", checkpoint_samples, bent_checkpoint, read_checkpoint),
)
