"""The training objective, in the terms of the model family: noise, velocity or flow."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .noise_levels import NoiseLevels

Prediction = Literal["eps", "v", "flow"]
Weighting = Literal["none", "min-SNR", "soft min-SNR", "debiased"]
MOST_SNR = 1000.0  # that 'debiased' knows of, as in other trainers


@dataclass(frozen=True)
class Objective:
    """What a run asks of the word: noise levels ('auto': those that the family is trained on) from
    `start` to `end` of the schedule, how much each counts, the strength of offset noise, and the
    guidance that a distilled model is given.
    """

    noise_levels: Literal["auto", "uniform", "logit-normal"] = "auto"
    start: float = 0.0
    end: float = 1.0
    weighting: Weighting = "none"
    gamma: float = 5.0
    offset_noise: float = 0.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(
                f"The noise levels go from {self.start:g} to {self.end:g}, so there are none to "
                f"train on. Set max timestep higher than min timestep."
            )

    def levels(self, usual: NoiseLevels) -> NoiseLevels:
        """The noise levels to draw, where `usual` are those of the family."""
        chosen = usual if self.noise_levels == "auto" else NoiseLevels(self.noise_levels)
        return replace(chosen, start=self.start, end=self.end)


USUAL = Objective()


def native_loss(
    x0_predicted: Tensor,
    x0: Tensor,
    sigma: Tensor,
    prediction: Prediction,
    sigma_data: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error per sample `[b]` of what the network predicts (noise, v, or flow
    velocity), from its denoised latents `[b, ...]` at `sigma` `[b]`; `weights` `[b, 1, ...]` say
    how much each place counts.

    The network's error is the x0 error times a function of sigma, so that the loss is the family's
    own without knowing the network's output:
    eps and flow divide by sigma; v (Karras et al., arXiv 2206.00364, table 1, c_out) by sigma *
    sigma_data / sqrt(sigma^2 + sigma_data^2).
    """
    squares = (x0_predicted.float() - x0.float()).square()
    if weights is not None:
        squares = squares * weights
    return squares.flatten(1).mean(1) * x0_weight(sigma.float(), prediction, sigma_data)


def x0_weight(sigma: Tensor, prediction: Prediction, sigma_data: float = 1.0) -> Tensor:
    """What turns the squared x0 error at `sigma` into the squared error of the network's own
    output.
    """
    if prediction == "v":
        return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return sigma**-2


def signal_to_noise(sigma: Tensor, prediction: Prediction, sigma_data: float = 1.0) -> Tensor:
    """Power of the image over that of the noise; a flow model mixes the two."""
    signal = 1.0 - sigma if prediction == "flow" else sigma_data
    return (signal / sigma) ** 2


def loss_weight(
    sigma: Tensor, prediction: Prediction, sigma_data: float, weighting: Weighting, gamma: float
) -> Tensor:
    """What a weighting makes of the native loss at each `sigma`. It weighs the squared x0 error,
    for all families alike: by min(SNR, gamma) (Hang et al., arXiv 2303.09556), by the harmonic
    SNR gamma / (SNR + gamma) (Crowson et al., arXiv 2401.11605), or by SNR / sqrt(SNR) (Yu et al.,
    arXiv 2310.08442).
    """
    if weighting == "none":
        return torch.ones_like(sigma)
    snr = signal_to_noise(sigma, prediction, sigma_data)
    weight = {
        "min-SNR": snr.clamp_max(gamma),
        "soft min-SNR": snr * gamma / (snr + gamma),
        "debiased": snr * snr.clamp(1e-12, MOST_SNR).rsqrt(),
    }[weighting]
    scale = 1.0 if prediction == "flow" else sigma_data**2
    return weight / (scale * x0_weight(sigma, prediction, sigma_data))
