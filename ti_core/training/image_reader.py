"""What an image shows, read by the frozen diffusion model itself: of fragments that could belong to
its caption, those that lower its loss describe it (arXiv 2303.16203).

Slots are decided one after another, and once more when the others are known. All fragments of a
slot are compared on the same noise, at high noise, where the layout of an image is decided; the
worse half is dropped after each sample. Saying nothing is always among them, so that no fragment
has to be right, and the best one is kept only if it is better than nothing on noise that did not
choose it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..concept.concept import CropOrigin
from ..concept.fragments import NOTHING, Fragments
from ..draws import generator
from .batches import Batch, NotFinite, loss_with
from .frozen_model import FrozenModel
from .noise_levels import quantiles
from .objective import signal_to_noise

READING_STREAM = 18
# Noise over image, in amplitude. There the layout of an image is decided; at low noise, or over all
# levels, fewer fragments were read right. These are 0.45 and 0.95 of the schedule of SD 1.5.
LEAST_NOISE, MOST_NOISE = 1.3, 11.0
FINALISTS = 3  # fragments of a slot that are compared again once the other slots are known
# Further samples, as multiples of those that chose a fragment, that show whether it is better than
# nothing: at once where it is by so many standard errors, or by fewer at the end.
CONFIRMING, FEWEST_TO_CONFIRM = 2, 3
SURELY, PROBABLY = 2.0, 1.0


@dataclass(frozen=True)
class ReadingSettings:
    """How images are read: samples of noise that choose a fragment, and sweeps over all slots."""

    samples: int = 4
    sweeps: int = 2
    seed: int = 0


class Reading(NamedTuple):
    """What was found for an image: a fragment for each slot ("" where nothing fits better), the
    caption with {} for the subject, by how much its loss is below that of the bare sentence (0..1),
    and how many forward passes it took.
    """

    fragments: Mapping[str, str]
    caption: str
    gain: float
    passes: int


Losses = Callable[[Sequence[str], int], Tensor]


class Reader:
    """Reads images with a frozen model; `vectors` `[n, dim]` per encoder key stand for the subject,
    wherever `placeholder` is written. `watch` is called before each batch of forward passes.
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
        self.encoded: dict[str, Any] = {}
        self.passes = 0

    @torch.no_grad()
    def read(self, number: int, latents: Tensor, crop_origin: CropOrigin | None = None) -> Reading:
        """What an image shows, from its latents `[c, ...]`; each `number` has noise of its own."""
        self.passes, count = 0, self.settings.samples
        draws = generator(self.settings.seed, READING_STREAM, number)
        noise = torch.randn(((1 + CONFIRMING) * count, *latents.shape), generator=draws)
        levels = self.levels(count, draws).repeat(1 + CONFIRMING)
        origins = () if crop_origin is None else (crop_origin,)
        known: dict[tuple[str, int], Tensor] = {}

        def losses(captions: Sequence[str], sample: int) -> Tensor:
            new = [one for one in dict.fromkeys(captions) if (one, sample) not in known]
            if new:
                found = self.losses(new, latents, noise[sample], levels[sample], origins)
                known.update(((one, sample), loss) for one, loss in zip(new, found, strict=True))
            return torch.stack([known[one, sample] for one in captions])

        chosen = {name: NOTHING for name in self.fragments.slots}
        finalists: dict[str, list[str]] = {}
        for sweep in range(self.settings.sweeps):
            before = dict(chosen)
            for name, candidates in self.fragments.slots.items():
                left = finalists.get(name, candidates)
                finalists[name] = self.ranked(name, left, chosen, losses)[:FINALISTS]
                chosen[name] = finalists[name][0]
            if sweep and chosen == before:
                break
        for name in self.fragments.slots:
            if chosen[name] != NOTHING and not self.confirmed(name, chosen, losses):
                chosen[name] = NOTHING
        gain = self.gain(chosen, losses)
        return Reading(chosen, self.fragments.caption(chosen), gain, self.passes)

    def levels(self, count: int, draws: torch.Generator) -> Tensor:
        """Places `[count]` in the schedule, evenly over the high noise levels, in random order."""
        sigmas = self.model.sigmas.double().cpu()
        snr = signal_to_noise(sigmas, self.model.prediction, self.model.sigma_data)
        ends = torch.tensor([LEAST_NOISE, MOST_NOISE], dtype=torch.double)
        first, last = torch.searchsorted(snr.rsqrt(), ends).clamp(0, len(sigmas) - 1).tolist()
        places = first + (last - first) * quantiles(count)
        return places.long()[torch.randperm(count, generator=draws)]

    def ranked(
        self, name: str, candidates: Sequence[str], chosen: Mapping[str, str], losses: Losses
    ) -> list[str]:
        """Nothing and the candidates of a slot by their losses while the other slots stay, the best
        first. After each sample the worse half goes; nothing, and the fragment of now, stay.
        """
        left = list(dict.fromkeys([chosen[name], NOTHING, *candidates]))
        staying = {chosen[name], NOTHING}
        total, out = torch.zeros(len(left), dtype=torch.double), []
        for sample in range(self.settings.samples):
            texts = [self.fragments.caption({**chosen, name: one}) for one in left]
            total = total + losses(texts, sample)
            order = total.argsort().tolist()
            half = (
                order[: max(2, (len(left) + 1) // 2)]
                if sample + 1 < self.settings.samples
                else order
            )
            kept = [place for place in order if place in half or left[place] in staying]
            out = [left[place] for place in order if place not in kept] + out
            left, total = [left[place] for place in kept], total[kept]
        return left + out

    def confirmed(self, name: str, chosen: Mapping[str, str], losses: Losses) -> bool:
        """Whether a fragment is better than nothing on noise that did not choose it."""
        captions = [self.fragments.caption(one) for one in (chosen, {**chosen, name: NOTHING})]
        gains: list[float] = []
        first = self.settings.samples
        for sample in range(first, (1 + CONFIRMING) * first):
            said, unsaid = losses(captions, sample).tolist()
            gains.append((unsaid - said) / (unsaid + said))
            if len(gains) >= FEWEST_TO_CONFIRM and better_by(gains) > SURELY:
                return True
        return better_by(gains) > PROBABLY

    def gain(self, chosen: Mapping[str, str], losses: Losses) -> float:
        """The share by which the caption's loss is below that of the bare sentence."""
        captions = [self.fragments.caption(one) for one in (chosen, {})]
        if captions[0] == captions[1]:
            return 0.0
        said, unsaid = torch.stack(
            [losses(captions, self.settings.samples + n) for n in range(self.settings.samples)]
        ).mean(0)
        return float(1 - said / unsaid)

    def losses(
        self,
        captions: Sequence[str],
        latents: Tensor,
        noise: Tensor,
        level: Tensor,
        origins: tuple[CropOrigin, ...],
    ) -> Tensor:
        """Losses `[n]` of one image under n captions with {} for the subject, with one noise at one
        timestep; NotFinite if one is no number.
        """
        texts = tuple(caption.replace("{}", self.placeholder) for caption in captions)
        for text in texts:
            if text not in self.encoded:
                self.encoded[text] = self.model.encode([text], self.vectors)[0]
        count = len(texts)
        self.passes += count
        batch = Batch(
            latents.expand(count, *latents.shape),
            noise.expand(count, *noise.shape),
            level.expand(count),
            texts,
            None,
            origins * count,
        )
        found = []
        for part in batch.parts(self.model.rows):
            self.watch()
            found.append(loss_with(self.model, part, [self.encoded[one] for one in part.captions]))
        losses = torch.cat(found).cpu().double()
        if not bool(losses.isfinite().all()):
            raise NotFinite(
                "The loss of an image is not finite. The model overflows in this precision. Choose "
                "dtype 'bf16' or 'fp32'."
            )
        return losses


def better_by(gains: Sequence[float]) -> float:
    """The mean of paired differences in standard errors; infinite for equal ones above 0."""
    mean = math.fsum(gains) / len(gains)
    spread = math.fsum((one - mean) ** 2 for one in gains) / max(1, len(gains) - 1)
    if spread == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / math.sqrt(spread / len(gains))
