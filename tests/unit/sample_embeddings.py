"""Embeddings of every family, and files as the other trainers write them."""

from pathlib import Path

import torch
from torch import Tensor

from ti_core.word.embedding import Embedding
from ti_core.word.formats import FORMATS, Export, write_files

FAMILIES = {
    "SD 1": {"clip_l": 768},
    "SD 2": {"clip_h": 1024},
    "SDXL": {"clip_l": 768, "clip_g": 1280},
    "SD 3": {"clip_l": 768, "clip_g": 1280, "t5xxl": 4096},
    "Flux": {"clip_l": 768, "t5xxl": 4096},
    "T5 only": {"t5xxl": 4096},
    "Z-Image": {"qwen3_4b": 2560},
}


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    """Vectors as long as a vocabulary's."""
    return 0.02 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def embedding(**widths: int) -> Embedding:
    """A trained word with two vectors per encoder."""
    vectors = {key: rows(2, width, seed) for seed, (key, width) in enumerate(widths.items())}
    initial = {key: rows(2, width, 99) for key, width in widths.items()}
    recipe = {
        "steps": 400,
        "prediction": "eps",
        "base_model": "base.safetensors",
        "validation_loss": {"initializer": 0.5, "learned": 0.25},
    }
    return Embedding("my-cat", "cat", vectors, initial, recipe)


def write(base: Path, made: Embedding, kind: str, export: Export | None = None) -> list[Path]:
    """The files of a format."""
    return write_files(base, FORMATS[kind].write(made, export or Export()))


def same_vectors(found: Embedding, made: Embedding) -> None:
    """Bit for bit, and no encoder more or less."""
    assert set(found.vectors) == set(made.vectors)
    assert all(found.vectors[key].equal(value) for key, value in made.vectors.items())
