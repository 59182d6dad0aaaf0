"""Files from strangers: each is a clear error or a word that does no harm, soon and in little
memory; nothing in it runs.

A process reads them, each in a copy of itself, and tells for each the CPU time that it took, and
how much more memory was held at the most than before, beyond the size of the file. The system
counts that memory, so that all that allocates is in it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_files import good_files, make

from ti_core.word.formats.pickles import Name
from ti_core.word.formats.torch_file import TorchStorage, read_values

pytest.importorskip("resource", reason="memory is measured with the resource module")

MAX_SECONDS, MAX_MEGABYTES, FEWEST = 1.0, 64, 250


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside") / "canary"


@pytest.fixture(scope="module")
def results(canary: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What reading each of the files came to, in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "good").mkdir()
    for kind, data in good_files().items():
        (folder / "good" / f"a.{kind}").write_bytes(data)
    expected = make(folder, canary)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    here = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(here.parent.parent), "OMP_NUM_THREADS": "1"}
    child = (sys.executable, "-X", "faulthandler", str(here / "read_all.py"), str(folder))
    done = subprocess.run(child, env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return [{**one, "expected": expected[one["name"]]} for one in told]


def test_each_comes_to_what_is_expected(results: list[dict[str, Any]]):
    assert len(results) >= FEWEST
    for one in results:
        assert re.search(one["expected"], one["result"], re.DOTALL), one


def test_an_error_names_the_file_and_the_reason_in_500_characters(results: list[dict[str, Any]]):
    for one in results:
        message = one["result"]
        if message.startswith("The file"):
            assert message.startswith(f"The file '{one['name']}' cannot be read as an embedding: ")
            assert 60 < len(message) <= 500, one
            assert message.isprintable(), one
        else:
            assert message.startswith(("Choose what to load", "read ")), one


def test_what_is_read_of_them_can_be_written_in_every_format(results: list[dict[str, Any]]):
    read = [one for one in results if one["written"]]
    assert len(read) >= 20
    assert [one for one in read if one["written"] != "written"] == []


def test_none_takes_long_or_much_memory(results: list[dict[str, Any]]):
    slowest = max(results, key=lambda one: one["seconds"])
    assert slowest["seconds"] < MAX_SECONDS, slowest
    for memory in ("grown", "drawn"):
        hungriest = max(results, key=lambda one: one[memory])
        assert hungriest[memory] < MAX_MEGABYTES, hungriest


def test_no_code_runs(results: list[dict[str, Any]], canary: Path):
    assert not canary.exists()
    ran = [one for one in results if "asks to run" in one["result"]]
    assert len(ran) >= 30
    assert list(canary.parent.iterdir()) == []


def test_a_tensor_of_a_plain_file_does_not_reach_into_the_next_ones_values():
    """In a zip archive it would also end at the entry; here the values lie one behind the other."""
    kind = Name("torch", "FloatStorage")
    storage = TorchStorage(kind, "0", 768, lambda at, size: b"\0" * size)
    assert read_values(storage, 0, (1, 768), (768, 1)).shape == (1, 768)
    with pytest.raises(ValueError, match="reaches beyond the values"):
        read_values(storage, 1, (1, 768), (768, 1))
