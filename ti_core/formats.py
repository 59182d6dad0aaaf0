"""Embedding files: what is written, under which names, with which metadata."""

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from .embedding import Embedding

Storage = Literal["fp32", "fp16"]
STORAGE: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
ARCHITECTURES: dict[frozenset[str], str] = {
    frozenset({"clip_l"}): "stable-diffusion-v1",
    frozenset({"clip_h"}): "stable-diffusion-v2-512",
    frozenset({"clip_l", "clip_g"}): "stable-diffusion-xl-v1-base",
    frozenset({"clip_g"}): "stable-diffusion-xl-v1-refiner",
    frozenset({"clip_l", "clip_g", "t5xxl"}): "stable-diffusion-v3",
    frozenset({"clip_l", "t5xxl"}): "flux-1",
}
SINGLE_ENCODER = ({"clip_l"}, {"clip_h"})


def file_tensors(embedding: Embedding, storage: Storage = "fp32") -> dict[str, Tensor]:
    """The tensors of a file that most tools read: `emb_params` for SD 1 and 2, else one per encoder
    under the host's key (`clip_l`, `clip_g`, `t5xxl`, ...).
    """
    stored = {
        key: rows.to(STORAGE[storage]).contiguous() for key, rows in embedding.vectors.items()
    }
    if set(stored) in SINGLE_ENCODER:
        return {"emb_params": next(iter(stored.values()))}
    return stored


def file_metadata(embedding: Embedding, now: datetime | None = None) -> dict[str, str]:
    """Metadata of the Stability AI model metadata standard, and our own recipe as JSON under
    `textual_inversion`.
    """
    moment = (now or datetime.now(timezone.utc)).replace(microsecond=0, tzinfo=None)
    recipe = {
        "placeholder": embedding.placeholder,
        "initialiser": embedding.initialiser,
        "vectors": embedding.count,
        **embedding.provenance,
    }
    architecture = ARCHITECTURES.get(frozenset(embedding.vectors), "+".join(embedding.vectors))
    known = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/textual-inversion",
        "modelspec.implementation": "comfyui-textual-inversion",
        "modelspec.title": embedding.placeholder,
        "modelspec.trigger_phrase": embedding.placeholder,
        "modelspec.date": moment.isoformat(),
    }
    if "prediction" in embedding.provenance:
        known["modelspec.prediction_type"] = {"eps": "epsilon"}.get(
            str(embedding.provenance["prediction"]), str(embedding.provenance["prediction"])
        )
    return {**known, "textual_inversion": json.dumps(recipe, sort_keys=True)}


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a file whole or not at all: under a temporary name beside it, then moved into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file(dict(tensors), part, dict(metadata))
        os.chmod(
            part, 0o666 & ~current_umask()
        )  # mkstemp makes files that only their owner may read.
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def current_umask() -> int:
    """The permission bits that new files of this process do without."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def free_path(path: Path) -> Path:
    """The path itself, or if it is taken the first free one of `name-2`, `name-3`, ..."""
    if not path.exists():
        return path
    number = 2
    while (candidate := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return candidate
