"""Pictures that carry an embedding as AUTOMATIC1111 writes and reads it: in a text chunk, and in
panels beside the picture.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .contents import MAX_VALUES, Contents, Stored
from .panels import payload_of, with_panels

CHUNK = "sd-ti-embedding"
TENSOR = "TORCHTENSOR"
KINDS = ("PNG", "WEBP", "AVIF")
MAX_PIXELS = 8 << 20
MAX_JSON = 4 << 20
MAX_BRACKETS = 20_000  # A row of numbers takes one; a million lists would take memory and time.
TILE_SHADES = 1024


def read_embedding_picture(path: Path) -> Contents:
    """The dict that a picture carries."""
    try:
        with Image.open(path, formats=KINDS) as opened:
            text, pixels = text_and_pixels(opened)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is a picture that cannot be read ({error})") from error
    carried = text.get(CHUNK)
    written = from_base64(carried) if carried is not None else from_panels(pixels)
    metadata = {key: value for key, value in text.items() if key != CHUNK}
    return Contents(from_json(written), path.stem, metadata)


def text_and_pixels(opened: Image.Image) -> tuple[dict[str, str], np.ndarray]:
    """Text chunks and pixels `[h, w, 3]` of a picture."""
    if opened.width * opened.height > MAX_PIXELS:
        raise ValueError(f"it is a picture of more than {MAX_PIXELS} pixels, too large for a card")
    pixels = np.asarray(opened.convert("RGB"))
    return dict(getattr(opened, "text", {})), pixels


def from_base64(text: str) -> bytes:
    """The text chunk's JSON."""
    if len(text) * 3 // 4 > MAX_JSON:
        raise ValueError(f"its text chunk takes {len(text)} bytes, more than an embedding's could")
    return base64.b64decode(text)


def from_panels(pixels: np.ndarray) -> bytes:
    """The panels' JSON, decompressed to a bounded size."""
    payload = payload_of(pixels)
    if payload is None:
        raise ValueError("it is a picture without an embedding (no text chunk, no side panels)")
    try:
        stream = zlib.decompressobj()
        written = stream.decompress(payload, MAX_JSON)
    except zlib.error as error:
        raise ValueError(
            "its side panels are damaged (perhaps by JPEG compression or resizing), or it is an "
            "ordinary picture"
        ) from error
    if not stream.eof:
        raise ValueError("its side panels hold more than an embedding, or are cut off")
    return written


def from_json(written: bytes) -> object:
    """The dict, with its tensors unread."""
    if written.count(b"[") + written.count(b"{") > MAX_BRACKETS:
        raise ValueError("its content has more parts than an embedding")
    try:
        return json.loads(written, object_hook=entry_or_tensor)
    except (ValueError, RecursionError, TypeError, OverflowError) as error:
        raise ValueError(f"its content is damaged ({str(error)[:120]})") from error


def entry_or_tensor(entry: dict[str, object]) -> object:
    """A dict of the JSON, as a tensor where it stands for one."""
    if TENSOR not in entry:
        return entry
    numbers = np.asarray(entry[TENSOR], dtype=np.float64)
    if numbers.size > MAX_VALUES:
        raise ValueError("its content has more values than an embedding could have")
    return Stored(numbers.shape, lambda: torch.from_numpy(numbers.astype(np.float32)))


def to_json(data: Mapping[str, object]) -> bytes:
    """The JSON of a dict with tensors."""
    return json.dumps(data, default=lambda rows: {TENSOR: rows.tolist()}).encode()


def with_embedding(
    picture: Image.Image, data: Mapping[str, object], rows: Tensor, text: Mapping[str, str]
) -> tuple[Image.Image, PngInfo]:
    """The picture between panels that carry `data`, tiled in the shades of `rows` `[n, dim]`, and
    its text chunks: `data` once more, and `text`.
    """
    written = to_json(data)
    if len(written) > MAX_JSON:
        raise ValueError(
            f"The embedding takes {len(written)} bytes as text, too many for a picture. Choose "
            f"another format, or use fewer vectors."
        )
    size = rows[0, :TILE_SHADES].abs()
    shades = (size / size.max().clamp_min(1e-12) * 255).to(torch.uint8).numpy()
    chunks = PngInfo()
    chunks.add_text(CHUNK, base64.b64encode(written).decode())
    for key, value in text.items():
        chunks.add_text(key, value)
    return with_panels(picture, zlib.compress(written, 9), shades), chunks
