"""Run diffusers' own training script as it is, on a pipeline whose VAE has the TAESD layout:
`python diffusers_launch.py SCRIPT [the script's arguments]`.

The script asks diffusers for an AutoencoderKL; it gets `TinyEncoder` under that name.
"""

import runpy
import sys

import diffusers
from pipeline import TinyEncoder

if __name__ == "__main__":
    diffusers.AutoencoderKL = TinyEncoder  # type: ignore[misc]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
