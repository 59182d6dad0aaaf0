"""Older hosts: what the pack says to them, and what it does in their stead."""

import subprocess
import sys
from pathlib import Path

import folder_paths
import pytest

from ti_core.host.models.compatibility import host_version, is_within_directory, too_old

REPO = Path(__file__).resolve().parents[3]
LOADED = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "pack", {str(REPO / "__init__.py")!r}, submodule_search_locations=[{str(REPO)!r}]
)
module = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.NODE_CLASS_MAPPINGS, hasattr(module, "comfy_entrypoint"))
"""


def test_this_host_is_new_enough():
    assert too_old(host_version()) is None


@pytest.mark.parametrize("version", ["0.19.0", "0.19.3", "0.33.0", "1.0", "0.20.0-rc1"])
def test_newer_hosts_load_the_nodes(version: str):
    assert too_old(version) is None


def test_an_older_host_is_told_what_is_needed_and_loads_no_node(tmp_path: Path):
    """In a process of its own, where nothing of the host can be imported but its version."""
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.18.1"')
    done = subprocess.run(
        (sys.executable, "-c", LOADED), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{} False"
    assert "needs ComfyUI 0.19.0 or newer, and this is 0.18.1" in done.stderr
    assert "Update ComfyUI" in done.stderr
    assert "Traceback" not in done.stderr


def paths(root: Path) -> dict[str, bool]:
    """Paths, and whether they lie inside `root / "in"`."""
    inside = root / "in"
    (inside / "deep").mkdir(parents=True)
    (root / "inside").mkdir()
    (inside / "link").symlink_to(root)
    return {
        str(inside): True,
        str(inside / "deep" / "new.png"): True,
        str(inside / "deep" / ".." / "a.png"): True,
        str(inside / ".." / "a.png"): False,
        str(root / "inside"): False,
        str(inside / "link" / "a.png"): False,
        str(inside / "zero\0byte"): False,
    }


def test_a_path_is_inside_a_folder_as_the_host_has_it(tmp_path: Path):
    expected = paths(tmp_path)
    root = str(tmp_path / "in")
    assert {path: is_within_directory(root, path) for path in expected} == expected
    if hasattr(folder_paths, "is_within_directory"):  # since 0.28
        hosts = {path: folder_paths.is_within_directory(root, path) for path in expected}
        assert hosts == expected
