"""Images that carry an embedding as AUTOMATIC1111 writes and reads it: in a text chunk, and in
panels beside the image.
"""

import base64
import io
import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .contents import MAX_JSON, Contents, FileBytes, Stored, json_of
from .panels import payload_of, with_panels
from .png_chunks import SIGNATURE, chunks_of, inflated, only_pixels, texts_of
from .recipe import RECIPE, STANDARD

CHUNK = "sd-ti-embedding"
TENSOR = "TORCHTENSOR"
KINDS = ("PNG", "WEBP", "AVIF")
MAX_IMAGE = 20 << 20
MAX_PIXELS = 3 << 20  # A card of 1024 x 1024 with 75 vectors for SDXL has 2 million.
MAX_SIDE = 1 << 14  # A decoder keeps an address for each row.
TILE_SHADES = 1024


def read_embedding_image(file: FileBytes) -> Contents:
    """The dict that an image carries: in its text, else in its panels."""
    if file.length > MAX_IMAGE:
        raise ValueError(f"it is an image of {file.length} bytes, too large for a card")
    data, text = file.at(0, file.length), {}
    if data.startswith(SIGNATURE):
        chunks = chunks_of(data, file)
        text = dict(texts_of(data, chunks, (CHUNK, RECIPE, STANDARD), file))
        data = only_pixels(data, chunks)
    carried = text.pop(CHUNK, None)
    written = from_panels(pixels_of(data)) if carried is None else base64.b64decode(carried)
    return Contents(from_json(written, file), file, text, is_image=True)


def pixels_of(data: bytes) -> np.ndarray:
    """Pixels `[h, w, 3]` of an image."""
    try:
        with Image.open(io.BytesIO(data), formats=KINDS) as opened:
            if max(opened.size) > MAX_SIDE:
                raise ValueError(
                    f"it is an image of {opened.width} x {opened.height} pixels, too long for a "
                    f"card"
                )
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(
                    f"it is an image of more than {MAX_PIXELS} pixels, too large for a card"
                )
            return np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is an image that cannot be read ({error})") from error


def from_panels(pixels: np.ndarray) -> bytes:
    """The panels' JSON, decompressed to a bounded size."""
    payload = payload_of(pixels, MAX_JSON)
    if payload is None:
        raise ValueError("it is an image without an embedding (no text chunk, no side panels)")
    try:
        return inflated(payload, MAX_JSON)
    except zlib.error as error:
        raise ValueError(
            "its side panels are damaged (perhaps by JPEG compression or resizing), or it is an "
            "ordinary image"
        ) from error


def from_json(written: bytes, file: FileBytes) -> object:
    """The dict, with its tensors unread."""

    def entry_or_tensor(entry: dict[str, object]) -> object:
        if TENSOR not in entry:
            return entry
        numbers = np.asarray(entry[TENSOR], dtype=np.float64)
        return Stored(
            numbers.shape, lambda: torch.from_numpy(numbers.astype(np.float32)), file.budget
        )

    return json_of(written, file.budget, entry_or_tensor)


def to_json(data: Mapping[str, object]) -> bytes:
    """The JSON of a dict with tensors."""
    return json.dumps(data, default=lambda rows: {TENSOR: rows.tolist()}).encode()


def with_embedding(
    image: Image.Image, data: Mapping[str, object], rows: Tensor, text: Mapping[str, str]
) -> tuple[Image.Image, PngInfo]:
    """The image between panels that carry `data`, tiled in the shades of `rows` `[n, dim]`, and
    its text chunks: `data` once more, and `text`.
    """
    written = to_json(data)
    if len(written) > MAX_JSON:
        raise ValueError(
            f"The embedding takes {len(written)} bytes as text, too many for an image. Choose "
            f"another format, or use fewer vectors."
        )
    size = rows[0, :TILE_SHADES].abs()
    shades = (size / size.max().clamp_min(1e-12) * 255).to(torch.uint8).numpy()
    chunks = PngInfo()
    chunks.add_text(CHUNK, base64.b64encode(written).decode())
    for key, value in text.items():
        chunks.add_text(key, value)
    return with_panels(image, zlib.compress(written, 9), shades), chunks
