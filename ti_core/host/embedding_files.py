"""Embedding files in the host's folders."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.sd import CLIP
from PIL import Image
from torch import Tensor

from ..quoted import quoted, shown
from ..word.embedding import Embedding, check_initializer, check_placeholder, initial_rows
from ..word.formats import FORMATS, Export, NumberType, read_embedding, write_files
from ..word.formats.file_names import (
    IMAGES,
    embedding_below,
    embeddings_below,
    name_to_write,
    word_of_file,
)
from ..word.formats.storage import reason, with_ending
from .file_state import states_of
from .models.compatibility import is_within_directory
from .models.text import check_fits, encoders

DROPPED = "input/"
HASH_CHUNK = 16 << 20
MOST_TOKENS = 75
SOME = 3
RUN = "run"  # in a recipe: by which the run is known


def embedding_path(name: str) -> Path:
    """Where an embedding of that name is saved, without the ending: in the first embeddings folder
    or a sub-folder of it, which may be a link, as everywhere in the host.
    """
    return Path(folder_paths.get_folder_paths("embeddings")[0], name_to_write(name))


def embedding_files() -> list[str]:
    """Files to choose from: those in the embeddings folders, as paths below their folder."""
    roots = folder_paths.get_folder_paths("embeddings")
    return sorted({name for root in roots for name in embeddings_below(root)}, key=str.casefold)


def chosen_file(choice: str) -> Path:
    """The file behind a choice of `embedding_files`, or behind `input/name`, where files lie that
    were dropped onto the node; never outside these folders, but for links in an embeddings folder,
    which the host follows too.
    """
    for root in folder_paths.get_folder_paths("embeddings"):
        if path := embedding_below(root, choice):
            return path
    if choice.startswith(DROPPED):
        root = folder_paths.get_input_directory()
        path = embedding_below(root, choice.removeprefix(DROPPED))
        if path and is_within_directory(root, str(path)):
            return path
    raise ValueError(
        f"There is no embedding file {quoted(choice)}. Put it into ComfyUI's models/embeddings "
        f"folder, press R to refresh the page, and choose it."
    )


def namesakes(choice: str) -> list[str]:
    """Other files of the embeddings folders whose names are the same word, of which one hides the
    others in tools that go by that alone; an image beside a file is shown by them, and is none.
    """
    path = PurePath(choice)
    if choice.startswith(DROPPED) or path.suffix.lower() in IMAGES:
        return []
    word = word_of_file(path, "", counts=False)[0].casefold()
    others = (PurePath(name) for name in embedding_files() if name != choice)
    alike = (one for one in others if word_of_file(one, "", counts=False)[0].casefold() == word)
    return [one.as_posix() for one in alike if one.suffix.lower() not in IMAGES]


def namesakes_note(choice: str) -> str:
    """That other files have the same name, and what that means; empty if none has."""
    others = namesakes(choice)
    if not others:
        return ""
    more = f" and {len(others) - SOME} more" if len(others) > SOME else ""
    return (
        f"Other files have the same name: {', '.join(map(shown, others[:SOME]))}{more}. "
        f"AUTOMATIC1111, Forge and SD.Next see only one of them, and here they would be the same "
        f"word: enter another trigger word, or rename a file."
    )


def file_state(choice: str) -> str:
    """Changes when the file or one beside it with a similar name changes, or another gets its name
    or loses it.
    """
    path = chosen_file(choice)
    ending = path.suffix.lower()
    files = sorted(one for one in path.parent.iterdir() if one.suffix.lower() == ending)
    stems = {path.stem, path.stem.removesuffix("_2"), f"{path.stem}_2"}
    near = [file for file in files if file.stem in stems or file.stem.startswith("learned_embeds")]
    return repr(([state for state in states_of(near) if state], namesakes(choice)))


def load_embedding(
    choice: str, word: str, clip: CLIP | None, placeholder: str, initializer: str
) -> Embedding:
    """The embedding in a file of the folders. With a CLIP it is checked to fit, and starts at
    the initializer that its recipe or the caller names; without, that remains unknown.
    """
    widths = {} if clip is None else {key: part.width for key, part in encoders(clip).items()}
    with torch.inference_mode(False), torch.no_grad():
        if placeholder:
            check_placeholder(placeholder)
        found = read_embedding(chosen_file(choice), word, widths, placeholder)
        # It is no longer what the run gives: saved again, it is to replace nothing.
        recipe = {name: value for name, value in found.provenance.items() if name != RUN}
        found = replace(found, provenance=recipe, source=choice)
        check_initializer(initializer)
        own = str(found.provenance.get("initializer", ""))
        known = initializer or (own if clip is None else within_tokens(own, clip))
        if known:
            made = {**found.provenance, "initializer": known}
            found = replace(found, initializer=known, provenance=made)
        return found if clip is None else on_clip(found, clip, known)


def within_tokens(text: str, clip: CLIP) -> str:
    """A text from a file, shortened until no encoder reads more tokens than fit into a prompt."""
    while any(len(part.token_ids(text)) > MOST_TOKENS for part in encoders(clip).values()):
        text = text[: len(text) * 3 // 4].rstrip("\\ ")
    return text


def on_clip(found: Embedding, clip: CLIP, initializer: str) -> Embedding:
    """The embedding, checked to fit a CLIP, with the vocabulary's vectors of its initializer as
    start.
    """
    check_fits(found, clip)
    parts = encoders(clip)
    # Parentheses of a file's initializer are marked as letters, for prompts.
    plain = initializer.replace("\\(", "(").replace("\\)", ")")
    ids = {key: parts[key].token_ids(plain) for key in found.vectors}
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
    """Write the files of a format into the embeddings folder, and return where they are; those that
    the same run has written there before are replaced.
    """
    base = embedding_path(name or embedding.placeholder)
    files = FORMATS[kind].write(embedding, export)
    earlier = None if overwrite else written_before(base, list(files), embedding)
    try:
        return write_files(earlier or base, files, overwrite or earlier is not None)
    except OSError as error:
        raise RuntimeError(
            f"The embedding cannot be written to {base.parent} ({reason(error)}). Free disk space, "
            f"allow ComfyUI to write there, or choose another name."
        ) from error


def written_before(base: Path, endings: Sequence[str], embedding: Embedding) -> Path | None:
    """The name among `base`, `base-2`, ... under which the run that made the embedding has written
    such files; None for an embedding of no stored run.
    """
    run, number, candidate = embedding.provenance.get(RUN), 1, base
    while run and any(paths := [path for path in beside(candidate, endings) if path.exists()]):
        if len(paths) == len(endings) and all(run_of(path) == run for path in paths):
            return candidate
        number += 1
        candidate = with_ending(base, f"-{number}")
    return None


def beside(base: Path, endings: Sequence[str]) -> list[Path]:
    """Files of one name with several endings."""
    return [with_ending(base, ending) for ending in endings]


def run_of(path: Path) -> object:
    """The run that a file's recipe names; None if it names none, or cannot be read."""
    try:
        return read_embedding(path).provenance.get(RUN)
    except (ValueError, OSError):
        return None


def in_prompts(path: Path, embedding: Embedding, kind: str) -> str:
    """The text by which prompts use a saved file; empty where ComfyUI does not read the format."""
    name = name_below(path)
    readable = "ComfyUI" in FORMATS[kind].readers(embedding)
    return f"embedding:{name.removesuffix(path.suffix)}" if readable else ""


def name_below(path: Path) -> str:
    """The name of a saved file below the embeddings folder, which is nobody else's business."""
    return path.relative_to(folder_paths.get_folder_paths("embeddings")[0]).as_posix()


def export_settings(
    storage: NumberType, image: Tensor | None, prompt: Any, extra: Mapping[str, Any] | None
) -> Export:
    """How to write, with the first image of a batch `[n, h, w, 3]` as sample, and the graph for
    the chunks of an image unless the host was told to write no metadata.
    """
    sample = None if image is None else Image.fromarray(pixels(image[0]))
    graph = {} if args.disable_metadata else {"prompt": prompt, **(extra or {})}
    return Export(storage, sample, {k: json.dumps(v) for k, v in graph.items() if v is not None})


def pixels(image: Tensor) -> np.ndarray:
    """An image `[h, w, 3]` in 0..1 as bytes."""
    return (image[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()


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
