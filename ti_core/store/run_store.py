"""Runs on disk: checkpoints of kilobytes, from which a run goes on after a crash."""

import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from torch import Tensor

from ..concept.counted import counted
from ..training.run import RunState
from ..word.formats.storage import discard, reason, write_through, written
from .checkpoint import VERSION, checkpoint, restored, room, version_of

log = logging.getLogger(__name__)

RUNNING_ELSEWHERE = "The same training is already running elsewhere, so this run will not be saved."

ENDING, DAMAGED = ".safetensors", ".damaged"
CHECKPOINT = re.compile(rf"step-(\d{{9}})\{ENDING}")
LOCK = "lock"
PROBE = "probe"
LARGEST = 256 << 20  # bytes of a checkpoint; ten thousand steps of one vector take 0.4 MB
Resume = Literal["continue", "start over", "off"]
SAVE_EVERY = 25  # steps; what a crash of the computer can cost
KEEP_LAST = 3  # checkpoints of a run; one is enough, unless it gets damaged
LISTED = 10  # steps in a line of the report
MOST_BYTES = 1 << 30  # of all runs together: some 10,000 of 400 steps


class RunStore:
    """The checkpoints of one run in a folder of its own; `notes` is what the user should know, and
    each is told at once.

    A context manager that holds the folder for one run at a time: a second one of the same key goes
    on without a store. No problem of it ends a run.
    """

    def __init__(
        self, root: Path, name: str, resume: Resume, tell: Callable[[str], None] = lambda text: None
    ):
        self.root = root
        self.folder = root / name
        self.resume = resume
        self.tell = tell
        self.notes: list[str] = []
        self.failed: dict[int, str] = {}  # steps that could not be stored, and why
        self.newest: int | None = None  # the step of the last checkpoint
        self.lock: BinaryIO | None = None
        self.replaces = resume == "start over"

    def __enter__(self) -> "RunStore":
        if self.resume == "off":
            return self
        try:
            self.leave_to_others()
            self.lock = held(self.folder)
        except OSError as error:
            self.note(not_stored(self.folder, error))
            return self
        if self.lock is None:
            self.note(RUNNING_ELSEWHERE)
        else:
            self.tidy()
        return self

    def leave_to_others(self) -> None:
        """Go to another folder where this one has checkpoints of another version of the pack."""
        found = (version_of(data) for data in readable(self.folder))
        others = {version for version in found if version is not None and version != VERSION}
        if others:
            theirs = self.folder
            self.folder = theirs.with_name(f"{theirs.name}-v{VERSION}")
            self.note(
                f"The run in {theirs} was stored by another version of this pack (format "
                f"{', '.join(map(str, sorted(others)))}; this one has {VERSION}). It is left as "
                f"it is; this run is stored in {self.folder.name} beside it."
            )

    def tidy(self) -> None:
        """Remove what a killed process left, and the oldest runs where there are too many."""
        try:
            remove_leftovers(self.folder)
            trim(self.root, MOST_BYTES, self.folder)
        except OSError as error:
            self.note(
                f"Old runs in {self.root} could not be removed ({reason(error)}). This run is "
                f"stored anyway."
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def note(self, text: str) -> None:
        """Tell a line, and keep it for the report."""
        if text not in self.notes:
            self.notes.append(text)
            self.say(text)

    def say(self, text: str) -> None:
        """Tell the user now."""
        log.warning(text)
        self.tell(text)

    def findings(self) -> list[str]:
        """What the report says: the notes, and in one line what could not be stored."""
        return [*self.notes, *([self.failures()] if self.failed else [])]

    def failures(self) -> str:
        """How many checkpoints could not be written, of which steps, and what there is instead."""
        steps, last = list(self.failed), list(self.failed.values())[-1]
        named = [str(step) for step in steps]
        if len(steps) > LISTED:
            named = [*named[:LISTED], "...", named[-1]]
        there = (
            "None is stored" if self.newest is None else f"The last one is of step {self.newest}"
        )
        return (
            f"{counted(len(steps), 'checkpoint')} could not be written to {self.folder} ({last}): "
            f"{'step' if len(steps) == 1 else 'steps'} {', '.join(named)}. {there}."
        )

    def load(self, like: Mapping[str, Tensor], steps: int) -> RunState | None:
        """The newest good state of at most so many steps, for vectors of the shapes of `like`. What
        cannot be read is put aside under another name, and told.
        """
        if self.lock is None or self.resume != "continue":
            return None
        stored = checkpoints(self.folder)
        wanted = [path for path in stored if step_of(path) <= steps]
        if len(wanted) < len(stored):
            start = f"from step {step_of(wanted[-1])} of it" if wanted else "from the beginning"
            self.note(
                f"A longer run is stored, of {step_of(stored[-1])} steps; set steps to that to "
                f"have its word. For {counted(steps, 'step')}, training goes on {start}."
            )
        for path in reversed(wanted):
            try:
                state = restored(contents(path), like)
            except (OSError, ValueError) as error:
                self.note(
                    f"The checkpoint {path} cannot be read: {reason(error)}. It is renamed to "
                    f"'{path.stem}{DAMAGED}'. Training continues from the checkpoint before it, or "
                    f"from the beginning."
                )
                put_aside(path)
            else:
                self.newest = state.step
                return state
        return None

    def words(self, like: Mapping[str, Tensor], step: int) -> dict[int, dict[str, Tensor]]:
        """The words of the checkpoints up to a step, for vectors of the shapes of `like`; what
        cannot be read is left out.
        """
        found: dict[int, dict[str, Tensor]] = {}
        for path in checkpoints(self.folder) if self.lock else ():
            if step_of(path) <= step:
                with suppress(OSError, ValueError):
                    found[step_of(path)] = restored(contents(path), like).mean
        return found

    def probe(self, like: Mapping[str, Tensor], steps: int) -> None:
        """Find out, and tell, whether the disk has room for a checkpoint after so many steps."""
        if self.lock is None:
            return
        try:
            # Zeros would take no room on a disk that compresses.
            discard(written(self.folder / PROBE, os.urandom(room(like, steps))))
        except OSError as error:
            self.note(not_stored(self.folder, error))

    def save(self, state: RunState) -> None:
        """Write a checkpoint, and remove what is too old or too much; a failure is told and
        counted, and the run goes on.
        """
        if self.lock is None or state.step == 0:
            return
        try:
            if self.lost(self.lock) and not self.make_again(self.lock):
                return
            path = self.folder / f"step-{state.step:09d}{ENDING}"
            write_through(path, checkpoint(state))
        except (OSError, ValueError) as error:
            self.fail(state.step, reason(error))
            return
        self.newest = state.step
        self.failed.pop(state.step, None)
        self.remove_others(path)

    def fail(self, step: int, why: str) -> None:
        """Count a checkpoint that could not be written, and tell of the first."""
        if not self.failed:
            self.say(
                f"The checkpoint of step {step} could not be written to {self.folder} ({why}). "
                f"Training continues and goes on trying, but a run that is taken up would start "
                f"from an older checkpoint."
            )
        self.failed[step] = why

    def lost(self, lock: BinaryIO) -> bool:
        """Whether the folder that was locked has been removed or moved, also if there is another
        in its place.
        """
        return not os.path.exists(self.folder / LOCK) or not os.fstat(lock.fileno()).st_nlink

    def make_again(self, lost: BinaryIO) -> bool:
        """Make and lock the folder again; False if another run has done so before."""
        self.lock = held(self.folder)
        self.newest = None
        lost.close()
        self.note(
            RUNNING_ELSEWHERE
            if self.lock is None
            else f"The folder {self.folder} was removed during training. It has been made again, "
            f"and the run is stored there from now on."
        )
        return self.lock is not None

    def remove_others(self, newest: Path) -> None:
        """Remove all checkpoints before `newest` but the last ones and the milestones; of a run
        that starts over, all that were there before it.
        """
        others = [path for path in checkpoints(self.folder) if path != newest]
        if not self.replaces:
            earlier = [path for path in others if path < newest]
            others = [one for one in earlier[: 1 - KEEP_LAST] if not milestone(step_of(one))]
        self.replaces = False
        discard(*others)


def not_stored(folder: Path, error: OSError) -> str:
    """That a run cannot be stored, and what to do."""
    return (
        f"The run cannot be stored in {folder} ({reason(error)}). Free disk space, or allow "
        f"ComfyUI to write there."
    )


def step_of(path: Path) -> int:
    """The steps that a checkpoint's name tells."""
    return int(path.stem.removeprefix("step-"))


def milestone(step: int) -> bool:
    """Whether the checkpoint after a step stays, for whoever wants fewer steps than the run has:
    25, 50, 100, 200 and so on.
    """
    times, rest = divmod(step, SAVE_EVERY)
    return rest == 0 and times.bit_count() == 1


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by their steps."""
    return sorted(path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name))


def last_states(root: Path, name: str, most: int) -> Iterator[tuple[str, RunState]]:
    """The names and last states of the runs whose folder begins with a name, at most so many, the
    youngest first; what cannot be read is left out.
    """
    with suppress(FileNotFoundError):
        folders = [path for path in root.iterdir() if path.name.startswith(name)]
        for folder in sorted(folders, key=lambda one: size_and_time(one)[1], reverse=True)[:most]:
            with suppress(OSError, ValueError, IndexError):
                yield folder.name, restored(contents(checkpoints(folder)[-1]), None)


def readable(folder: Path) -> Iterator[bytes]:
    """The bytes of the checkpoints in a folder, as far as it is there and they can be read."""
    for path in checkpoints(folder) if folder.is_dir() else ():
        with suppress(OSError, ValueError):
            yield contents(path)


def contents(path: Path) -> bytes:
    """The bytes of a checkpoint; ValueError for more than one can have, and for what is no file: to
    open a pipe is to wait for ever.
    """
    if not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return data


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing."""
    discard(*folder.glob(".*.part"))


def put_aside(path: Path) -> None:
    """Give a file a name under which it is not looked for again."""
    try:
        os.replace(path, path.with_suffix(DAMAGED))
    except OSError as error:
        log.warning("%s cannot be renamed: %s", path, error)


def held(folder: Path, again: bool = True) -> BinaryIO | None:
    """The lock of a folder, which is made if there is none; None if somebody else has it. Another
    process that makes room may remove the folder in between; then it is made `again`, once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return locked(folder / LOCK)
    except FileNotFoundError:
        if not again:
            raise
        return held(folder, again=False)


def locked(path: Path) -> BinaryIO | None:
    """The file, opened and locked for as long as it stays open; None if somebody else has it. The
    system takes the lock off a process that dies, so that no stale one can remain.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is not a regular file")
    file = path.open("ab")
    try:
        lock_file(file)
    except OSError:
        file.close()
        return None
    return file


if os.name == "nt":
    import msvcrt

    def lock_file(file: BinaryIO) -> None:
        """Lock the first byte of a file, or raise OSError."""
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_file(file: BinaryIO) -> None:
        """Lock a file, or raise OSError."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def trim(root: Path, limit: int, spared: Path) -> None:
    """Remove the runs that were not touched for the longest time until all take less than `limit`
    bytes; never `spared`, nor one that is running.
    """
    runs = {path: size_and_time(path) for path in root.iterdir() if (path / LOCK).is_file()}
    total = sum(size for size, _ in runs.values())
    for path in sorted(runs, key=lambda one: runs[one][1]):
        if total <= limit:
            return
        if path == spared or not remove_run(path):
            continue
        total -= runs[path][0]


def remove_run(folder: Path) -> bool:
    """Remove a run, unless it is running; whether it is gone."""
    try:
        lock = locked(folder / LOCK)
    except FileNotFoundError:
        return True  # Another process was faster.
    if lock is None:
        return False
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)
    return True


def size_and_time(folder: Path) -> tuple[int, float]:
    """Bytes in a folder, and when the youngest of its files was written; what another process
    removes meanwhile does not count.
    """
    size, youngest = 0, 0.0
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                state = path.stat()
                if stat.S_ISREG(state.st_mode):
                    size, youngest = size + state.st_size, max(youngest, state.st_mtime)
    return size, youngest
