"""Set everything up and run the tests: `python scripts/test.py [layer ...] [-- pytest options]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from environment import (
    REPO,
    SetupFailure,
    can_import,
    find_chromium,
    install_chromium,
    prepare,
    run_child,
)

LAYERS = ("unit", "host", "server", "browser")
EXTRAS = ("pytest", "hypothesis", "playwright", "diffusers")
UNIT_IMPORTS = ("torch", "numpy", "PIL", "safetensors", "pytest", "hypothesis")
NO_BROWSER = (
    "Install Chromium, Chrome or Edge, or set CHROMIUM_PATH to its program, and run "
    "`python scripts/test.py browser`."
)


def main() -> int:
    """Run the chosen layers in one pytest and return its exit status."""
    layers, options = arguments()
    browser = browser_for(layers)
    run = [layer for layer in layers if layer != "browser" or browser]
    env = {"CHROMIUM_PATH": str(browser)} if browser else {}
    python = python_for(layers, env)
    pytest = (python, "-m", "pytest", *run, "--durations=10", *options)
    status = run_child(pytest, env, cwd=REPO / "tests")
    if run != layers:
        print(f"\n{'!' * 100}\nNOT RUN: the browser layer; no browser was found. {NO_BROWSER}")
    return status


def arguments() -> tuple[list[str], list[str]]:
    """The layers to run, in their order, and the options for pytest (all that follows `--`)."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__)
    choices = f"{', '.join(LAYERS)}; all of them by default"
    parser.add_argument("layers", nargs="*", metavar="layer", help=choices)
    chosen = parser.parse_args(words[:cut]).layers or LAYERS
    if unknown := [layer for layer in chosen if layer not in LAYERS]:
        parser.error(f"there is no layer '{unknown[0]}'; the layers are {', '.join(LAYERS)}")
    return [layer for layer in LAYERS if layer in chosen], words[cut + 1 :]


def browser_for(layers: list[str]) -> Path | None:
    """The browser, installed if need be; None where it is not asked for or cannot be had."""
    if "browser" not in layers:
        return None
    browser = find_chromium() or install_chromium()
    # Continuous integration must not pass without its browser tests, nor a run of nothing else.
    if browser is None and (os.environ.get("CI") == "true" or layers == ["browser"]):
        raise SetupFailure(f"No browser was found for the browser layer. {NO_BROWSER}")
    return browser


def python_for(layers: list[str], env: dict[str, str]) -> Path:
    """The Python of the tests; puts their ComfyUI into `env`, which the unit layer does without."""
    running = Path(sys.executable)
    if layers == ["unit"] and can_import(running, UNIT_IMPORTS):
        return running
    host = prepare(EXTRAS)
    env["COMFYUI_PATH"] = str(host.comfyui)
    return host.python


if __name__ == "__main__":
    sys.exit(main())
