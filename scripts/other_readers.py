"""Give files of every format to the loading code of other tools: `python scripts/other_readers.py
CHECKOUT...`.

A checkout is a folder with the source of a tool, which is recognized by its files: ComfyUI,
AUTOMATIC1111, Forge, SD.Next, InvokeAI, OneTrainer, kohya's sd-scripts, ai-toolkit. One without a
history is given as CHECKOUT@COMMIT. diffusers is that which is installed. Each tool runs in a
process of its own, in which what is heavy in it (pages, servers, downloads) is replaced by empty
modules, and its loading code runs as it is. The table that is printed and written to
benchmarks/results/ has `=` where a tool has every vector, bit for bit and under the word's name.
What the table in ti_core/word/formats/other_tools.py says otherwise is named, and the exit status
is 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from environment import REPO, SetupFailure, prepare, step

RESULTS = REPO / "benchmarks" / "results" / "other-readers"
EXTRAS = ("diffusers", "pydantic")  # what the tools' own loading code imports
LEGEND = (
    "`=`: every vector bit for bit, as many of them, and under the word's name where the tool "
    "names it; then how it was asked, where the file alone is not enough. `-`: no embeddings for "
    "such models. Anything else is what came instead, in the tool's words where it has some."
)
Reads = dict[str, dict[str, str]]


class Tool(NamedTuple):
    """A tool: the files by which it is recognized, where its loader is, and what of it tells the
    version.
    """

    name: str
    files: tuple[str, ...]
    module: str
    loader: str
    version: tuple[str, str] = ("", "")


TOOLS = (
    Tool(
        "ComfyUI",
        ("comfy/sd1_clip.py",),
        *("interfaces", "comfyui"),
        ("comfyui_version.py", r'"([\d.]+)"'),
    ),
    Tool("Forge", ("backend/text_processing/textual_inversion.py",), "interfaces", "forge"),
    Tool(
        "AUTOMATIC1111",
        ("modules/safe.py", "modules/textual_inversion/textual_inversion.py"),
        *("interfaces", "automatic1111"),
        ("CHANGELOG.md", r"## ([\d.]+)"),
    ),
    Tool("SD.Next", ("modules/textual_inversion.py",), "interfaces", "sdnext"),
    Tool("InvokeAI", ("invokeai/backend/textual_inversion.py",), "interfaces", "invokeai"),
    Tool(
        "OneTrainer",
        ("modules/modeloader/mixin/EmbeddingLoaderMixin.py",),
        *("training_tools", "onetrainer"),
    ),
    Tool("kohya", ("sdxl_train_textual_inversion.py",), "training_tools", "kohya"),
    Tool("ai-toolkit", ("toolkit/embedding.py",), "training_tools", "ai_toolkit"),
)
DIFFUSERS = Tool("diffusers", (), "training_tools", "diffusers")


class Checkout(NamedTuple):
    """A tool in a folder, and what is known of its age."""

    tool: Tool
    folder: Path
    commit: str
    version: str

    @property
    def label(self) -> str:
        """Its name in the table."""
        return f"{self.tool.name} {self.version}".strip()


def main() -> int:
    """Print the table, write it down, and name what our own says otherwise."""
    checkouts = [recognized(text) for text in arguments().checkouts]
    host = prepare(EXTRAS)
    checkouts += [recognized(str(host.comfyui)), installed(host.python)]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        run(host.python, REPO, "foreign.trial", folder)
        for checkout in sorted(set(checkouts), key=order):
            with step(f"{checkout.label} {checkout.commit[:7]}"):
                found[checkout.label] = {
                    "commit": checkout.commit,
                    "reads": reads(host.python, checkout, folder),
                }
    write_results(found)
    return subprocess.run(in_room(host.python, "foreign.papers"), env=with_ours(REPO)).returncode


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkouts", nargs="*", metavar="CHECKOUT", help="a folder, or FOLDER@COMMIT"
    )
    return parser.parse_args()


def order(checkout: Checkout) -> tuple[int, list[int]]:
    """Where a checkout stands in the table."""
    numbers = [int(number) for number in re.findall(r"\d+", checkout.version)]
    return [*TOOLS, DIFFUSERS].index(checkout.tool), numbers


def recognized(text: str) -> Checkout:
    """The tool of a checkout; SetupFailure where it is none, or its commit is not known."""
    place, _, commit = text.partition("@")
    folder = Path(place).resolve()
    tool = next((tool for tool in TOOLS if all((folder / f).is_file() for f in tool.files)), None)
    if tool is None:
        known = "\n".join(f"  {tool.name}: {', '.join(tool.files)}" for tool in TOOLS)
        raise SetupFailure(
            f"{place} is not a checkout of a tool that is known. They are recognized by these "
            f"files:\n{known}"
        )
    version = version_of(tool, folder)
    commit = commit or commit_of(folder)
    if not (commit or version):
        raise SetupFailure(f"{place} has no git history. Give it as {place}@COMMIT.")
    return Checkout(tool, folder, commit, version)


def version_of(tool: Tool, folder: Path) -> str:
    """The version that a file of the tool names, '' if none does."""
    name, pattern = tool.version
    if not name:
        return ""
    found = re.search(pattern, (folder / name).read_text(encoding="utf-8"))
    return found.group(1) if found else ""


def commit_of(folder: Path) -> str:
    """The commit of a folder that is the root of a git history, else ''."""
    command = ("git", "-C", str(folder), "rev-parse", "--show-toplevel", "HEAD")
    result = subprocess.run(command, capture_output=True, text=True)
    top, _, commit = result.stdout.strip().partition("\n")
    return commit if result.returncode == 0 and Path(top).resolve() == folder else ""


def installed(python: Path) -> Checkout:
    """The diffusers of an environment."""
    code = "import diffusers; print(diffusers.__file__, diffusers.__version__)"
    command = (str(python), "-c", code)
    where, version = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    return Checkout(DIFFUSERS, Path(where).parents[1], "", version)


def in_room(python: Path, module: str, *words: str) -> list[str]:
    """The command of a module below scripts/."""
    return [str(python), "-m", module, *words]


def with_ours(*folders: Path) -> dict[str, str]:
    """An environment in which scripts/, and these folders, can be imported from."""
    paths = os.pathsep.join(map(str, (REPO / "scripts", *folders)))
    return {**os.environ, "PYTHONPATH": paths}


def run(python: Path, ours: Path | None, module: str, *words: str) -> str:
    """What a module says on its last line; SetupFailure with its last words if it fails."""
    env = with_ours(*filter(None, [ours]))
    command = in_room(python, module, *words)
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=words[0])
    if result.returncode:
        tail = "\n".join(result.stderr.strip().splitlines()[-6:])
        raise SetupFailure(f"This command failed: {' '.join(command)}\n{tail}")
    return result.stdout.rpartition("\n{")[2]


def reads(python: Path, checkout: Checkout, folder: str) -> Reads:
    """What a tool made of each file, by format and kind of model, in a process of its own."""
    tool = checkout.tool
    said = run(
        python, None, "foreign.trial", folder, tool.module, tool.loader, str(checkout.folder)
    )
    return json.loads("{" + said)


def write_results(found: dict[str, dict[str, Any]]) -> None:
    """The results as JSON, and as a table that is printed too."""
    written = json.dumps(found, ensure_ascii=False, indent=2)
    RESULTS.with_suffix(".json").write_text(written + "\n", encoding="utf-8")
    table = "\n".join(result_lines(found))
    print(table)
    heading = (
        "# What other tools made of our files\n\n`python scripts/other_readers.py CHECKOUT...`"
    )
    RESULTS.with_suffix(".md").write_text(f"{heading}\n\n{LEGEND}\n\n{table}\n", encoding="utf-8")


def result_lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """A row for each format and kind, a column for each tool."""
    some = next(iter(found.values()))["reads"]
    pairs = [(format, kind) for format, kinds in some.items() for kind in kinds]
    heads = [f"{label} {one['commit'][:7]}".strip() for label, one in found.items()]
    lines = [f"| format, for | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for format, kind in pairs:
        cells = [one["reads"][format][kind] for one in found.values()]
        lines.append(f"| {format}, {kind} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
