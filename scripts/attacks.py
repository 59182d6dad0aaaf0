"""Try every attack that was found by hand, each in its own process: `python scripts/attacks.py`.

With `--before COMMIT` an older version of the pack is tried with the same attacks, and shown beside
it. A process that takes more than 10 seconds or 4 GB is ended, and counts as frozen or full. The
exit status is 1 if anything ends otherwise than it should.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from environment import REPO, Host, prepare

GROUPS = ("embedding files", "images", "data sets", "disks")
TESTS = ("tests/unit", "tests/unit/training", "tests/fuzz", "tests/host", "scripts")
EXTRAS = ("pytest", "hypothesis")  # what the tests' helpers import
SERVER = "server"  # ask a server to cancel while it loads each of the embedding files
BEFORE_CANCEL = 0.05  # seconds; what has not begun when it is cancelled is not loaded
SECONDS, MEMORY = 10, 4 << 30  # of one case; bytes of address space above those at its start
MOST_SECONDS, MOST_MEGABYTES = 1.0, 64.0
DATASET_SECONDS, IMAGE_MEGABYTES = 5.0, 300.0
LONGEST_MESSAGE = 500
SHOWN = 110  # characters of a result in the table


class Outcome(NamedTuple):
    """What came of a case, and what was wrong with that, '' if nothing."""

    text: str
    fault: str
    seconds: float = 0.0
    megabytes: float = 0.0


def main() -> int:
    """Print a table of all cases."""
    wanted = arguments()
    if wanted.group == SERVER:
        return interrupt_server()
    if wanted.group:
        return run_group(wanted.group)
    host = prepare(EXTRAS)
    with older(wanted.before) as before:
        trees = [tree for tree in (before, REPO) if tree]
        faults = [0] * len(trees)
        count = 0
        print(f"\na server\n  {server_answer(host)}", flush=True)
        for group in GROUPS:
            print(f"\n{group}", flush=True)
            tried = [outcomes(host, tree, group) for tree in trees]
            for name in tried[-1]:
                found = [one.get(name, Outcome("could not be tried", "")) for one in tried]
                faults = [n + bool(one.fault) for n, one in zip(faults, found, strict=True)]
                count += 1
                print(row(name, found), flush=True)
    print(f"\n{count} cases.", *summary(wanted.before, faults))
    return 1 if faults[-1] else 0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--before", default="", metavar="COMMIT", help="an older version to compare"
    )
    parser.add_argument("--group", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def row(name: str, found: list[Outcome]) -> str:
    """A case in the table."""
    lines = [f"  {'BAD ' if found[-1].fault else 'good'} {name!a}"]
    for title, one in zip(("before", "now")[-len(found) :], found, strict=True):
        cost = f"{one.seconds:.2f} s, {one.megabytes:.0f} MB" if one.seconds else ""
        text = one.text.encode("utf-8", "replace").decode()  # Names on disks can be no text.
        said = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        told = "; ".join(part for part in (one.fault, said, cost) if part)
        lines.append(f"       {title}: {told}")
    return "\n".join(lines)


def summary(before: str, faults: list[int]) -> list[str]:
    """How many ended otherwise than they should."""
    titles = (f"before ({before})", "now")[-len(faults) :]
    return [f"{title}: {n} bad." for title, n in zip(titles, faults, strict=True)]


@contextmanager
def older(commit: str) -> Iterator[Path | None]:
    """The engine of a commit in a folder of its own; None without a commit."""
    if not commit:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        archive = subprocess.run(
            ("git", "archive", commit, "ti_core"), cwd=REPO, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(("tar", "x", "-C", place), input=archive.stdout, check=True)
        yield Path(place)


def outcomes(host: Host, tree: Path, group: str) -> dict[str, Outcome]:
    """What came of the cases of a group with the engine of a tree."""
    lines = [json.loads(line) for line in told_by(host, tree, group)]
    return {name: Outcome(*rest) for name, *rest in lines}


def server_answer(host: Host) -> str:
    """How long a real server took to answer while it loaded each of the embedding files."""
    return json.loads(told_by(host, REPO, SERVER)[-1])


def told_by(host: Host, tree: Path, group: str) -> list[str]:
    """What the process of a group tells, with the engine of a tree."""
    paths = (tree, *(REPO / path for path in TESTS), REPO / "benchmarks")
    env = {
        **os.environ,
        "COMFYUI_PATH": str(host.comfyui),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as place:
        command = (host.python, __file__, "--group", group)
        done = subprocess.run(command, env=env, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The cases of '{group}' could not be run:\n{done.stderr[-2000:]}")
    return [line[1:] for line in done.stdout.splitlines() if line.startswith("@")]


# In the process of a group


def run_group(group: str) -> int:
    """Run the cases of a group, each in a copy of this process, and print what came of them."""
    place = Path.cwd()
    for number, (name, run) in enumerate(CASES[group](place)):
        folder = place / str(number)
        folder.mkdir()
        found = in_a_copy(run, folder)
        print("@" + json.dumps([name, *found]), flush=True)
    return 0


def interrupt_server() -> int:
    """Let a real server load each of the files that were made to freeze it, and press Cancel all
    the while.
    """
    from headless import Server
    from strangers_files import strangers

    with Server(Path(os.environ["COMFYUI_PATH"]), Path(sys.executable), Path.cwd()) as server:
        files = {name: build() for name, build, _ in strangers()}
        longest = ("", 0.0)
        for name, data in files.items():
            (server.directory / "models" / "embeddings" / name).write_bytes(data)
        for name in files:
            prompt, queued = server.queue(loading(name)), time.monotonic()
            while True:
                started = time.monotonic()
                if server.history(prompt) is not None:
                    break
                if started - queued > BEFORE_CANCEL:
                    server.interrupt()
                longest = max(longest, (name, time.monotonic() - started), key=lambda one: one[1])
        assert server.process is not None
        memory = (Path("/proc") / str(server.process.pid) / "status").read_text()
    peak = int(memory[memory.index("VmHWM:") :].split(maxsplit=2)[1]) >> 10
    name, seconds = longest
    text = f"{len(files)} files were loaded one after the other. Requests, /interrupt too, were "
    text += f"always answered, after {seconds:.2f} s at the latest ({name}). The server took at "
    text += f"most {peak} MB."
    print("@" + json.dumps(text))
    return 0


def loading(name: str) -> dict[str, Any]:
    """A graph that loads and inspects an embedding file."""
    nodes = {
        "load": ("LoadTextualInversion", {"file": name, "word": ""}),
        "inspect": ("InspectTextualInversion", {"embedding": ["load", 0], "neighbors": 3}),
        "text": ("PreviewAny", {"source": ["inspect", 0]}),
        "image": ("PreviewImage", {"images": ["inspect", 1]}),
    }
    nodes["load"][1].update(placeholder="", initializer="")
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def in_a_copy(run: Callable[[Path], Outcome], folder: Path) -> Outcome:
    """Run a case in a copy of this process, which is ended where it takes too much."""
    there, here = os.pipe()
    if not os.fork():
        os.close(there)
        signal.alarm(SECONDS)
        limit_memory()
        os.write(here, json.dumps(attempt(run, folder)).encode())
        os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as pipe:
        told = pipe.read()
    _, status = os.wait()
    if told:
        return Outcome(*json.loads(told))
    frozen = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    return Outcome("", f"frozen for {SECONDS} s" if frozen else f"the process died ({status})")


def limit_memory() -> None:
    """Let a giant allocation fail rather than fill the machine."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def attempt(run: Callable[[Path], Outcome], folder: Path) -> Outcome:
    """A case's outcome; whatever is not a ValueError is a fault."""
    try:
        return run(folder)
    except MemoryError:
        return Outcome("", f"more than {MEMORY >> 30} GB")
    except BaseException as error:
        text = str(error)
        if type(error) is ValueError and len(text) <= LONGEST_MESSAGE:
            return Outcome(text, "")
        if "can't allocate memory" in text:
            return Outcome("", f"more than {MEMORY >> 30} GB")
        kind = "a long message" if type(error) is ValueError else type(error).__name__
        return Outcome(text[:LONGEST_MESSAGE], kind)


def embedding_files(place: Path) -> Iterator[tuple[str, Callable[[Path], Outcome]]]:
    """Files that look like embeddings."""
    from hostile_files import cases, good_files
    from read_all import measured, outcome

    for kind, data in good_files().items():  # What is made once is not counted.
        (place / f"good.{kind}").write_bytes(data)
        outcome(place / f"good.{kind}")

    def run(folder: Path, case: Any) -> Outcome:
        path = folder / case.name
        path.write_bytes(case.build())
        found: dict[str, Any] = measured(path)
        text, seconds = str(found["result"]), float(found["seconds"])
        grown = max(float(found["grown"]), float(found["drawn"]))
        fault = fault_of_cost(seconds, grown, MOST_SECONDS, MOST_MEGABYTES)
        if not fault and (len(text) > 10 * LONGEST_MESSAGE):
            fault = "a long message"
        if not fault and not re.search(case.expected, text):
            fault = "not what should be told"
        return Outcome(text[:LONGEST_MESSAGE], fault, seconds, grown)

    for case in cases(place / "canary"):
        yield case.name, lambda folder, case=case: run(folder, case)


def images(place: Path) -> Iterator[tuple[str, Callable[[Path], Outcome]]]:
    """Images whose structure is made to cost time or memory, read whole and in small."""
    from fuzz_watch import mark_memory, peak_memory
    from hostile_images import cases, read_all_ways, saved

    (place / "good.png").write_bytes(saved("PNG"))
    read_all_ways(place / "good.png")  # What is made once is not counted.

    def run(folder: Path, case: Any) -> Outcome:
        path = folder / case.name
        path.write_bytes(case.build())
        before, started = mark_memory(), time.process_time()
        text, ways = read_all_ways(path)
        seconds, grown = (time.process_time() - started) / ways, peak_memory() - before
        fault = fault_of_cost(seconds, grown, MOST_SECONDS, IMAGE_MEGABYTES)
        if not fault and case.read != (text == "read"):
            fault = "not what should be told"
        return Outcome(text, fault, seconds, grown)

    for case in cases():
        yield case.name, lambda folder, case=case: run(folder, case)


def data_sets(place: Path) -> Iterator[tuple[str, Callable[[Path], Outcome]]]:
    """Images, captions, and files that describe them."""
    from fuzz_datasets import small_image
    from fuzz_watch import mark_memory, peak_memory
    from hostile_data import cases

    small_image()

    def run(folder: Path, case: Any) -> Outcome:
        before, started = mark_memory(), time.process_time()
        try:
            case.run(folder)
            text = "loaded"
        except ValueError as error:
            if type(error) is not ValueError or len(str(error)) > LONGEST_MESSAGE:
                raise
            text = str(error)
        seconds, grown = time.process_time() - started, peak_memory() - before
        large = case.name.startswith("64 MP")
        # A large image takes its time, and the cases make theirs themselves.
        fault = "" if large else fault_of_cost(seconds, grown, DATASET_SECONDS, IMAGE_MEGABYTES)
        return Outcome(text[:LONGEST_MESSAGE], fault, seconds, grown)

    for case in cases():
        yield case.name, lambda folder, case=case: run(folder, case)


def fault_of_cost(seconds: float, megabytes: float, longest: float, most: float) -> str:
    """What is wrong with what a case took."""
    if seconds > longest:
        return f"{seconds:.1f} s"
    return f"{megabytes:.0f} MB" if megabytes > most else ""


def disks(place: Path) -> Iterator[tuple[str, Callable[[Path], Outcome]]]:
    """Disks, names and folders."""
    allow_older()
    from hostile_disks import cases, outcome

    def run(folder: Path, case: Any) -> Outcome:
        text = outcome(case, folder)
        return Outcome(text, "" if text == case.ideal else "not what should happen")

    for case in cases():
        yield case.name, lambda folder, case=case: run(folder, case)


def allow_older() -> None:
    """Let the cases run with an engine whose store had no `tell`, and no rules for names yet."""
    import inspect
    import types

    from ti_core.store import run_store

    if "tell" in inspect.signature(run_store.RunStore.__init__).parameters:
        return

    class Store(run_store.RunStore):
        def __init__(self, root: Path, name: str, resume: Any, tell: Callable[[str], None]):
            super().__init__(root, name, resume)
            self.tell = tell
            self.findings = lambda: self.notes

        def note(self, text: str) -> None:
            super().note(text)
            self.tell(text)

    def missing(*_: Any) -> Any:
        raise RuntimeError("there was no such rule")

    run_store.RunStore = Store  # type: ignore[misc]
    names: Any = types.ModuleType("ti_core.word.formats.file_names")
    names.embeddings_below = names.name_to_write = missing
    sys.modules[names.__name__] = names


CASES = {
    "embedding files": embedding_files,
    "images": images,
    "data sets": data_sets,
    "disks": disks,
}


if __name__ == "__main__":
    sys.exit(main())
