"""Files from strangers: each is a clear error, soon and in little memory; nothing in it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_files import good_files, make

from ti_core.word.formats.pickles import Name
from ti_core.word.formats.torch_file import TorchStorage, read_values

pytest.importorskip("resource", reason="memory is measured with the resource module")

MAX_SECONDS, MAX_MEGABYTES, FEWEST = 1.0, 200, 200


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
    make(folder, canary)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    here = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(here.parent.parent)}
    child = (sys.executable, "-X", "faulthandler", str(here / "read_all.py"), str(folder))
    done = subprocess.run(child, env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_is_an_error_that_names_the_file_and_the_reason(results: list[dict[str, Any]]):
    assert len(results) >= FEWEST
    assert [one["name"] for one in results if one["result"] == "read"] == []
    for one in results:
        assert one["result"].startswith(
            (f"The file '{one['name']}' cannot be read as an embedding: ", "Choose what to load")
        )
        assert 60 < len(one["result"]) < 500, one


def test_none_takes_long_or_much_memory(results: list[dict[str, Any]]):
    slowest = max(results, key=lambda one: one["seconds"])
    assert slowest["seconds"] < MAX_SECONDS, slowest
    hungriest = next((one for one in results if one["grown"] > MAX_MEGABYTES), None)
    assert hungriest is None, hungriest


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
