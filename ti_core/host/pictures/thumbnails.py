"""Small copies of pictures, to show and to compare, made once."""

import io
import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...concept.gather import look_of
from .picture_files import read_small

SIDE = 128  # pixels
KEPT = 2000  # pictures, of some kilobytes each
TYPE = "image/jpeg"

_decoding = threading.Lock()  # One at a time: a large picture takes some 285 MB meanwhile.


class Thumbnail(NamedTuple):
    """A picture's small copy, a file of `TYPE`, and its look in 64 bits."""

    file: bytes
    look: int


def thumbnail(path: Path) -> Thumbnail | None:
    """The small copy of a picture file as it is now; None of one that cannot be read."""
    state = path.stat()
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
    return Thumbnail(file.getvalue(), look_of(torch.from_numpy(np.array(small))))
