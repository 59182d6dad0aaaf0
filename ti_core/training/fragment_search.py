"""The fragments of a caption that lower a loss, slot after slot, by halving.

All fragments of a slot are compared on the same noise; the worse half is dropped after each sample.
Slots are decided one after another, and once more when the others are known. Saying nothing is
always among the fragments, so that none has to be right, and the best one is kept only if it is
better than nothing on noise that did not choose it.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..concept.fragments import NOTHING, Fragments

SWEEPS = 2  # over all slots
FINALISTS = 3  # fragments of a slot that are compared again once the other slots are known
# Further samples, as multiples of those that chose a fragment, that show whether it is better than
# nothing: at once where it is by so many standard errors, or by fewer at the end.
CONFIRMING, FEWEST_TO_CONFIRM = 2, 3
SURELY, PROBABLY = 2.0, 1.0


class FragmentSearch:
    """`losses(captions, sample)` gives the loss `[n]` of each caption on a sample of noise, the
    same for all; `samples` of them choose, as many as `needed` says are asked for in all.
    """

    def __init__(
        self,
        fragments: Fragments,
        samples: int,
        losses: Callable[[Sequence[str], int], Tensor],
        sweeps: int = SWEEPS,
    ):
        self.fragments, self.samples, self.sweeps = fragments, samples, sweeps
        self.ask = losses
        self.known: dict[tuple[str, int], Tensor] = {}

    @staticmethod
    def needed(samples: int) -> int:
        """How many samples of noise are asked for at most."""
        return (1 + CONFIRMING) * samples

    def best(self) -> dict[str, str]:
        """The fragment of each slot that fits, NOTHING where none does."""
        chosen = {name: NOTHING for name in self.fragments.slots}
        finalists: dict[str, list[str]] = {}
        for sweep in range(self.sweeps):
            before = dict(chosen)
            for name, candidates in self.fragments.slots.items():
                left = finalists.get(name, candidates)
                finalists[name] = self.ranked(name, left, chosen)[:FINALISTS]
                chosen[name] = finalists[name][0]
            if sweep and chosen == before:
                break
        for name in self.fragments.slots:
            if chosen[name] != NOTHING and not self.confirmed(name, chosen):
                chosen[name] = NOTHING
        return chosen

    def gain(self, chosen: Mapping[str, str]) -> float:
        """The share by which the caption's loss is below that of the bare sentence (0..1)."""
        captions = [self.fragments.caption(one) for one in (chosen, {})]
        if captions[0] == captions[1]:
            return 0.0
        fresh = range(self.samples, 2 * self.samples)
        said, unsaid = torch.stack([self.losses(captions, sample) for sample in fresh]).mean(0)
        return float(1 - said / unsaid)

    def ranked(self, name: str, candidates: Sequence[str], chosen: Mapping[str, str]) -> list[str]:
        """Nothing and the candidates of a slot by their losses while the other slots stay, the best
        first. After each sample the worse half goes; nothing, and the fragment of now, stay.
        """
        left = list(dict.fromkeys([chosen[name], NOTHING, *candidates]))
        staying = {chosen[name], NOTHING}
        total, out = torch.zeros(len(left), dtype=torch.double), []
        for sample in range(self.samples):
            texts = [self.fragments.caption({**chosen, name: one}) for one in left]
            total = total + self.losses(texts, sample)
            order = total.argsort().tolist()
            half = order[: max(2, (len(left) + 1) // 2)] if sample + 1 < self.samples else order
            kept = [place for place in order if place in half or left[place] in staying]
            out = [left[place] for place in order if place not in kept] + out
            left, total = [left[place] for place in kept], total[kept]
        return left + out

    def confirmed(self, name: str, chosen: Mapping[str, str]) -> bool:
        """Whether a fragment is better than nothing on noise that did not choose it."""
        captions = [self.fragments.caption(one) for one in (chosen, {**chosen, name: NOTHING})]
        gains: list[float] = []
        for sample in range(self.samples, self.needed(self.samples)):
            said, unsaid = self.losses(captions, sample).tolist()
            gains.append((unsaid - said) / (unsaid + said))
            if len(gains) >= FEWEST_TO_CONFIRM and better_by(gains) > SURELY:
                return True
        return better_by(gains) > PROBABLY

    def losses(self, captions: Sequence[str], sample: int) -> Tensor:
        """Losses `[n]` of captions on a sample, each asked for once."""
        new = [one for one in dict.fromkeys(captions) if (one, sample) not in self.known]
        if new:
            found = self.ask(new, sample)
            self.known.update(((one, sample), loss) for one, loss in zip(new, found, strict=True))
        return torch.stack([self.known[one, sample] for one in captions])


def better_by(gains: Sequence[float]) -> float:
    """The mean of paired differences in standard errors; infinite for equal ones above 0."""
    mean = math.fsum(gains) / len(gains)
    spread = math.fsum((one - mean) ** 2 for one in gains) / max(1, len(gains) - 1)
    if spread == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / math.sqrt(spread / len(gains))
