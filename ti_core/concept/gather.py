"""From what was found to a concept: every picture fitted, masked and captioned."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..draws import generator
from .concept import Concept, Found, LatentChoice, Picture
from .fit import FitSettings, Size, View, bucket_for, draw_view, fitted, fitted_mask, lost
from .masks import MaskSettings, over_picture
from .templates import FILEWORDS, TEMPLATES, Kind
from .wording import Wording

CaptionSource = Literal["auto", "text files", "metadata", "folder names", "file names", "kohya"]

SMALLEST = 16  # pixels: a picture with a shorter side shows nothing
VIEW_STREAM = 32
TRIES = 16


@dataclass(frozen=True)
class Source:
    """A picture as it was found, `[h, w, 3]` in 0..1, with its mask `[h, w]` (1 = counts), caption,
    and what its reading had to say. `caption_from` tells where the caption stood ('typed' on a
    node, 'the connected list', a file); '' if there is none.
    """

    name: str
    picture: Tensor
    mask: Tensor | None = None
    caption: str = ""
    caption_from: str = ""
    repeats: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionFiles:
    """Where the captions of picture files stand. 'auto' takes the first that is there: a text file
    beside the picture, a metadata file, the words of a kohya folder, the words of the file name;
    'kohya' takes a text file, else `words` (kohya's class_tokens). `pattern` and `joiner` are
    AUTOMATIC1111's for file names.
    """

    source: CaptionSource = "auto"
    extension: str = ""
    metadata: str = ""
    pattern: str = ""
    joiner: str = " "
    words: str = ""


@dataclass(frozen=True)
class CaptionOptions:
    """What a user asks of captions; templates replace the built-in ones."""

    files: CaptionFiles = field(default_factory=CaptionFiles)
    wording: Wording = field(default_factory=Wording)

    def for_kind(self, kind: Kind) -> Wording:
        """The wording with the templates of a kind, unless there are own ones."""
        own = self.wording.templates
        return self.wording if own else replace(self.wording, templates=TEMPLATES[kind])

    def wanted(self, kind: Kind) -> bool:
        """Whether each picture needs a caption."""
        templates = self.for_kind(kind).templates
        return not templates or any(FILEWORDS in template for template in templates)


@dataclass(frozen=True)
class Recipe:
    """How sources become a concept."""

    kind: Kind
    wording: Wording
    fit: FitSettings = field(default_factory=FitSettings)
    masks: MaskSettings = field(default_factory=MaskSettings)
    latents: LatentChoice = "deterministic"
    repeats: int = 1


def concept_of(sources: Iterable[Source], recipe: Recipe) -> Concept:
    """Gather the sources, one after the other, so that no more than one picture is held whole."""
    pictures = tuple(
        picture_of(source, recipe, generator(recipe.fit.seed, VIEW_STREAM + number))
        for number, source in enumerate(sources)
    )
    return Concept(pictures, recipe.kind, recipe.latents)


def picture_of(source: Source, recipe: Recipe, draws: Generator) -> Picture:
    """A source cut to size, in as many variants as its views can differ."""
    size = checked_size(source, recipe.fit)
    variants = recipe.fit.variants if recipe.fit.random else 1
    cut = [crop_of(source, size, recipe, draws) for _ in range(variants)]
    return Picture(
        source.name,
        tuple(crop for crop, _ in cut),
        tuple(weights for _, weights in cut),
        source.caption,
        replace(recipe.wording, typed=source.caption_from in ("", "typed")),
        source.repeats * recipe.repeats,
        found_of(source, size, recipe.fit),
    )


def checked_size(source: Source, fit: FitSettings) -> Size:
    """The size of a source's crops; ValueError if the picture is too small to show anything."""
    height, width = source.picture.shape[:2]
    check_large_enough(source.name, width, height)
    return bucket_for(width, height, fit)


def check_large_enough(name: str, width: int, height: int) -> None:
    """Raise ValueError for a picture that is too small to show anything."""
    if min(width, height) < SMALLEST:
        raise ValueError(
            f"The picture {name!r} is {width} x {height} pixels, too small to learn from (at least "
            f"{SMALLEST} x {SMALLEST}). Take it out, or replace it by a larger one."
        )


def crop_of(
    source: Source, size: Size, recipe: Recipe, draws: Generator
) -> tuple[Tensor, Tensor | None]:
    """A crop of a source and its weights, None where all of it counts."""
    fit, mask = recipe.fit, mask_of(source, recipe)
    if mask is None:
        view = draw_view(fit, draws)
        return fitted(source.picture, size, view, fit), None
    view, weights = view_of_mask(mask, size, recipe, draws)
    if not bool(weights.any()):
        raise ValueError(
            f"The mask of {source.name!r} is empty where the picture is cut, so nothing of it "
            f"would be learned. Paint the subject white, invert the mask, or take it away."
        )
    full = bool((weights == 1).all())
    return fitted(source.picture, size, view, fit), None if full else weights


def mask_of(source: Source, recipe: Recipe) -> Tensor | None:
    """A source's mask at the picture's size; a picture that will be padded has one in any case."""
    settings, (height, width) = recipe.masks, source.picture.shape[:2]
    if source.mask is None or settings.source == "none":
        return torch.ones(height, width) if recipe.fit.method == "pad" else None
    mask = over_picture(source.mask, source.picture, source.name).clamp(0, 1)
    return 1.0 - mask if settings.invert else mask


def view_of_mask(mask: Tensor, size: Size, recipe: Recipe, draws: Generator) -> tuple[View, Tensor]:
    """A view with the weights it sees; among random views, one that sees something that counts."""
    for _ in range(TRIES):
        view = draw_view(recipe.fit, draws)
        seen = fitted_mask(mask, size, view, recipe.fit)
        if float(seen.mean()) > 0 or not recipe.fit.random:
            break
    return view, recipe.masks.weights(seen)


def found_of(source: Source, size: Size, fit: FitSettings) -> Found:
    """What the audit wants to know of a picture."""
    height, width = source.picture.shape[:2]
    notes = source.notes
    if width < size[0] or height < size[1]:
        notes = (*notes, "enlarged")
    missing = lost(width, height, size, fit)
    return Found(width, height, notes, source.caption_from, missing, look_of(source.picture))


def look_of(picture: Tensor) -> int:
    """A picture's look in 64 bits: which of 8 x 8 places are brighter than the one to their right
    (difference hash); alike pictures differ in few bits.
    """
    grey = picture.float().mean(-1)[None, None]
    small = F.adaptive_avg_pool2d(grey, (8, 9))[0, 0]
    bits = (small[:, 1:] > small[:, :-1] + 1e-4).flatten().tolist()
    return sum(1 << place for place, bit in enumerate(bits) if bit)
