"""Set everything up and run the tests: `python scripts/test.py [layer ...] [-- pytest options]`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

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
QUICK = ("unit", "host")
EXTRAS = ("pytest", "pytest-xdist", "hypothesis", "playwright", "diffusers")
UNIT_IMPORTS = ("torch", "numpy", "PIL", "safetensors", "pytest", "xdist", "hypothesis")
WORKERS = 2  # Each holds a server and models: some 4 GB.
PAGE_TESTS = REPO / "tests" / "page"  # of the page's pure modules; they need Node.js alone
NO_NODE = "Install Node.js 20 or newer, and run `python scripts/test.py unit`."
NO_BROWSER = (
    "Install Chromium, Chrome or Edge, or set CHROMIUM_PATH to its program, and run "
    "`python scripts/test.py browser`."
)
EPILOG = (
    "Two processes share the work where there are two processor cores, a file of tests each; "
    "`-- -n 0` runs all in one, `-- -x` stops at the first failure, `-- -k NAME` chooses tests."
)


class Wanted(NamedTuple):
    """Layers to run, in their order, whether without what is slow, and options for pytest."""

    layers: list[str]
    quick: bool
    options: list[str]


def main() -> int:
    """Run the chosen layers in one pytest and return its exit status."""
    wanted = arguments()
    browser = browser_for(wanted.layers)
    run = [layer for layer in wanted.layers if layer != "browser" or browser]
    env = {"CHROMIUM_PATH": str(browser)} if browser else {}
    python = python_for(wanted.layers, env)
    options = ("-m", "not slow", *wanted.options) if wanted.quick else wanted.options
    pytest = (python, "-m", "pytest", *shared_out(run, env), "--durations=10", *options)
    status = run_child(pytest, env, cwd=REPO / "tests")
    if run != wanted.layers:
        not_run(f"the browser layer; no browser was found. {NO_BROWSER}")
    return page_tests() or status if "unit" in run and not wanted.options else status


def page_tests() -> int:
    """Run the tests of the page's pure modules, where there is a Node.js; return its status."""
    node = shutil.which("node")
    if node is None:
        not_run(f"the tests of the page's modules; no Node.js was found. {NO_NODE}")
        return 0
    return run_child((node, "--test", *sorted(PAGE_TESTS.glob("*.mjs"))), {})


def not_run(what: str) -> None:
    """Say what was left out, so that nobody overlooks it."""
    print(f"\n{'!' * 100}\nNOT RUN: {what}")


def arguments() -> Wanted:
    """What the command line asks for; all that follows `--` goes to pytest."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    choices = f"{', '.join(LAYERS)}; all of them by default"
    parser.add_argument("layers", nargs="*", metavar="layer", help=choices)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="for while one works, some 2 minutes: unit and host, without the tests that are "
        "marked slow (trainings that learn something, half precision, the largest models, "
        "diffusers, the benchmark's networks, toyworld's judge); "
        "no server and no browser",
    )
    given = parser.parse_args(words[:cut])
    chosen = given.layers or (QUICK if given.quick else LAYERS)
    if unknown := [layer for layer in chosen if layer not in LAYERS]:
        parser.error(f"there is no layer '{unknown[0]}'; the layers are {', '.join(LAYERS)}")
    return Wanted([layer for layer in LAYERS if layer in chosen], given.quick, words[cut + 1 :])


def shared_out(layers: list[str], env: dict[str, str]) -> list[str]:
    """The layers as pytest is to run them, by as many workers as there are cores for. In their
    order: a worker that has opened a browser has an event loop that others would trip over. Puts
    each worker's share of the cores into `env`.
    """
    cores = os.cpu_count() or 1
    workers = min(WORKERS, cores)
    if workers == 1:
        return layers
    if "OMP_NUM_THREADS" not in os.environ:
        env["OMP_NUM_THREADS"] = str(cores // workers)  # for torch, in servers too
    return [*layers, f"-n{workers}", "--dist=loadfile", "--no-loadscope-reorder"]


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
