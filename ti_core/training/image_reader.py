"""What images show, read by the frozen diffusion model itself: of fragments that could belong to a
caption, those that lower its loss describe an image (arXiv 2303.16203).

It is asked at high noise, where the layout of an image is decided, and of several images alike for
what all of them have in common.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..concept.concept import CropOrigin
from ..concept.fragments import Fragments
from ..draws import generator
from .batches import Batch, NotFinite, loss_with
from .fragment_search import FragmentSearch
from .frozen_model import FrozenModel
from .noise_levels import quantiles
from .objective import signal_to_noise

READING_STREAM = 18
# Noise over image, in amplitude. There the layout of an image is decided; at low noise, or over all
# levels, fewer fragments were read right. These are 0.45 and 0.95 of the schedule of SD 1.5.
LEAST_NOISE, MOST_NOISE = 1.3, 11.0
ENCODED = 128  # texts whose conditioning is kept; it can take megabytes each


@dataclass(frozen=True)
class ReadingSettings:
    """How images are read: samples of noise that choose a fragment, and their seed."""

    samples: int = 4
    seed: int = 0


class Shown(NamedTuple):
    """An image to read: `number` has noise of its own, latents `[c, ...]`, a caption around what is
    read, with {} for it, and how it was cropped, if the model wants to know.
    """

    number: int
    latents: Tensor
    caption: str = "{}"
    crop_origin: CropOrigin | None = None


class Reading(NamedTuple):
    """What was found: a fragment for each slot ("" where nothing fits better), the caption with {}
    for the subject, by how much its loss is below that of the bare sentence (0..1), and how many
    forward passes it took.
    """

    fragments: Mapping[str, str]
    caption: str
    gain: float
    passes: int


class Reader:
    """Reads images with a frozen model; `vectors` `[n, dim]` per encoder key stand for the subject,
    wherever `placeholder` is written. `watch` is called before each forward pass.
    """

    def __init__(
        self,
        model: FrozenModel,
        placeholder: str,
        vectors: Mapping[str, Tensor],
        fragments: Fragments,
        settings: ReadingSettings = ReadingSettings(),
        watch: Callable[[], None] = lambda: None,
    ):
        self.model, self.placeholder, self.vectors = model, placeholder, vectors
        self.fragments, self.settings, self.watch = fragments, settings, watch
        self.encoded: OrderedDict[str, Any] = OrderedDict()

    @torch.no_grad()
    def read(self, images: Sequence[Shown]) -> Reading:
        """What is true of all images: of one, with as many samples of noise as the settings say, or
        of several, with twice as many in all and one for each at least.
        """
        count, asked = self.settings.samples, 0
        each = count if len(images) == 1 else math.ceil(2 * count / len(images))
        draws = [self.draws(one, each) for one in images]

        def losses(captions: Sequence[str], sample: int) -> Tensor:
            nonlocal asked
            asked += len(captions)
            turn, place = divmod(sample, len(images))
            noise, levels = draws[place]
            return self.losses(captions, images[place], noise[turn], levels[turn])

        search = FragmentSearch(self.fragments, each * len(images), losses)
        chosen = search.best()
        gain = search.gain(chosen)
        return Reading(chosen, self.fragments.caption(chosen), gain, asked)

    def draws(self, image: Shown, count: int) -> tuple[Tensor, Tensor]:
        """Noise `[n, c, ...]` of an image and its places `[n]` in the schedule; each `count` of
        them lie evenly over the high noise levels, in random order.
        """
        needed = FragmentSearch.needed(count)
        draws = generator(self.settings.seed, READING_STREAM, image.number)
        noise = torch.randn((needed, *image.latents.shape), generator=draws)
        sigmas = self.model.sigmas.double().cpu()
        snr = signal_to_noise(sigmas, self.model.prediction, self.model.sigma_data)
        ends = torch.tensor([LEAST_NOISE, MOST_NOISE], dtype=torch.double)
        first, last = torch.searchsorted(snr.rsqrt(), ends).clamp(0, len(sigmas) - 1).tolist()
        places = (first + (last - first) * quantiles(count)).long()
        return noise, places[torch.randperm(count, generator=draws)].repeat(needed // count)

    def losses(self, captions: Sequence[str], image: Shown, noise: Tensor, level: Tensor) -> Tensor:
        """Losses `[n]` of an image under n captions with {} for the subject, with one noise at one
        timestep; NotFinite if one is no number.
        """
        texts = tuple(
            image.caption.replace("{}", caption).replace("{}", self.placeholder)
            for caption in captions
        )
        count = len(texts)
        batch = Batch(
            image.latents.expand(count, *image.latents.shape),
            noise.expand(count, *noise.shape),
            level.expand(count),
            texts,
            None,
            () if image.crop_origin is None else (image.crop_origin,) * count,
        )
        found = []
        for part in batch.parts(self.model.rows):
            self.watch()
            found.append(loss_with(self.model, part, list(map(self.encode, part.captions))))
        losses = torch.cat(found).cpu().double()
        if not bool(losses.isfinite().all()):
            raise NotFinite(
                "The loss of an image is not finite. The model overflows in this precision. Choose "
                "dtype 'bf16' or 'fp32'."
            )
        return losses

    def encode(self, text: str) -> Any:
        """The conditioning of a text, from those that were needed last if it is among them."""
        if text not in self.encoded:
            self.encoded[text] = self.model.encode([text], self.vectors)[0]
        self.encoded.move_to_end(text)
        if len(self.encoded) > ENCODED:
            self.encoded.popitem(last=False)
        return self.encoded[text]
