"""What the models of the worlds are trained on: captions, and images of scenes."""

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from .world import Scene, World


def captions_of(world: World, count: int) -> list[str]:
    """The captions of the training, the empty one first."""
    draws, captions = Random(2), {"": None}
    while len(captions) < count:
        captions[world.caption(world.random_scene(draws), draws)] = None
    return list(captions)


def images(world: World, scenes: Sequence[Scene]) -> Tensor:
    """Scenes `[n, 3, 64, 64]`, 0..1."""
    drawn = np.stack([np.asarray(world.render(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float().div(255)
