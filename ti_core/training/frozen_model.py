"""What training needs of a frozen diffusion model with its text encoders."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from ..concept.concept import CropOrigin
from .noise_levels import NoiseLevels
from .objective import Prediction


class FrozenModel(Protocol):
    """A frozen diffusion model with its text encoders: captions in, conditioning out; noisy latents
    and conditioning in, x0 out.
    """

    @property
    def sigmas(self) -> Tensor:
        """The schedule that the model was trained on, ascending `[t]`."""
        ...

    def usual_levels(self, shape: Sequence[int]) -> NoiseLevels:
        """The noise levels that models of the family are trained on, for latents `[c, ...]` of a
        shape.
        """
        ...

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        ...

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data that the schedule assumes."""
        ...

    @property
    def loss_scale(self) -> float:
        """Factor on the loss that keeps fp16 gradients from vanishing; 1 in other precisions."""
        ...

    @property
    def rows(self) -> int:
        """How many samples fit into one call; a larger batch is taken in parts."""
        ...

    @property
    def vocabulary_norms(self) -> Mapping[str, float]:
        """Mean norm of the vocabulary's vectors, per encoder key."""
        ...

    def differentiable(self, seed: int = 0) -> AbstractContextManager[None]:
        """Let gradients flow through the frozen weights inside the block; whatever the model itself
        draws comes from `seed`, again in every call.
        """
        ...

    def encode(self, captions: Sequence[str], vectors: Mapping[str, Tensor]) -> Sequence[Any]:
        """Conditioning of each caption, in which the placeholder stands for `vectors` `[n, dim]`
        per encoder key.
        """
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Noisy latents `[b, ...]` at `sigma` `[b]`."""
        ...

    def denoise(
        self,
        noisy: Tensor,
        sigma: Tensor,
        conditioning: Sequence[Any],
        crop_origins: Sequence[CropOrigin] = (),
    ) -> Tensor:
        """Predicted x0 `[b, ...]`; each sample has its own caption, and the place that was
        cut out of its image, if that is known.
        """
        ...
