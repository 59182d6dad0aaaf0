"""Embedding files in the host's folders."""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.sd import CLIP
from PIL import Image
from torch import Tensor

from ..word.embedding import Embedding, check_placeholder, initial_rows
from ..word.formats import FORMATS, Export, NumberType, free_base, read_embedding, write_files
from .models.compatibility import is_within_directory
from .models.text import check_fits, encoders

FILE_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
PICTURES = (".png", ".webp", ".avif")
SUFFIXES = (".safetensors", ".pt", ".bin", ".ckpt", ".pth", *PICTURES)
PREVIEW = ".preview"
DROPPED = "input/"
HASH_CHUNK = 16 << 20


def embedding_path(name: str) -> Path:
    """Where an embedding of that name is saved, without the ending: in the first embeddings folder
    or a sub-folder of it, never outside.
    """
    parts = name.replace("\\", "/").split("/")
    if not all(FILE_NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f"The name {name!r} is not allowed for an embedding file. Use letters, digits, '_', "
            f"'-' and '.', and '/' for a sub-folder: my-cat, pets/my-cat."
        )
    root = Path(folder_paths.get_folder_paths("embeddings")[0])
    last = parts[-1]
    path = root.joinpath(*parts[:-1], last[: -len(suffix(last))] if suffix(last) else last)
    if not is_within_directory(str(root), str(path)):
        raise ValueError(
            f"The name {name!r} leads outside the embeddings folder {root}. Choose "
            f"another sub-folder."
        )
    return path


def suffix(name: str) -> str:
    """The ending that says that a name is one of an embedding file, or nothing."""
    ending = Path(name).suffix
    return ending if ending.lower() in SUFFIXES else ""


def embedding_files() -> list[str]:
    """Files to choose from: those in the embeddings folders that may hold an embedding, as paths
    below their folder, without pictures that other tools show beside one.
    """
    roots = [Path(root) for root in folder_paths.get_folder_paths("embeddings")]
    found = {
        path.relative_to(root).as_posix()
        for root in roots
        for path in root.rglob("*")
        if suffix(path.name) and not path.stem.endswith(PREVIEW) and path.is_file()
    }
    return sorted(found, key=str.casefold)


def chosen_file(choice: str) -> Path:
    """The file behind a choice of `embedding_files`, or behind `input/name`, where files lie that
    were dropped onto the node; never outside these folders.
    """
    places = [(root, choice) for root in folder_paths.get_folder_paths("embeddings")]
    if choice.startswith(DROPPED):
        places.append((folder_paths.get_input_directory(), choice.removeprefix(DROPPED)))
    for root, name in places:
        path = Path(root, name)
        inside = is_within_directory(root, str(path))
        if name and inside and suffix(path.name) and path.is_file():
            return path
    raise ValueError(
        f"There is no embedding file {choice!r}. Put it into ComfyUI's models/embeddings folder, "
        f"press R to refresh the page, and choose it."
    )


def file_state(choice: str) -> str:
    """Changes when the file or one beside it with a similar name changes."""
    path = chosen_file(choice)
    files = sorted(path.parent.glob(f"*{path.suffix}"))
    stems = {path.stem, path.stem.removesuffix("_2"), f"{path.stem}_2"}
    near = [file for file in files if file.stem in stems or file.stem.startswith("learned_embeds")]
    return repr([(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in near])


def load_embedding(
    choice: str, word: str, clip: CLIP | None, placeholder: str, initialiser: str
) -> Embedding:
    """The embedding in a file of the folders. With a CLIP it is checked to fit, and starts at
    the initialiser that its recipe or the caller names; without, that remains unknown.
    """
    widths = {} if clip is None else {key: part.width for key, part in encoders(clip).items()}
    with torch.inference_mode(False), torch.no_grad():
        found = read_embedding(chosen_file(choice), word, widths)
        if placeholder:
            check_placeholder(placeholder)
            found = replace(found, placeholder=placeholder)
        known = initialiser or str(found.provenance.get("initialiser", ""))
        if known:
            made = {**found.provenance, "initialiser": known}
            found = replace(found, initialiser=known, provenance=made)
        return found if clip is None else on_clip(found, clip, known)


def on_clip(found: Embedding, clip: CLIP, initialiser: str) -> Embedding:
    """The embedding, checked to fit a CLIP, with the vocabulary's vectors of its initialiser as
    start.
    """
    check_fits(found, clip)
    parts = encoders(clip)
    ids = {key: parts[key].token_ids(initialiser) for key in found.vectors}
    if not all(ids.values()):
        return found  # Nothing was said, or nothing that has tokens.
    initial = {
        key: initial_rows(parts[key].rows(tokens).clone(), len(found.vectors[key]))
        for key, tokens in ids.items()
    }
    return replace(found, initial=initial)


def save_embedding(
    embedding: Embedding, name: str, kind: str, export: Export, overwrite: bool
) -> list[Path]:
    """Write the files of a format into the embeddings folder, and return where they are."""
    base = embedding_path(name or embedding.placeholder)
    files = FORMATS[kind].write(embedding, export)
    return write_files(base if overwrite else free_base(base, files), files)


def export_settings(
    storage: NumberType, picture: Tensor | None, prompt: Any, extra: Mapping[str, Any] | None
) -> Export:
    """How to write, with the first picture of a batch `[n, h, w, 3]` as sample, and the graph for
    the chunks of a picture unless the host was told to write no metadata.
    """
    sample = None if picture is None else Image.fromarray(pixels(picture[0]))
    graph = {} if args.disable_metadata else {"prompt": prompt, **(extra or {})}
    return Export(storage, sample, {k: json.dumps(v) for k, v in graph.items() if v is not None})


def pixels(picture: Tensor) -> np.ndarray:
    """A picture `[h, w, 3]` in 0..1 as bytes."""
    return (picture[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()


def checkpoint_hash(path: Path) -> str:
    """SHA-256 of a checkpoint, of which other tools show the first ten digits; read once for each
    state of the file.
    """
    state = path.stat()
    return sha256(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def sha256(path: Path, modified: int, size: int) -> str:
    """SHA-256 of a file, read in pieces; the host's Cancel ends it after the current one."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            throw_exception_if_processing_interrupted()
            digest.update(chunk)
    return digest.hexdigest()
