"""Feed bent files to all readers of strangers' bytes: `python scripts/fuzz.py --minutes 30`.

Each input may take one second of the processor and 64 MB above its own size, and may end in a
ValueError with a message that can be shown. With atheris, which is installed where it can be, the
inputs follow the code's branches; without it they are bent at random. What broke a limit is kept
in a folder, with the place; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from environment import REPO, Host, SetupFailure, prepare

if TYPE_CHECKING:
    from fuzz_watch import Cost, Target

ROOMS = {"embeddings": "fuzz_readers", "datasets": "fuzz_datasets"}
PATHS = ("", "tests/fuzz", "tests/unit", "tests/unit/training", "scripts")
IN_CHILD = "FUZZ_WORKER"
EXTRAS = ("pytest", "hypothesis")  # what the tests' helpers import
KEPT_OF_A_KIND = 3
STUCK = 30  # seconds after which an input counts as frozen
REPORT_EVERY = 2  # seconds
MEGABYTE = 1 << 20
MOST_MEMORY = 6 << 30  # bytes of address space above what the process has at its start


class Findings(NamedTuple):
    """What a worker has found so far."""

    inputs: int
    faults: dict[str, int]
    slowest: float
    largest: float


def main() -> int:
    """Fuzz each target for its share of the time, and print a table."""
    wanted = arguments()
    if wanted.worker and IN_CHILD in os.environ:
        return work(wanted)
    host = prepared(wanted.guided)
    env = {
        **os.environ,
        "COMFYUI_PATH": str(host.comfyui),
        "PYTHONPATH": os.pathsep.join(str(REPO / path) for path in PATHS),
        "OMP_NUM_THREADS": "1",
        IN_CHILD: "1",
    }
    if wanted.again:
        with tempfile.TemporaryDirectory() as place:
            words = ["--again", str(wanted.again.resolve())]
            command = [host.python, __file__, *sys.argv[1:], *words]
            return subprocess.run(command, env=env, cwd=place).returncode
    faults = 0
    for room in [wanted.room] if wanted.room else list(ROOMS):
        names = listed(host.python, env, room)
        print(f"\n{room}: {len(names)} targets, {wanted.minutes} minutes", flush=True)
        for name in names:
            seconds = 60 * wanted.minutes / len(names)
            found = fuzzed(host.python, env, room, name, seconds, wanted)
            faults += sum(found.faults.values())
            print(line(name, found), flush=True)
    print(f"\nInputs that broke a limit: {faults}" + (f", kept in {wanted.keep}" if faults else ""))
    return 1 if faults else 0


def prepared(guided: bool) -> Host:
    """A ComfyUI with what the fuzzer needs, and with atheris where it can be had."""
    if guided:
        try:
            return prepare((*EXTRAS, "atheris"))
        except SetupFailure as failure:
            print(f"Without atheris, so inputs are bent at random: {str(failure)[:300]}")
    return prepare(EXTRAS)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="for each of the groups")
    parser.add_argument("--room", choices=ROOMS, help="one group of readers; both by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--unguided", dest="guided", action="store_false", help="without atheris")
    parser.add_argument("--worker", default="", metavar="TARGET", help="with --room and --again")
    parser.add_argument(
        "--again", type=Path, help="read this one input again, and say what it cost"
    )
    parser.add_argument("--seconds", type=float, default=10, help=argparse.SUPPRESS)
    return parser.parse_args()


def listed(python: Path, env: dict[str, str], room: str) -> list[str]:
    """The names of a group's targets."""
    script = (
        f"import json, {ROOMS[room]} as room; print(json.dumps([t.name for t in room.TARGETS]))"
    )
    done = subprocess.run([python, "-c", script], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def line(name: str, found: Findings) -> str:
    """A row of the table."""
    text = (
        f"  {name:18} {found.inputs:9,} inputs, slowest {found.slowest:.3f} s, "
        f"largest {found.largest:.0f} MB, {sum(found.faults.values())} faults"
    )
    return "\n".join([text, *(f"      {n} x {fault}" for fault, n in found.faults.items())])


def fuzzed(
    python: Path, env: dict[str, str], room: str, name: str, seconds: float, wanted: Any
) -> Findings:
    """Let workers fuzz a target; one that froze or was killed is followed by another."""
    ends, seed = time.monotonic() + seconds, wanted.seed
    inputs, faults, slowest, largest = 0, Counter[str](), 0.0, 0.0
    while (left := ends - time.monotonic()) > 1:
        with tempfile.TemporaryDirectory() as place:
            command = [python, __file__, "--worker", name, "--room", room, "--seed", str(seed)]
            command += ["--seconds", str(max(1.0, left)), "--keep", str(wanted.keep)]
            command += [] if wanted.guided else ["--unguided"]
            done = subprocess.run(command, env=env, cwd=place, capture_output=True, text=True)
            found = told(Path(place))
            if found is None or not (Path(place) / "finished").exists():
                note = re.sub(r"\s+", " ", done.stderr[-300:])
                faults[f"worker ended with {done.returncode}: {note}"] += 1
                keep(wanted.keep, name, "killed", last_input(Path(place)))
            if found is not None:
                inputs, faults = inputs + found.inputs, faults + Counter(found.faults)
                slowest, largest = max(slowest, found.slowest), max(largest, found.largest)
        seed += 1
        if found is None:
            break
    return Findings(inputs, dict(faults), slowest, largest)


def told(place: Path) -> Findings | None:
    """What a worker has written down, None if it wrote nothing."""
    file = place / "findings.json"
    return Findings(**json.loads(file.read_text())) if file.exists() else None


def last_input(place: Path) -> bytes:
    """The input that a worker was reading when it ended."""
    file = place / "last"
    return file.read_bytes() if file.exists() else b""


def keep(folder: Path, target: str, fault: str, data: bytes) -> None:
    """Keep an input that broke a limit."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{target} {fault}")[:80]
    for number in range(KEPT_OF_A_KIND):
        path = folder / f"{name}-{number}"
        if not path.exists():
            path.write_bytes(data)
            return


# In the worker


def work(wanted: argparse.Namespace) -> int:
    """Fuzz one target in this process, or read one input again."""
    atheris = guide(wanted)
    target = target_named(wanted.room, wanted.worker)
    folder = Path.cwd()
    if wanted.again:
        cost = cost_of(target, folder, wanted.again.read_bytes())
        print(cost)
        return 1 if cost.kind else 0
    limit_memory()
    worker = Worker(target, folder, wanted)
    for sample in target.seeds():  # What is made once, such as fonts and tables, is not counted.
        cost_of(target, folder, sample)
    if atheris:
        guided(atheris, worker)
    else:
        for data in random_inputs(target, wanted.seed):
            if worker.over:
                break
            worker.read(data)
    worker.write_down()
    (folder / "finished").touch()
    return 0


def guide(wanted: argparse.Namespace) -> Any:
    """Atheris, which must see our modules before they are imported; None if it is not to be had."""
    if not wanted.guided or wanted.again:
        return None
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        return None
    with atheris.instrument_imports(include=["ti_core"]):
        target_named(wanted.room, wanted.worker)
    return atheris


def target_named(room: str, name: str) -> Target:
    """One target of a group."""
    targets = importlib.import_module(ROOMS[room]).TARGETS
    return next(target for target in targets if target.name == name)


def cost_of(target: Target, folder: Path, data: bytes) -> Cost:
    """Read an input once."""
    from fuzz_watch import watched

    return watched(target, folder, data)


def limit_memory() -> None:
    """Let a giant allocation fail rather than fill the machine."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, used + MOST_MEMORY))


def random_inputs(target: Target, seed: int) -> Iterator[bytes]:
    """Bent samples without end, always the same for a seed."""
    samples, draws = target.seeds(), random.Random(seed)
    while True:
        yield target.mutate(samples, draws.randrange(1 << 48))


class Worker:
    """Reads inputs, and writes down what they cost."""

    def __init__(self, target: Target, folder: Path, wanted: argparse.Namespace):
        self.target, self.folder, self.keep = target, folder, wanted.keep
        self.seed, self.seconds = wanted.seed, wanted.seconds
        self.ends = time.monotonic() + wanted.seconds
        self.inputs, self.slowest, self.largest = 0, 0.0, 0.0
        self.faults: Counter[str] = Counter()
        self.written = 0.0

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.ends

    def read(self, data: bytes) -> None:
        """Read one input; one that freezes ends the process with a trace."""
        (self.folder / "last").write_bytes(data)
        faulthandler.dump_traceback_later(STUCK, exit=True)
        cost = cost_of(self.target, self.folder, data)
        if cost.kind.startswith("too "):  # Once more: the machine may have been busy.
            cost = cost_of(self.target, self.folder, data)
        faulthandler.cancel_dump_traceback_later()
        self.inputs += 1
        self.slowest = max(self.slowest, cost.seconds)
        self.largest = max(self.largest, cost.megabytes - len(data) / MEGABYTE)
        if cost.kind:
            self.faults[cost.kind] += 1
            keep(self.keep, self.target.name, cost.kind, data)
        if time.monotonic() - self.written > REPORT_EVERY:
            self.write_down()

    def write_down(self) -> None:
        """Leave the findings where the parent looks."""
        self.written = time.monotonic()
        found = Findings(self.inputs, dict(self.faults), self.slowest, self.largest)
        (self.folder / "findings.json").write_text(json.dumps(found._asdict()))


def guided(atheris: Any, worker: Worker) -> None:
    """Let atheris choose among bent inputs by the branches that they reach."""
    corpus = worker.folder / "corpus"
    corpus.mkdir()
    samples = worker.target.seeds()
    for number, sample in enumerate(samples):
        (corpus / str(number)).write_bytes(sample)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        known = [*samples, data] if data else samples
        try:
            made = worker.target.mutate(known if seed % 4 else [data or samples[0]], seed)
        except Exception:  # Not every input can be taken apart again.
            made = worker.target.mutate(samples, seed)
        return made[:most]

    def read(data: bytes) -> None:
        if worker.over:
            worker.write_down()
            (worker.folder / "finished").touch()
            os._exit(0)
        worker.read(data)

    options = [f"-seed={worker.seed + 1}", "-max_len=1048576", "-rss_limit_mb=0", "-timeout=600"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], read, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
