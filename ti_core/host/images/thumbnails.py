"""Small copies of images, to show and to compare, and their sides, found once."""

import io
import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...concept.gather import difference_hash
from .image_files import read_small
from .parts.image_stream import opened_image

SIDE = 128  # pixels
KEPT = 2000  # images, of some kilobytes each
TYPE = "image/jpeg"

_decoding = threading.Lock()  # One at a time: a large image takes some 285 MB meanwhile.


class Thumbnail(NamedTuple):
    """An image's small copy, a file of `TYPE`, and its look in 64 bits."""

    file: bytes
    look: int


def thumbnail(path: Path) -> Thumbnail | None:
    """The small copy of an image file as it is now; None of one that cannot be read, or has gone
    meanwhile.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return made(path, state.st_mtime_ns, state.st_size)


@lru_cache(KEPT)
def made(path: Path, changed: int, size: int) -> Thumbnail | None:
    """The small copy of a file that was changed then and has so many bytes."""
    try:
        with _decoding:
            small = read_small(path, SIDE)
    except Exception:  # Pillow's readers fail in every way on broken files.
        return None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return Thumbnail(file.getvalue(), difference_hash(torch.from_numpy(np.array(small))))


def sides_of(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file as it is now, by its header; None of one that cannot be
    read.
    """
    state = path.stat()
    return sides_found(path, state.st_mtime_ns, state.st_size)


@lru_cache(KEPT)
def sides_found(path: Path, changed: int, size: int) -> tuple[int, int] | None:
    """The sides of a file that was changed then and has so many bytes."""
    try:
        with opened_image(path) as (opened, _, _):
            return opened.size
    except Exception:  # Pillow's readers fail in every way on broken files.
        return None
