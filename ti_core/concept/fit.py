"""How images of any size become crops of a few sizes: squares or aspect-ratio buckets."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..draws import between, fraction
from .pixels import in_floats

FitMethod = Literal["crop", "squash", "pad"]
Position = Literal["center", "top", "random"]
DOWN: dict[str, float] = {"center": 0.5, "top": 0.0}

Size = tuple[int, int]  # width, height
GRAY = torch.tensor([0.299, 0.587, 0.114])  # luma, ITU-R BT.601


@dataclass(frozen=True)
class FitSettings:
    """The crop's size in pixels, or with `buckets` its area; `smallest` and `largest` bound a
    bucket's sides (0: half and double the resolution). `flip` is a probability; `zoom` and `color`
    are the strongest jitter, as fractions. `variants` crops are made of each image.
    """

    width: int = 512
    height: int = 512
    buckets: bool = False
    smallest: int = 0
    largest: int = 0
    step: int = 64
    upscale: bool = True
    method: FitMethod = "crop"
    position: Position = "center"
    pad_color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    flip: float = 0.0
    zoom: float = 0.0
    color: float = 0.0
    variants: int = 1
    seed: int = 0

    @property
    def random(self) -> bool:
        """Whether the variants of an image can differ; padding and squashing show all of it."""
        moves = self.method == "crop" and (self.position == "random" or self.zoom)
        return bool(moves or 0 < self.flip < 1 or self.color)


class View(NamedTuple):
    """One way to look at an image: where the crop lies (0 left or top, 1 right or bottom), how
    much closer it is, whether it is mirrored, and factors on its colors.
    """

    across: float = 0.5
    down: float = 0.5
    zoom: float = 1.0
    flipped: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def bucket_for(width: int, height: int, settings: FitSettings) -> Size:
    """The size that an image of `width` x `height` is cut to: of the largest ones that fit into
    the area and the bounds, the one of the nearest aspect ratio. Without `upscale`, never larger
    than the image.
    """
    if not settings.buckets:
        return settings.width, settings.height
    wanted = math.log(width / height)
    return min(
        bucket_sizes(settings, width, height),
        key=lambda size: abs(math.log(size[0] / size[1]) - wanted),
    )


def bucket_sizes(settings: FitSettings, width: int, height: int) -> list[Size]:
    """The buckets for an image, none of which fits into another one."""
    step, middle = settings.step, math.sqrt(settings.width * settings.height)
    bounds = [settings.largest or 2 * middle] * 2
    smallest = settings.smallest or middle / 2
    if not settings.upscale:
        bounds, smallest = [min(bounds[0], width), min(bounds[1], height)], step
    sides = range(rounded_up(smallest, step), int(bounds[0]) + 1, step)
    heights = {
        w: rounded_down(min(bounds[1], settings.width * settings.height / w), step) for w in sides
    }
    found = [(w, h) for w, h in heights.items() if h >= smallest]
    if not found:
        raise ValueError(
            f"No bucket lies between {smallest:.0f} and {bounds[0]:.0f} pixels in steps of {step}. "
            f"Choose other bounds, a larger resolution or a smaller step in Crop & Buckets."
        )
    return [(w, h) for w, h in found if heights.get(w + step) != h]


def check_bounds(smallest: int, largest: int, step: int) -> None:
    """Raise ValueError where no side of a bucket lies between the bounds, at any resolution; 0 is
    no bound.
    """
    if largest and rounded_up(smallest, step) > largest:
        raise ValueError(
            f"No multiple of bucket step ({step}) lies between min bucket ({smallest}) and max "
            f"bucket ({largest}). Raise max bucket, or lower min bucket or bucket step, in Crop & "
            f"Buckets."
        )


def check_buckets(settings: FitSettings) -> None:
    """Raise ValueError where no image of any size has a bucket."""
    if settings.buckets:
        size = 4 * max(settings.width, settings.height, settings.largest)
        bucket_sizes(settings, size, size)


def rounded_up(value: float, step: int) -> int:
    """The next multiple of `step`."""
    return max(1, math.ceil(value / step)) * step


def rounded_down(value: float, step: int) -> int:
    """The last multiple of `step`."""
    return int(value // step) * step


def random_view(settings: FitSettings, draws: Generator) -> View:
    """A way to look at an image, as far as the settings leave it to chance."""
    random = settings.position == "random"
    return View(
        across=fraction(draws) if random else 0.5,
        down=fraction(draws) if random else DOWN[settings.position],
        zoom=1.0 + settings.zoom * fraction(draws) if settings.zoom else 1.0,
        flipped=bool(settings.flip) and fraction(draws) < settings.flip,
        brightness=jittered(settings.color, draws),
        contrast=jittered(settings.color, draws),
        saturation=jittered(settings.color, draws),
    )


def jittered(reach: float, draws: Generator) -> float:
    """A factor around 1."""
    return between(1.0 - reach, 1.0 + reach, draws) if reach else 1.0


def fitted_image(image: Tensor, size: Size, view: View, settings: FitSettings) -> Tensor:
    """A crop `[height, width, 3]` in 0..1 of an image `[h, w, 3]`, of bytes or in 0..1."""
    crop = shaped(image, size, view, settings.method, settings.pad_color)
    return recolored(crop, view) if settings.color else crop


def fitted_mask(mask: Tensor, size: Size, view: View, settings: FitSettings) -> Tensor:
    """The crop `[height, width]` of a mask `[h, w]` that lies over its image's crop; padding
    counts for nothing.
    """
    return shaped(mask[..., None], size, view, settings.method, (0.0,))[..., 0]


def shaped(
    image: Tensor, size: Size, view: View, method: FitMethod, pad_color: tuple[float, ...]
) -> Tensor:
    """Bring `[h, w, c]` to `[height, width, c]`, by the method."""
    if method == "squash":
        crop = scaled(image, *size)
    elif method == "pad":
        crop = padded(image, size, pad_color)
    else:
        crop = cropped(image, size, view)
    return crop.flip(1).contiguous() if view.flipped else crop


def cropped(image: Tensor, size: Size, view: View) -> Tensor:
    """Scale an image `[h, w, c]` to cover the size, and cut it out where the view looks."""
    wide, tall, left, top = covering(image.shape[1], image.shape[0], size, view)
    whole = scaled(image, wide, tall)
    return whole[top : top + size[1], left : left + size[0]].contiguous()


class Cover(NamedTuple):
    """An image scaled to cover a size, and where in it the crop begins."""

    wide: int
    tall: int
    left: int
    top: int


def covering(width: int, height: int, size: Size, view: View) -> Cover:
    """How an image of `width` x `height` is scaled to cover the size, and where the view looks."""
    cover = max(size[0] / width, size[1] / height) * view.zoom
    wide, tall = max(size[0], round(width * cover)), max(size[1], round(height * cover))
    left, top = int((wide - size[0]) * view.across), int((tall - size[1]) * view.down)
    return Cover(wide, tall, left, top)


def corner(width: int, height: int, size: Size, view: View, settings: FitSettings) -> Size:
    """Left and top of the crop in the scaled image, mirrored where the view is; padding and
    squashing show all of it.
    """
    if settings.method != "crop":
        return 0, 0
    wide, _, left, top = covering(width, height, size, view)
    return (wide - size[0] - left if view.flipped else left), top


def padded(image: Tensor, size: Size, color: tuple[float, ...]) -> Tensor:
    """Scale an image `[h, w, c]` to fit inside the size, in the middle of a plain color."""
    width, height = size
    inside = min(width / image.shape[1], height / image.shape[0])
    wide, tall = (max(1, round(image.shape[axis] * inside)) for axis in (1, 0))
    wide, tall = min(wide, width), min(tall, height)
    canvas = torch.tensor(color, dtype=torch.float32).expand(height, width, len(color)).clone()
    top, left = (height - tall) // 2, (width - wide) // 2
    canvas[top : top + tall, left : left + wide] = scaled(image, wide, tall)
    return canvas


def scaled(image: Tensor, width: int, height: int) -> Tensor:
    """An image `[h, w, c]` at another size, in 0..1; a channel at a time, because floats take
    four times the memory of bytes.
    """
    planes = (in_floats(plane)[None, None] for plane in image.unbind(-1))
    size = (height, width)
    resized = [F.interpolate(one, size=size, mode="bicubic", antialias=True) for one in planes]
    return torch.stack([one[0, 0].clamp(0, 1) for one in resized], dim=-1)


def recolored(image: Tensor, view: View) -> Tensor:
    """An image `[h, w, 3]` with other brightness, contrast and saturation."""
    bright = image * view.brightness
    contrasted = (bright - bright.mean()) * view.contrast + bright.mean()
    gray = (contrasted @ GRAY)[..., None]
    return (gray + (contrasted - gray) * view.saturation).clamp(0, 1)


def lost(width: int, height: int, size: Size, settings: FitSettings) -> float:
    """The fraction of an image that its crop leaves out, or that squashing distorts."""
    ratio = (width / height) / (size[0] / size[1])
    return 0.0 if settings.method == "pad" else 1.0 - min(ratio, 1.0 / ratio)
