"""Pictures in the host's folders, read as a person sees them."""

import os
import re
from pathlib import Path

import folder_paths
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..concept import PICTURE_SUFFIXES

NO_FOLDER = "none"


def picture_folders() -> list[str]:
    """The folders to choose from: sub-folders of input/ and of the datasets folders, as
    `input/cats` and `datasets/cats`.
    """
    inputs = [f"input/{name}" for name in folder_paths.get_input_subfolders()]
    datasets = {f"datasets/{name}" for root in dataset_roots() for name in subfolders(root)}
    return [NO_FOLDER, *inputs, *sorted(datasets)]


def dataset_roots() -> list[Path]:
    """The host's datasets folders; none in versions that do not have them."""
    return [
        Path(root) for root in folder_paths.folder_names_and_paths.get("datasets", ([], set()))[0]
    ]


def subfolders(root: Path) -> list[str]:
    """Paths of all folders below `root`, relative to it, with forward slashes."""
    return [
        Path(found).relative_to(root).as_posix()
        for found, _, _ in os.walk(root)
        if Path(found) != root
    ]


def folder_path(choice: str) -> Path:
    """The folder behind a choice of `picture_folders`, or ValueError if it is not inside input/ or
    a datasets folder.
    """
    kind, _, name = choice.partition("/")
    roots = {"input": [Path(folder_paths.get_input_directory())], "datasets": dataset_roots()}.get(
        kind, []
    )
    for root in roots:
        path = root / name
        if name and path.is_dir() and folder_paths.is_within_directory(str(root), str(path)):
            return path
    raise ValueError(
        f"There is no picture folder {choice!r}. Put the pictures into a sub-folder of ComfyUI's "
        f"input/ or datasets/ folder, refresh the page (R) and choose it."
    )


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder, in natural order (2 before 10)."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def folder_state(choice: str) -> str:
    """Changes when a picture of the folder is added, removed or changed."""
    return repr(
        [
            (path.name, path.stat().st_mtime_ns, path.stat().st_size)
            for path in picture_files(folder_path(choice))
        ]
    )


def read_pictures(choice: str) -> list[tuple[str, Tensor]]:
    """Names and pictures `[h, w, 3]` in 0..1 of a folder; a file that cannot be read is an error
    that names it.
    """
    files = picture_files(folder_path(choice))
    if not files:
        raise ValueError(
            f"The folder {choice!r} holds no pictures ({', '.join(PICTURE_SUFFIXES)})."
        )
    return [(path.name, read_picture(path)) for path in files]


def read_picture(path: Path) -> Tensor:
    """A picture file as a person sees it `[h, w, 3]` in 0..1: turned by its EXIF entry,
    transparency over white, the first frame of an animation.
    """
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits a channel, which convert() would clip.
                picture = Image.fromarray(
                    (np.asarray(picture, dtype=np.float32) / 257.0).clip(0, 255).astype(np.uint8)
                )
            layers = picture.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"The picture {path.name!r} cannot be read ({error}). Replace it, or move it out of "
            f"the folder."
        ) from error
    flat = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return torch.from_numpy(np.asarray(flat, dtype=np.float32) / 255.0)
