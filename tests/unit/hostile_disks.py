"""Disks, names and folders that are not as one expects: each case says what happened, in a sentence
that is the same each time.
"""

import errno
import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from safetensors import safe_open
from sample_embeddings import embedding
from toy import ToyModel, ran, settings, word

from ti_core.store.checkpoint import VERSION, checkpoint, packed_state, sealed
from ti_core.store.run_store import RunStore, checkpoints
from ti_core.training.optimizers import AdamWSettings
from ti_core.training.run import RunState
from ti_core.word.formats import FORMATS, Export, file_locks, write_files
from ti_core.word.formats.file_names import embeddings_below, name_to_write

REPO = Path(__file__).resolve().parents[2]
LIKE, MOST = word().vectors, 20
SMALL_DISK = 40 << 10  # bytes


class Case(NamedTuple):
    """Something that a disk or a folder may do, what is asked of the pack meanwhile, how to try it
    in an empty folder, and the sentence that it should end with.
    """

    name: str
    what: str
    run: Callable[[Path], str]
    ideal: str


def cases() -> Iterator[Case]:
    """All of them; `outcome` runs one."""
    yield Case(
        "a full disk at the start",
        "a run of 2,000 steps begins on a disk of 40 kB",
        on_small_disk(full_at_the_start),
        "Told at the start: no room (No space left on device). 1 step was stored, nothing else is "
        "left.",
    )
    yield Case(
        "a full disk in the middle",
        "a disk of 40 kB fills up during a run, and is freed at its end",
        on_small_disk(full_in_the_middle),
        "Told 1 time, at step 4. The report: 2 checkpoints could not be written (No space left on "
        "device): steps 4, 6. The last one is of step 8.",
    )
    yield Case(
        "an embedding on a full disk",
        "a pair of files of 100 kB is saved to a disk of 40 kB",
        on_small_disk(embedding_on_full_disk),
        "OSError (No space left on device); 0 files are left.",
    )
    yield Case(
        "a folder that cannot be synced",
        "fsync of a folder is refused, as on some network drives",
        unsyncable,
        "1 checkpoint and 2 files of an embedding were written, 0 problems told.",
    )
    yield Case(
        "a file system without chmod and hard links",
        "both are refused, as on FAT",
        without_permissions,
        "1 checkpoint and 2 files of an embedding were written, 0 problems told.",
    )
    yield Case(
        "a file system without locks",
        "every lock is refused with ENOLCK, as on some network drives; the run is taken up",
        without_locks,
        "Told 2 times: cannot be locked. The run goes on from step 2.",
    )
    yield Case(
        "a disk that can only be read",
        "a stored run lies on a disk that nobody may write to",
        on_small_disk(read_only),
        "Told 1 time: Read-only file system. The run goes on from step 2.",
    )
    yield Case(
        "a save that is killed",
        "a process that saves a file is killed before each call of the system in turn",
        killed_saves,
        "0 empty files have a name, 0 leftovers after the next save.",
    )
    yield Case(
        "a start over that is killed",
        "a run starts over beside a finished one, and is killed after step 4",
        killed_start_over,
        "The finished run goes on from step 20.",
    )
    yield Case(
        "checkpoints of another run and of another step",
        "one of another run lies in the folder, and one that has the name of another step",
        foreign_checkpoints,
        "Told: it belongs to another run; it holds step 4. The run goes on from step 2.",
    )
    yield Case(
        "a folder that is removed",
        "the run's folder is removed while it trains",
        removed_folder,
        "Told 1 time. Made again with a lock and 1 checkpoint; it goes on from step 4.",
    )
    yield Case(
        "two savers of one name",
        "two processes save the same name 120 times each",
        two_savers,
        "240 of 240 files are there, 240 different ones.",
    )
    yield Case(
        "checkpoints of another version",
        "the run was stored by a pack with another format; six checkpoints follow",
        other_version,
        "Told 1 time. 2 of 2 checkpoints of the other version are as they were, 0 put aside; this "
        "run goes on from its own step 12.",
    )
    yield Case(
        "an infinite memory",
        "gradients of 1e25 from step 4 on, which no optimizer can square",
        infinite_memory,
        "The run ended by 'not finite', and was stored and read again at step 3.",
    )
    yield Case(
        "a state that is not finite",
        "a state with an infinite loss scale, loss or memory is to be stored",
        infinite_state,
        "0 of 3 were written, 3 told and counted.",
    )
    yield Case(
        "a pipe in place of a checkpoint",
        "a FIFO is called like the newest checkpoint",
        pipe_as_checkpoint,
        "Told: it is not a regular file. The run goes on from step 2.",
    )
    yield Case(
        "files that another process removes",
        "old runs vanish while their sizes are added up",
        vanishing_files,
        "The run is stored, 0 problems told.",
    )
    yield Case(
        "names that no system takes",
        "20 names of devices, with dots at the end, too long, or leading outside",
        bad_names,
        "20 of 20 are refused with a sentence that gives the remedy.",
    )
    yield Case(
        "links",
        "a linked file, a linked folder, and folders that link to one another in circles",
        links,
        "All 14 files are listed once each.",
    )


def outcome(case: Case, folder: Path) -> str:
    """What happens, also where that is an exception."""
    try:
        return case.run(folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


# Disks


def on_small_disk(run: Callable[[Path], str]) -> Callable[[Path], str]:
    """A case on a real disk of 40 kB, in a process that may mount one; the reason where the system
    lets nobody.
    """

    def in_child(folder: Path) -> str:
        mount = f'mount -t tmpfs -o size={SMALL_DISK} none "$0" && exec "$@"'
        script = f"import hostile_disks as h, pathlib; print(h.{run.__name__}(pathlib.Path.cwd()))"
        # The child must enter the folder anew: what it stood in is below the mounted disk.
        enter = f"import os, sys; os.chdir(sys.argv[1]); {script}"
        child = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, folder, sys.executable, "-c", enter, folder],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(REPO / "tests/unit"), str(REPO)]),
            },
        )
        return child.stdout.strip() or f"The child failed: {child.stderr.strip()[-300:]}"

    return in_child


def can_mount() -> bool:
    """Whether this user may have a small disk of its own."""
    try:
        return not subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
        ).returncode
    except OSError:
        return False


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no larger files: what a full disk looks like."""
    import resource  # Windows has none.

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Told(list[str]):
    """What a user was told."""

    def store(self, root: Path, resume: Any = "continue") -> RunStore:
        return RunStore(root, "cat-1", resume, self.append)


def reached(step: int) -> RunState:
    """A run after so many of 20 steps."""
    return ran(settings(20), until=step)


def full_at_the_start(folder: Path) -> str:
    told = Told()
    with told.store(folder) as kept:
        kept.probe(LIKE, 2000)
        first = told[0] if told else "Told nothing."
        kept.save(reached(2))
    left = len(list(kept.folder.iterdir())) - len(checkpoints(kept.folder)) - 1
    why = first[first.rfind("(") : first.rfind(")") + 1]
    return (
        f"Told at the start: no room {why}. {len(checkpoints(kept.folder))} step was stored, "
        f"{left or 'nothing else'} is left."
    )


def full_in_the_middle(folder: Path) -> str:
    told, at = Told(), []
    filler = folder / "filler"
    with told.store(folder) as kept:
        kept.save(reached(2))
        with filler.open("wb", buffering=0) as file:
            try_to_fill(file.write)
        for step in (4, 6):
            before = len(told)
            kept.save(reached(step))
            at += [step] * (len(told) - before)
        filler.unlink()
        kept.save(reached(8))
    (line,) = kept.findings()
    said = f"{len(told)} time, at step {', '.join(map(str, at))}"
    return f"Told {said}. The report: {line.replace(f' to {kept.folder}', '')}"


def try_to_fill(write: Callable[[bytes], Any]) -> None:
    """Write until the disk is full."""
    try:
        while True:
            write(bytes(512))
    except OSError:
        return


def embedding_on_full_disk(folder: Path) -> str:
    try:
        write_files(folder / "a", {".safetensors": bytes(100_000), "_2.safetensors": b"small"})
        return "It was written."
    except OSError as error:
        return f"OSError ({error.strerror}); {len(list(folder.iterdir()))} files are left."


@contextmanager
def refusing(call: str, refuses: Callable[[Any], bool]) -> Iterator[None]:
    """A system that refuses a call for some of its first arguments."""
    real = getattr(os, call)

    def call_or_refuse(first: Any, *rest: Any, **named: Any) -> Any:
        if refuses(first):
            raise OSError(errno.EPERM, "Operation not permitted")
        return real(first, *rest, **named)

    with mock.patch.object(os, call, call_or_refuse):
        yield


def unsyncable(folder: Path) -> str:
    with refusing("fsync", lambda handle: stat.S_ISDIR(os.fstat(handle).st_mode)):
        return run_and_embedding(folder)


def without_permissions(folder: Path) -> str:
    with refusing("chmod", lambda _: True), refusing("link", lambda _: True):
        return run_and_embedding(folder)


def run_and_embedding(folder: Path) -> str:
    """A checkpoint and a pair of files are written."""
    told = Told()
    with told.store(folder / "runs") as kept:
        kept.save(reached(2))
    pair = FORMATS["diffusers"].write(embedding(clip_l=768, clip_g=1280), Export())
    written = write_files(folder / "embeddings" / "a", pair)
    for path in written:
        with safe_open(path, "pt") as file:
            assert list(file.keys())
    return (
        f"{len(checkpoints(kept.folder))} checkpoint and {len(written)} files of an embedding were "
        f"written, {len(told)} problems told."
    )


def without_locks(folder: Path) -> str:
    told = Told()
    refusal = mock.Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    with mock.patch.object(file_locks, "ask_for", refusal):
        with told.store(folder) as kept:
            kept.save(reached(2))
        with told.store(folder) as again:
            found = again.load(LIKE, MOST)
    said = "cannot be locked" if all("cannot be locked" in text for text in told) else str(told)
    return (
        f"Told {len(told)} times: {said}. The run goes on from step {found.step if found else 0}."
    )


def read_only(folder: Path) -> str:
    told = Told()
    with told.store(folder) as kept:
        kept.save(reached(2))
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with told.store(folder) as again:
        found = again.load(LIKE, MOST)
        again.save(reached(4))
    why = told[0][told[0].rfind("(") + 1 : told[0].rfind(")")]
    step = found.step if found else 0
    return f"Told {len(told)} time: {why}. The run goes on from step {step}."


def killed_saves(folder: Path) -> str:
    """Before the n-th call, for as long as there is one."""
    empty = left = 0
    for number in itertools.count():
        child = os.fork()
        if child == 0:
            try:
                calls = itertools.count()
                for name in ("fsync", "link", "replace", "unlink"):
                    setattr(os, name, killing(getattr(os, name), calls, number))
                write_files(folder / "a", {".safetensors": b"data"})
            finally:
                os._exit(0)
        alive = os.waitpid(child, 0)[1] == 0
        empty += sum(not path.stat().st_size for path in folder.glob("a*"))
        write_files(folder / "b", {".safetensors": b"data"})
        left += len(list(folder.glob(".*")))
        if alive:
            return f"{empty} empty files have a name, {left} leftovers after the next save."
    return ""


def killing(real: Callable[..., Any], calls: Iterator[int], at: int) -> Callable[..., Any]:
    """A call of the system before which the process is killed, if it is the one."""

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    return call


# Folders


def killed_start_over(folder: Path) -> str:
    with Told().store(folder) as kept:
        kept.save(ran(settings(MOST)))
    child = os.fork()
    if child == 0:
        try:
            with Told().store(folder, "start over") as kept:
                kept.save(reached(4))
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    with Told().store(folder) as again:
        found = again.load(LIKE, MOST)
    state = "finished" if found and found.ended == "steps" else "unfinished"
    return f"The {state} run goes on from step {found.step if found else 0}."


def foreign_checkpoints(folder: Path) -> str:
    told = Told()
    with told.store(folder) as kept:
        kept.save(reached(2))
        for step, key in ((4, ""), (6, "of another run")):
            data = checkpoint(reached(4), key)
            (kept.folder / f"step-{step + 2:09d}.safetensors").write_bytes(data)
        found = kept.load(LIKE, MOST)
    why = "; ".join(text.partition("cannot be read: ")[2].partition(".")[0] for text in told)
    return f"Told: {why}. The run goes on from step {found.step if found else 0}."


def removed_folder(folder: Path) -> str:
    told = Told()
    with told.store(folder) as kept:
        kept.save(reached(2))
        shutil.rmtree(kept.folder)
        kept.save(reached(4))
        files = sorted(path.name for path in kept.folder.iterdir())
        with RunStore(folder, "cat-1", "continue") as second:
            assert second.lock is None
    with RunStore(folder, "cat-1", "continue") as again:
        found = again.load(LIKE, MOST)
    lock = "with a lock" if "lock" in files else "without a lock"
    return (
        f"Told {len(told)} time. Made again {lock} and {len(files) - 1} checkpoint; it goes on "
        f"from step {found.step if found else 0}."
    )


SAVER = """
import sys
from pathlib import Path
from ti_core.word.formats.storage import write_files
folder, own, count, *endings = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    write_files(Path(folder, "a"), dict.fromkeys(endings, f"{own} {number}".encode()))
"""


def save_by_two(folder: Path, saves: int, *endings: str) -> None:
    """Two processes, x and y, that save files of one name at the same time."""
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), own, str(saves), *endings],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for own in "xy"
    ]
    for saver in savers:
        assert saver.stdout is not None and saver.stdout.readline() == "ready\n"
    for saver in savers:  # Both begin before one is waited for.
        assert saver.stdin is not None
        saver.stdin.write("go\n")
        saver.stdin.flush()
    for saver in savers:
        saver.communicate()
        assert saver.returncode == 0


def two_savers(folder: Path, saves: int = 120) -> str:
    save_by_two(folder, saves, ".pt")
    found = [path.read_bytes() for path in folder.iterdir()]
    return f"{len(found)} of {2 * saves} files are there, {len(set(found))} different ones."


def other_version(folder: Path) -> str:
    own = folder / "cat-1"
    own.mkdir()
    for step in (2, 4):
        tensors, facts = packed_state(reached(step))
        data = sealed(tensors, {**facts, "version": VERSION + 1})
        (own / f"step-{step:09d}.safetensors").write_bytes(data)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    told = Told()
    with told.store(folder) as kept:
        assert kept.load(LIKE, MOST) is None
        for step in (2, 4, 6, 8, 10, 12):
            kept.save(reached(step))
    with RunStore(folder, "cat-1", "continue") as again:
        found = again.load(LIKE, MOST)
    left = [name for name, data in before.items() if (own / name).is_file()]
    same = [name for name in left if (own / name).read_bytes() == before[name]]
    return (
        f"Told {len(told)} time. {len(same)} of {len(before)} checkpoints of the other version are "
        f"as they were, {len(list(folder.rglob('*.damaged')))} put aside; this run goes on from "
        f"its own step {found.step if found else 0}."
    )


# States


class Steep(ToyModel):
    """Has gradients from some step on that are finite, but have no finite square."""

    def __init__(self, steep_from: int):
        super().__init__()
        self.calls, self.steep_from = itertools.count(1), steep_from

    def encode(self, captions: Any, vectors: Any) -> list[torch.Tensor]:
        found = super().encode(captions, vectors)
        if found[0].requires_grad and next(self.calls) > self.steep_from:
            for one in found:
                one.register_hook(lambda gradient: gradient * 1e25)
        return found


def infinite_memory(folder: Path) -> str:
    chosen = settings(20, method=AdamWSettings(gradient_clip=0.0))
    state = ran(chosen, model=Steep(3))
    with RunStore(folder, "cat-1", "continue") as kept:
        kept.save(state)
    with RunStore(folder, "cat-1", "continue") as again:
        found = again.load(LIKE, MOST)
    return (
        f"The run ended by {state.ended!r}, and was stored and read again at step "
        f"{found.step if found else 'none'}."
    )


def infinite_state(folder: Path) -> str:
    good = ran(settings(20), until=4)
    infinite = float("inf")
    bad = [
        replace(good, loss_scale=infinite),
        replace(good, losses=[*good.losses[:-1], infinite]),
        replace(good, memory={name: rows + infinite for name, rows in good.memory.items()}),
    ]
    written, told = 0, 0
    for number, state in enumerate(bad):
        said = Told()
        with RunStore(folder, f"cat-{number}", "continue", said.append) as kept:
            kept.save(state)
        written += len(checkpoints(kept.folder))
        told += len(said) == len(kept.findings()) == 1
    return f"{written} of {len(bad)} were written, {told} told and counted."


# Files


def pipe_as_checkpoint(folder: Path) -> str:
    told = Told()
    with told.store(folder) as kept:
        kept.save(reached(2))
        os.mkfifo(kept.folder / "step-000000004.safetensors")
        found = kept.load(LIKE, MOST)
    why = told[0].partition("cannot be read: ")[2].partition(".")[0]
    return f"Told: {why}. The run goes on from step {found.step if found else 0}."


def vanishing_files(folder: Path) -> str:
    """One of the runs goes when its lock has been looked at, the other when a checkpoint has."""
    for number in (1, 2):
        with RunStore(folder, f"old-{number}", "continue") as old:
            old.save(reached(2))
    real, told = os.stat, Told()

    def stat_of_gone(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        found = real(path, *rest, **named)
        place = f"{Path(path).parent.name}/{Path(path).name}"
        if place in ("old-1/lock", "old-2/step-000000002.safetensors"):
            shutil.rmtree(Path(path).parent)
        return found

    with ExitStack() as open_runs:
        with mock.patch.object(os, "stat", stat_of_gone):
            kept = open_runs.enter_context(told.store(folder))
        kept.save(reached(2))
    stored = "is" if checkpoints(kept.folder) else "is not"
    return f"The run {stored} stored, {len(told)} problems told."


NAMES = (
    *("CON", "con", "nul.txt", "COM1", "lpt1.v2", "AUX", "prn.safetensors", "pets/nul", "con/cat"),
    *("a.", "pets./a", "a..pt", "..", "../a", "/a", "C:/a", "a/"),
    *("x" * 129, "x" * 5000, "a/" * 200 + "a"),
)


def bad_names(folder: Path) -> str:
    refused = 0
    for name in NAMES:
        try:
            name_to_write(name)
        except ValueError as error:
            refused += "is not allowed for an embedding file" in str(error)
    return f"{refused} of {len(NAMES)} are refused with a sentence that gives the remedy."


def links(folder: Path) -> str:
    root, library = folder / "embeddings", folder / "library"
    root.mkdir()
    library.mkdir()
    (library / "dog.pt").touch()
    (root / "library").symlink_to(library)
    (root / "one.pt").symlink_to(library / "dog.pt")
    for number in range(12):
        (root / f"{number}").mkdir()
        (root / f"{number}" / "a.pt").touch()
        for other in range(12):
            (root / f"{number}" / f"to-{other}").symlink_to(root / f"{other}")
    found = list(embeddings_below(str(root)))
    once = "once each" if len(set(found)) == len(found) else "some twice"
    return f"All {len(set(found))} files are listed {once}."
