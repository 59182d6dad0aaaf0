"""From what was found to a concept: every image fitted, masked and captioned."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..draws import generator
from ..quoted import quoted
from .caption_files import LONGEST_CAPTION, CaptionFiles, clean
from .caption_settings import CaptionSettings
from .concept import Concept, ConceptImage, CropOrigin, ImageInfo, LatentChoice
from .fit import (
    FitSettings,
    Size,
    View,
    bucket_for,
    corner,
    fitted_image,
    fitted_mask,
    lost,
    random_view,
)
from .masks import MaskSettings, over_image
from .pixels import in_bytes, in_floats
from .templates import Kind

SMALLEST = 16  # pixels: an image with a shorter side shows nothing
WHITE = 1e-4  # how far from 1 the weights of an all-white mask may be: scaling rounds
ENOUGH_TO_LOOK_AT = 1024  # rows and columns, for an image's look
VIEW_STREAM = 32
TRIES = 16


@dataclass(frozen=True)
class SourceImage:
    """An image as it was found, `[h, w, 3]` in bytes or in 0..1, with its mask `[h, w]` (1 =
    counts), its caption, and what its reading had to say. `typed` captions were written by the
    user himself; `caption_from` tells the report where another one stood; `orientation` is that of
    EXIF by which the image was turned.
    """

    name: str
    image: Tensor
    mask: Tensor | None = None
    caption: str = ""
    typed: bool = False
    caption_from: str = ""
    repeats: int = 1
    notes: tuple[str, ...] = ()
    orientation: int = 1


@dataclass(frozen=True)
class CaptionOptions:
    """What a user asks of captions: where they are looked for, and how they are worded."""

    files: CaptionFiles = field(default_factory=CaptionFiles)
    caption_settings: CaptionSettings = field(default_factory=CaptionSettings)


@dataclass(frozen=True)
class ImageRecipe:
    """How sources become a concept."""

    kind: Kind
    caption_settings: CaptionSettings
    fit: FitSettings = field(default_factory=FitSettings)
    masks: MaskSettings = field(default_factory=MaskSettings)
    latents: LatentChoice = "deterministic"
    repeats: int = 1


def concept_of(sources: Iterable[SourceImage], recipe: ImageRecipe) -> Concept:
    """Gather the sources, one after the other, so that no more than one image is held whole."""
    images = tuple(
        image_of(source, recipe, generator(recipe.fit.seed, VIEW_STREAM + number))
        for number, source in enumerate(sources)
    )
    return Concept(images, recipe.kind, recipe.latents)


def image_of(source: SourceImage, recipe: ImageRecipe, draws: Generator) -> ConceptImage:
    """A source cut to size, in as many variants as its views can differ."""
    height, width = source.image.shape[:2]
    check_large_enough(source.name, width, height, recipe.fit)
    size = bucket_for(width, height, recipe.fit)
    variants = recipe.fit.variants if recipe.fit.random else 1
    cut = [crop_of(source, size, recipe, draws) for _ in range(variants)]
    return ConceptImage(
        source.name,
        tuple(one.pixels for one in cut),
        tuple(one.weights for one in cut),
        source.caption if source.typed else clean(source.caption),
        replace(recipe.caption_settings, typed=source.typed),
        source.repeats * recipe.repeats,
        found_of(source, size, recipe.fit),
        tuple(one.crop_origin for one in cut),
    )


class Crop(NamedTuple):
    """Pixels `[h, w, 3]` in bytes, weights `[h, w]` (None: all of it counts), how it was made."""

    pixels: Tensor
    weights: Tensor | None
    crop_origin: CropOrigin


def check_large_enough(name: str, width: int, height: int, fit: FitSettings) -> None:
    """Raise ValueError for an image that is too small to show anything, or to fill a bucket
    without being enlarged.
    """
    if min(width, height) < SMALLEST:
        raise ValueError(
            f"The image {quoted(name)} is {width} x {height} pixels, too small to learn from "
            f"(at least {SMALLEST} x {SMALLEST}). Remove it, or replace it by a larger one."
        )
    if fit.buckets and not fit.upscale and min(width, height) < fit.step:
        raise ValueError(
            f"The image {quoted(name)} is {width} x {height} pixels, smaller than the "
            f"smallest bucket ({fit.step} x {fit.step}). Remove it, allow upscaling, or lower the "
            f"bucket step."
        )


def crop_of(source: SourceImage, size: Size, recipe: ImageRecipe, draws: Generator) -> Crop:
    """A crop of a source."""
    fit, mask = recipe.fit, mask_of(source, recipe)
    view, weights = random_view(fit, draws), None
    if mask is not None:
        view, weights = view_of_mask(mask, view, size, recipe, draws)
    height, width = source.image.shape[:2]
    crop_origin = CropOrigin(width, height, *corner(width, height, size, view, fit))
    if weights is not None and not bool(weights.any()):
        raise ValueError(
            f"The mask of {quoted(source.name)} is empty inside the crop, so nothing would be "
            f"learned from this image. Paint the subject white, invert the mask, or remove it."
        )
    full = weights is None or float((weights - 1).abs().max()) < WHITE
    pixels = in_bytes(fitted_image(source.image, size, view, fit))
    return Crop(pixels, None if full else weights, crop_origin)


def mask_of(source: SourceImage, recipe: ImageRecipe) -> Tensor | None:
    """A source's mask at the image's size; an image that will be padded has one in any case."""
    settings, (height, width) = recipe.masks, source.image.shape[:2]
    if source.mask is None or settings.source == "none":
        return torch.ones(height, width) if recipe.fit.method == "pad" else None
    mask = over_image(in_floats(source.mask), source.image, source.name).clamp(0, 1)
    return 1.0 - mask if settings.invert else mask


def view_of_mask(
    mask: Tensor, view: View, size: Size, recipe: ImageRecipe, draws: Generator
) -> tuple[View, Tensor]:
    """The view with the weights it sees; of random views, one that sees something that counts."""
    seen = fitted_mask(mask, size, view, recipe.fit)
    for _ in range(TRIES - 1 if recipe.fit.random else 0):
        if float(seen.mean()) > 0:
            break
        view = random_view(recipe.fit, draws)
        seen = fitted_mask(mask, size, view, recipe.fit)
    return view, recipe.masks.weights(seen)


def found_of(source: SourceImage, size: Size, fit: FitSettings) -> ImageInfo:
    """What the audit wants to know of an image."""
    height, width = source.image.shape[:2]
    notes = source.notes
    length = len(source.caption.strip())
    if length > LONGEST_CAPTION and not source.typed:
        notes = (*notes, f"a caption of {length} characters, cut")
    if width < size[0] or height < size[1]:
        notes = (*notes, "enlarged")
    missing = lost(width, height, size, fit)
    return ImageInfo(
        width, height, notes, source.caption_from, missing, difference_hash(source.image)
    )


def difference_hash(image: Tensor) -> int:
    """An image's look in 64 bits: which of 8 x 8 places are brighter than the one to their right
    (difference hash); alike images differ in few bits.
    """
    step = max(1, min(image.shape[:2]) // ENOUGH_TO_LOOK_AT)
    gray = in_floats(image[::step, ::step]).mean(-1)[None, None]
    small = F.adaptive_avg_pool2d(gray, (8, 9))[0, 0]
    bits = (small[:, 1:] > small[:, :-1] + 1e-4).flatten().tolist()
    return sum(1 << place for place, bit in enumerate(bits) if bit)
