"""Our files in InvokeAI's own probe and loader, where its package is installed: `pip install
--no-deps invokeai` is enough, because scripts/foreign/ replaces what is heavy in it.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from foreign import papers

FOUND = find_spec("invokeai")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="needs `pip install --no-deps invokeai`"),
]


def test_invokeai_reads_what_the_table_says(tmp_path: Path):
    assert FOUND is not None and FOUND.submodule_search_locations is not None
    site = Path(FOUND.submodule_search_locations[0]).parent
    trial(tmp_path, [papers.REPO])
    said = trial(tmp_path, [], "interfaces", "invokeai", str(site))
    reads = json.loads(said.splitlines()[-1])
    assert reads["standard"]["SDXL"] == "="
    assert papers.otherwise({"InvokeAI": {"reads": reads}}) == []


def trial(folder: Path, more: list[Path], *words: str) -> str:
    """What scripts/foreign/trial.py says in a process of its own."""
    paths = os.pathsep.join(map(str, [papers.REPO / "scripts", *more]))
    command = [sys.executable, "-m", "foreign.trial", str(folder), *words]
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
