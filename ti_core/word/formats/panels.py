"""AUTOMATIC1111's panels beside an image: bytes in the low halves of the colors, which survive
whatever strips a file's text, as long as the pixels stay exact.

Left panel: the low four bits of every byte, right panel: the high four, each combined with a fixed
random sequence; one black column on either side of the image.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.integer]
CHANNELS = 3
MULTIPLIER, INCREMENT, MODULUS = 1664525, 1013904223, 2**32
TILE = 8
PIECE = 1 << 14


def with_panels(image: Image.Image, payload: bytes, shades: Pixels) -> Image.Image:
    """An RGB image between two panels that carry the payload; `shades` colors their tiles."""
    data = np.frombuffer(payload, np.uint8)
    height = image.height
    low = panel(data & 0x0F, height, shades)
    high = panel(data >> 4, height, shades[::-1])
    divider = np.zeros((height, 1, CHANNELS), np.uint8)
    parts = [low, divider, np.asarray(image.convert("RGB")), divider, high]
    return Image.fromarray(np.concatenate(parts, axis=1))


def panel(nibbles: Pixels, height: int, shades: Pixels) -> Pixels:
    """Half bytes as pixels `[height, n, 3]`, repeated to fill it; tiles of color in the other
    half.
    """
    size = len(nibbles) + height - len(nibbles) % height
    size += CHANNELS * height - size % (CHANNELS * height)
    block = np.resize(nibbles, size).reshape(height, -1, CHANNELS)
    return scrambled(block) | tiles(block.shape[0], block.shape[1], shades)


def tiles(height: int, width: int, shades: Pixels) -> Pixels:
    """Gray tiles `[height, width, 1]` in the high halves."""
    rows, columns = np.ogrid[:height, :width]
    index = columns // TILE * (height // TILE + 1) + rows // TILE
    return (shades[index % len(shades)] & 0xF0)[..., None]


def payload_of(pixels: Pixels, most: int) -> bytes | None:
    """The first `most` bytes that the panels of an image `[h, w, 3]` carry, with repeats behind;
    None if there are no panels.
    """
    halves = without_border(pixels) & 0x0F
    dividers = np.flatnonzero(~halves.any(axis=(0, 2)))
    if len(dividers) < 2:
        return None
    low, high = halves[:, : dividers[0]], halves[:, dividers[-1] + 1 :]
    if low.shape != high.shape or low.size == 0:
        return None
    low, high = (scrambled(half.reshape(-1)[:most]) for half in (low, high))
    return (high << 4 | low).tobytes()


def without_border(pixels: Pixels) -> Pixels:
    """Cut off the outer rows and columns in which no pixel has all three colors."""
    lit: NDArray[np.bool_] = np.all(pixels, axis=2)
    rows, columns = (np.flatnonzero(np.any(lit, axis=axis)) for axis in (1, 0))
    if not len(rows):
        return pixels[:0]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def scrambled(block: Pixels) -> Pixels:
    """Half bytes combined with the fixed sequence; twice gives them back."""
    return block ^ sequence(block.size).reshape(block.shape)


def sequence(count: int) -> Pixels:
    """The first half bytes of the linear congruential generator that starts behind 0, a piece of
    them at a time, each piece being the one before some steps further.
    """
    piece, factor, summand = first_states()
    found = np.empty(-(-count // PIECE) * PIECE, np.uint8)
    for at in range(0, len(found), PIECE):
        found[at : at + PIECE] = piece % 255 & 0x0F
        piece = piece * factor + summand  # Modulo 2^32, as 32 bits have it.
    return found[:count]


@functools.cache
def first_states() -> tuple[NDArray[np.uint32], np.uint32, np.uint32]:
    """The generator's first states, doubled in number until they are a piece, and the factor and
    summand of as many steps.
    """
    states = np.array([INCREMENT], np.uint32)
    factor, summand = MULTIPLIER, INCREMENT
    while len(states) < PIECE:
        states = np.concatenate([states, states * np.uint32(factor) + np.uint32(summand)])
        factor, summand = factor * factor % MODULUS, (factor * summand + summand) % MODULUS
    return states, np.uint32(factor), np.uint32(summand)
