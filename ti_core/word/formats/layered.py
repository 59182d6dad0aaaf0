"""Extended textual inversion (XTI, arXiv 2303.09522) of kohya: one set of vectors per layer of the
U-Net.
"""

import torch

from .contents import Contents, Draft, Stored

LAYERS = ("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID")
LAYERS += tuple(f"OUT{number:02d}" for number in range(3, 12))
AVERAGE = "average"
CHOOSE = (
    "It holds one set of vectors per layer of the U-Net (XTI). Only kohya's XTI scripts can apply "
    "them layer by layer; all other tools use one set: "
)


def read(contents: Contents) -> list[Draft] | None:
    """A word for each layer, and one for their average."""
    tensors = contents.tensors
    if set(tensors) != set(LAYERS):
        return None
    shapes = {kept.shape for kept in tensors.values()}
    if len(shapes) != 1:
        raise ValueError("its layers have vectors of different shapes")
    every = [tensors[name] for name in LAYERS]
    average = Stored(
        shapes.pop(), lambda: torch.stack([kept.rows() for kept in every]).mean(0), every[0].budget
    )
    named = [(name, tensors[name]) for name in LAYERS] + [(AVERAGE, average)]
    return [Draft(name, ((None, kept),), {"layer": name}) for name, kept in named]
