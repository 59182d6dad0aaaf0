"""Run diffusers' own training script as it is, on a pipeline whose VAE has the TAESD layout:
`python diffusers_launch.py CHECKOUT [the script's arguments]`.

The script asks diffusers for an AutoencoderKL; it gets `TinyEncoder` under that name. Sentences
that are handed over stand in place of its own.
"""

import importlib
import sys
from pathlib import Path

import diffusers
from peers.scripts import given_templates
from pipeline import TinyEncoder, check

SCRIPT = Path("examples", "textual_inversion", "textual_inversion.py")

if __name__ == "__main__":
    for argument in sys.argv:
        name, _, value = argument.partition("=")
        if name == "--pretrained_model_name_or_path":
            check(Path(value))
    diffusers.AutoencoderKL = TinyEncoder  # type: ignore[misc]
    sys.argv = [str(Path(sys.argv[1], SCRIPT)), *sys.argv[2:]]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    script = importlib.import_module(SCRIPT.stem)
    script.imagenet_templates_small[:] = given_templates() or script.imagenet_templates_small
    script.main()
