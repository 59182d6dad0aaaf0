"""A server that scripts and tests start lives no longer than they do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from headless import REPO, Server

# Answers as a ComfyUI that is up, and starts a process of its own, as nodes may.
SERVER = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

port = int(sys.argv[sys.argv.index("--port") + 1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""
OWNER = """
import sys, time
from pathlib import Path
from headless import Server

with Server(Path(sys.argv[1]), Path(sys.executable), Path(sys.argv[2])) as server:
    print(server.process.pid, server.log.read_text(), flush=True)
    {end}
"""


def pids_after(end: str, comfyui: Path, base: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """An owner, and the processes that it has started."""
    words = [sys.executable, "-c", OWNER.format(end=end), str(comfyui), str(base)]
    environment = {**os.environ, "PYTHONPATH": str(REPO / "scripts")}
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    assert owner.stdout is not None
    return owner, [int(word) for word in owner.stdout.readline().split()]


def is_running(pid: int) -> bool:
    """Whether a process is there and not a dead one that nobody has waited for."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def small_comfyui(tmp_path: Path) -> Path:
    """A folder with a main.py that starts in no time."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(SERVER)
    return folder


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize(
    "end",
    ["time.sleep(600)", "import os; os._exit(3)", "import os; os.kill(os.getpid(), 15)"],
    ids=["killed", "left without a goodbye", "terminated"],
)
def test_a_server_ends_with_its_owner(end: str, small_comfyui: Path, tmp_path: Path):
    owner, pids = pids_after(end, small_comfyui, tmp_path / "base")
    assert len(pids) == 2
    if "sleep" in end:
        assert all(is_running(pid) for pid in pids)
        owner.send_signal(signal.SIGKILL)
    owner.wait(30)
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, pids
        time.sleep(0.05)


def test_a_server_is_stopped_politely_by_an_owner_that_ends_as_it_should(
    small_comfyui: Path, tmp_path: Path
):
    with Server(small_comfyui, Path(sys.executable), tmp_path / "base") as server:
        process = server.process
    assert process is not None
    assert process.returncode == (1 if os.name == "nt" else -signal.SIGTERM)
