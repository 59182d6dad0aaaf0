"""A ComfyUI server without a browser: start it, queue prompts, follow them, stop it.

Not called server.py: ComfyUI has a module of that name, and the tests import both.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

REPO = Path(__file__).resolve().parents[1]
OWNED = Path(__file__).with_name("owned.py")
PACK = "comfyui-textual-inversion"
FOLDERS = ("custom_nodes", "user", "input", "output", "temp", "datasets")
MODEL_FOLDERS = ("checkpoints", "embeddings", "loras")
TEXT_EVENT = 3  # protocol.py: BinaryEventTypes.TEXT
MONITOR_EVENT = "textual_inversion.monitor"
FINAL_EVENTS = ("execution_success", "execution_error", "execution_interrupted")

OnProgress = Callable[[int, int, str], None]  # value, maximum, text


class Server:
    """A context manager that runs ComfyUI with the pack on a free port and a base directory. The
    server ends with this process, however that ends.
    """

    def __init__(
        self,
        comfyui: Path,
        python: Path,
        directory: Path,
        pack: Path = REPO,
        options: tuple[str, ...] = (),
    ) -> None:
        self.comfyui = comfyui
        self.python = python
        self.directory = directory.absolute()
        self.pack = pack
        self.options = options
        self.log = self.directory / "server.log"
        self.client_id = uuid.uuid4().hex
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        lay_out(self.directory, self.pack)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.comfyui,
                stdin=subprocess.PIPE,  # Held, and closed with this process: see owned.py.
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",  # a process group of its own, to stop it whole
            )
        try:
            self._wait_until_up(180)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process:
            stop(self.process)

    def get(self, path: str) -> bytes:
        """The body of a GET request."""
        return self._request(path)

    def get_json(self, path: str) -> Any:
        """The parsed body of a GET request."""
        return json.loads(self._request(path))

    def object_info(self) -> dict[str, Any]:
        """The schemas of all nodes by class type."""
        return self.get_json("/object_info")

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format prompt and return its id; RuntimeError if a node of it is refused,
        whose part ComfyUI would leave out without a word.
        """
        body = {"prompt": prompt, "client_id": self.client_id}
        answer = json.loads(self._request("/prompt", body))
        if answer["node_errors"]:
            raise RuntimeError(f"ComfyUI refused a part of the prompt: {answer['node_errors']}")
        return answer["prompt_id"]

    def interrupt(self) -> None:
        """Cancel what is running."""
        self._request("/interrupt", {})

    def clear(self, timeout: float = 60) -> None:
        """Cancel what is running and what waits, and return when nothing runs any more."""
        deadline = time.monotonic() + timeout
        self._check_alive()
        while self.get_json("/prompt")["exec_info"]["queue_remaining"]:
            check_time(deadline, "The end of what was cancelled")
            self._request("/queue", {"clear": True})
            self.interrupt()
            time.sleep(0.05)

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The history entry of a prompt, None while it waits or runs."""
        self._check_alive()
        return self.get_json(f"/history/{prompt_id}").get(prompt_id)

    def wait(
        self, prompt_id: str, on_progress: OnProgress | None = None, timeout: float = 1800
    ) -> dict[str, Any]:
        """Wait until a prompt has run and return its history entry; RuntimeError if it failed."""
        deadline = time.monotonic() + timeout
        if on_progress:
            run_to_its_end(self._follow(prompt_id, on_progress, deadline))
        while not (entry := self.history(prompt_id)):
            check_time(deadline, f"Prompt {prompt_id}")
            time.sleep(0.05)
        raise_failure(entry)
        return entry

    async def _follow(self, prompt_id: str, on_progress: OnProgress, deadline: float) -> None:
        import aiohttp  # ComfyUI's own requirement: there in the prepared Python only

        latest = (0, 0)
        address = f"{self.url}/ws?clientId={self.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as events:
            while time.monotonic() < deadline and not events.closed:
                kind, data = await next_event(events)
                if kind == "progress":
                    latest = (data["value"], data["max"])
                if kind in ("progress", "text", MONITOR_EVENT):
                    on_progress(*latest, data.get("text", data.get("line", "")))
                elif kind in FINAL_EVENTS and data["prompt_id"] == prompt_id:
                    return
                # The end may have come before we were connected.
                elif kind == "quiet" and self.history(prompt_id):
                    return

    def _command(self) -> list[str]:
        words = [str(self.python), str(OWNED), "main.py", "--port", str(self.port)]
        words += ["--base-directory", str(self.directory), "--disable-api-nodes"]
        words += ["--database-url", "sqlite:///:memory:", *self.options]
        return words if has_cuda(self.python) else [*words, "--cpu"]

    def _request(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, content, headers)
        # No proxy, whatever the environment says: this is our own machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")
            raise RuntimeError(f"{path} answered {error.code}: {message[:4000]}") from error

    def _wait_until_up(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            self._check_alive()
            try:
                self.get("/system_stats")
                return
            except OSError:  # nobody listens yet
                check_time(deadline, f"The start of ComfyUI (log: {self.log})")
                time.sleep(0.1)

    def _check_alive(self) -> None:
        if self.process and self.process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"ComfyUI has ended. The last lines of {self.log}:\n{tail}")


def run_to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, in a thread of its own where this one has a running event loop already:
    Playwright's, as long as a page is open in the same process.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, work).result()


async def next_event(events: Any) -> tuple[str, dict[str, Any]]:
    """Kind and content of what a websocket brings next; "quiet" after half a second of nothing."""
    try:
        content = (await events.receive(timeout=0.5)).data
    except asyncio.TimeoutError:
        return "quiet", {}
    if isinstance(content, bytes):
        return binary_event(content)
    message = json.loads(content) if isinstance(content, str) else {"type": "closed", "data": {}}
    return message["type"], message["data"]


def binary_event(content: bytes) -> tuple[str, dict[str, Any]]:
    """Kind and content of a binary message: event, length of the node's id, the id, UTF-8 text."""
    event, length = struct.unpack(">II", content[:8])
    if event != TEXT_EVENT:
        return "image", {}
    return "text", {"text": content[8 + length :].decode(errors="replace")}


def raise_failure(entry: dict[str, Any]) -> None:
    """Raise RuntimeError with the node's own words where a history entry tells of a failure."""
    for kind, details in entry["status"]["messages"]:
        node = f"{details.get('node_type')} (node {details.get('node_id')})"
        if kind == "execution_error":
            raise RuntimeError(f"{node}: {details['exception_message'].strip()}")
        if kind == "execution_interrupted":
            raise RuntimeError(f"{node}: interrupted")


def check_time(deadline: float, what: str) -> None:
    """Raise TimeoutError after the deadline."""
    if time.monotonic() > deadline:
        raise TimeoutError(f"{what} took too long.")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@cache
def has_cuda(python: Path) -> bool:
    """Whether the torch of a Python sees a GPU; asked outside, so that no context stays open."""
    script = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return not subprocess.run([str(python), "-c", script], capture_output=True).returncode


def lay_out(directory: Path, pack: Path) -> None:
    """Make the folders that ComfyUI expects in a base directory, with the pack among its nodes."""
    for name in (*FOLDERS, *(f"models/{folder}" for folder in MODEL_FOLDERS)):
        (directory / name).mkdir(parents=True, exist_ok=True)
    link = directory / "custom_nodes" / PACK
    if not link.exists():
        link_folder(link, pack)


def link_folder(link: Path, target: Path) -> None:
    """Link a folder; on Windows a junction where symlinks need a privilege."""
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        junction = ["cmd", "/c", "mklink", "/J", str(link), str(target)]
        subprocess.run(junction, check=True, capture_output=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and its children: politely, after ten seconds by force."""
    with process:  # Closes our end of its standard input, when it has ended.
        if os.name == "nt":
            tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(tree, capture_output=True)
            process.wait(10)
            return
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, kind)
                process.wait(10)
            except ProcessLookupError:
                process.wait()
            except subprocess.TimeoutExpired:
                continue
            return
