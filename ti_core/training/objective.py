"""The training objective, in the terms of the model family: noise, velocity or flow."""

from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v", "flow"]


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


def stratified(count: int, total: int, generator: torch.Generator) -> Tensor:
    """`count` indices in `[0, total)`, uniform, one in each of `count` equal strata, in random
    order `[count]`.
    """
    strata = torch.arange(count) + torch.rand(count, generator=generator)
    return (
        (strata * total / count)
        .long()
        .clamp_max(total - 1)[torch.randperm(count, generator=generator)]
    )
