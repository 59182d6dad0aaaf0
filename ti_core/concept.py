"""The concept: pictures and captions, ready to train on."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .captions import TEMPLATES, Kind, lacks_placeholder, with_placeholder

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class Concept:
    """Pictures `[h, w, 3]` in 0..1, all of one size, with their names; `captions` has one text per
    picture when `kind` is 'captions'.
    """

    pictures: tuple[Tensor, ...]
    names: tuple[str, ...]
    kind: Kind
    captions: tuple[str, ...] = ()

    def texts(self, index: int, placeholder: str) -> tuple[str, ...]:
        """The captions that a picture may be trained with."""
        sources = (self.captions[index],) if self.kind == "captions" else TEMPLATES[self.kind]
        return tuple(with_placeholder(source, placeholder) for source in sources)

    def lacking(self, placeholder: str) -> list[str]:
        """Names of the pictures whose caption does not say the placeholder."""
        return [
            name
            for name, caption in zip(self.names, self.captions, strict=False)
            if lacks_placeholder(caption, placeholder)
        ]


def captions_for(text: str, count: int) -> tuple[str, ...]:
    """One caption per picture from lines of text: one line for each, or a single line for all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        return tuple(lines * count)
    if len(lines) != count:
        raise ValueError(
            f"There are {len(lines)} captions for {count} pictures. Write one line per picture (in "
            f"the order of the report), or a single line for all of them."
        )
    return tuple(lines)


def centre_crop(picture: Tensor, width: int, height: int) -> Tensor:
    """Scale a picture `[h, w, 3]` to cover `width` x `height`, and cut the middle out of it
    `[height, width, 3]`.
    """
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (
        max(height, round(picture.shape[0] * scale)),
        max(width, round(picture.shape[1] * scale)),
    )
    scaled = torch.nn.functional.interpolate(
        picture.movedim(-1, 0)[None].float(), size=size, mode="bicubic", antialias=True
    )[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return (
        scaled[:, top : top + height, left : left + width].clamp(0, 1).movedim(0, -1).contiguous()
    )


def shuffled(count: int, generator: torch.Generator) -> Iterator[int]:
    """Endless indices: every picture once in each round, each round in a new order."""
    while True:
        yield from torch.randperm(count, generator=generator).tolist()
