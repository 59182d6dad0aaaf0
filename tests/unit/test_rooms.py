"""The house: imports run one way, and a file name says which file is meant."""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ENGINE = REPO / "ti_core"
# What each room may import besides itself; the single files are for all.
FOR_ALL = {"draws", "left_behind", "marks", "quoted", "untrusted_text"}
BELOW = {
    **{name: set() for name in FOR_ALL},
    "untrusted_text": {"quoted", "marks"},
    "concept": FOR_ALL,
    "word": FOR_ALL,
    "training": {"concept", "word", *FOR_ALL},
    "store": {"training", "concept", "word", *FOR_ALL},
    "host": {"store", "training", "concept", "word", *FOR_ALL},
}
HOST_MODULES = ("comfy", "comfy_execution", "comfy_api", "folder_paths", "server", "aiohttp")
MODULES = sorted(path.relative_to(REPO) for path in ENGINE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file of the engine imports, relative ones resolved."""
    package = path.parent.parts
    for node in ast.walk(ast.parse((REPO / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join((*base, node.module or "")).strip(".")


def climbing(room: str, imports: list[str]) -> list[str]:
    """Those of the imports that a room must not make."""
    allowed = BELOW[room] | {room}
    engine = [name.split(".") for name in imports if name.split(".")[0] in ("ti_core", "nodes")]
    up = [".".join(p) for p in engine if p[0] == "nodes" or p[1:] and p[1] not in allowed]
    foreign = [name for name in imports if name.split(".")[0] in HOST_MODULES]
    return up if room == "host" else up + foreign


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_down(path: Path) -> None:
    if path == Path("ti_core/__init__.py"):
        assert not list(imported(path))
        return
    room = path.with_suffix("").parts[1]
    up = climbing(room, list(imported(path)))
    assert not up, f"{path} must not import {', '.join(up)}"


def test_an_import_that_runs_up_is_found() -> None:
    assert climbing("concept", ["ti_core.draws", "ti_core.training.loop", "re"]) == [
        "ti_core.training.loop"
    ]
    assert climbing("word", ["comfy.sd"]) == ["comfy.sd"]
    assert climbing("host", ["comfy.sd", "nodes.train", "ti_core.store.digest"]) == ["nodes.train"]


def test_each_file_name_stands_once() -> None:
    listed = subprocess.check_output(("git", "ls-files", "*.py"), cwd=REPO, text=True).split()
    shared = ("__init__.py", "conftest.py")
    names = Counter(
        path.name
        for path in map(Path, listed)
        if path.parts[0] != "nodes" and path.name not in shared
    )
    twice = [name for name, count in names.items() if count > 1]
    assert not twice, f"These names stand for several files: {', '.join(twice)}"


def test_the_nodes_reach_the_engine_and_nothing_of_the_host_but_its_api() -> None:
    for path in sorted((REPO / "nodes").glob("*.py")):
        outside = {
            name.split(".")[0]
            for name in imported(path.relative_to(REPO))
            if name.split(".")[0] in HOST_MODULES
        }
        assert outside <= {"comfy_api", "comfy_execution"}, path
