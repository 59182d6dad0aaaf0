"""A custom node of the tests' ComfyUI: models with which a step takes a tenth of a second."""

import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2]
sys.path += [str(TESTS / "host"), str(TESTS.parent / "scripts")]  # behind all that is the host's

from small_models import small_sd1  # noqa: E402


class SmallModels:
    """A loader without a file."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def load(self) -> tuple[Any, ...]:
        return tuple(small_sd1())


NODE_CLASS_MAPPINGS = {"SmallModels": SmallModels}
