"""What differs between versions of the host, in one place, each with its version and line.

The pack runs on ComfyUI 0.19 and newer. Whoever raises that number looks here for what can go.
"""

from collections.abc import Callable
from typing import Any

KITCHEN = "comfy_kitchen"


def plain_kernel(namespace: str, name: str) -> Callable[..., Any] | None:
    """The same computation in plain torch, which has a backward, for a kernel that has none.

    Rotary embeddings of language models (0.34 to 0.36, text_encoders/llama.py apply_rope), of
    Cosmos-Predict 2 and Anima (0.30, ldm/cosmos/predict2.py:187) and of Ernie (0.30,
    ldm/ernie/model.py:125) are computed by kernels of comfy_kitchen, also while `in_training` asks
    for others.
    """
    if namespace != KITCHEN:
        return None
    from comfy_kitchen.backends import eager

    return getattr(eager, name, None)
