"""Run diffusers' own training script as it is, on a pipeline whose VAE has the TAESD layout:
`python diffusers_launch.py CHECKOUT [the script's arguments]`.

The script asks diffusers for an AutoencoderKL; it gets `TinyEncoder` under that name.
"""

import runpy
import sys
from pathlib import Path

import diffusers
from pipeline import TinyEncoder, check

SCRIPT = Path("examples", "textual_inversion", "textual_inversion.py")

if __name__ == "__main__":
    for argument in sys.argv:
        name, _, value = argument.partition("=")
        if name == "--pretrained_model_name_or_path":
            check(Path(value))
    diffusers.AutoencoderKL = TinyEncoder  # type: ignore[misc]
    sys.argv = [str(Path(sys.argv[1], SCRIPT)), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
