"""Embedding files in the host's folders."""

import re
from pathlib import Path

import folder_paths

FILE_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")


def embedding_path(name: str) -> Path:
    """Where an embedding of that name is saved: in the first embeddings folder or a sub-folder of
    it, never outside.
    """
    parts = name.replace("\\", "/").split("/")
    if not all(FILE_NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f"The name {name!r} is not a name for an embedding file. Allowed are letters, digits, "
            f"'_', '-' and '.', and '/' for a sub-folder: my-cat, pets/my-cat."
        )
    root = Path(folder_paths.get_folder_paths("embeddings")[0])
    path = root.joinpath(*parts[:-1], f"{parts[-1].removesuffix('.safetensors')}.safetensors")
    if not folder_paths.is_within_directory(str(root), str(path)):
        raise ValueError(f"The name {name!r} leads out of the embeddings folder {root}.")
    return path
