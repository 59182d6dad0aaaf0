"""Runs on disk: checkpoints of kilobytes, from which a run goes on after a crash."""

import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from torch import Tensor

from ..concept.counted import counted
from ..training.run import RunState
from ..training.settings import Resume
from ..word.formats.file_locks import lock_file
from ..word.formats.storage import discard, reason, remove_leftovers, write_through, written
from .checkpoint import VERSION, checkpoint, restored, room, version_of

log = logging.getLogger(__name__)

RUNNING_ELSEWHERE = "The same training is already running elsewhere, so this run will not be saved."

ENDING, DAMAGED = ".safetensors", ".damaged"
CHECKPOINT = re.compile(rf"step-(\d{{9}})\{ENDING}")
LOCK = "lock"
ANEW = "anew"  # the folder of a run that starts over, in that of the run before
KEPT_ENDS = ("steps", "rule", "user")  # by which a run that starts over has replaced the one before
PROBE = "probe"
LARGEST = 256 << 20  # bytes of a checkpoint; ten thousand steps of one vector take 0.4 MB
SAVE_EVERY = 25  # steps; what a crash of the computer can cost
KEEP_LAST = 3  # checkpoints of a run; one is enough, unless it gets damaged
TICK = 2.0  # seconds; FAT counts time in these
LISTED = 10  # steps in a line of the report
MOST_BYTES = 1 << 30  # of all runs together: some 10,000 of 400 steps


class RunStore:
    """The checkpoints of the run with a key, in a folder of its own; `notes` is what the user
    should know, and each is told at once.

    A context manager that holds the folder for one run at a time: a second one of the same key goes
    on without a store. No problem of it ends a run. A run that starts over is stored beside the one
    before, whose place it takes at its end.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        resume: Resume,
        tell: Callable[[str], None] = lambda text: None,
        key: str = "",
    ):
        self.root = root
        self.folder = root / name
        self.resume = resume
        self.tell = tell
        self.key = key
        self.notes: list[str] = []
        self.failed: dict[int, str] = {}  # steps that could not be stored, and why
        self.newest: int | None = None  # the step of the last checkpoint
        self.lock: BinaryIO | None = None
        self.readable = False
        self.anew = resume == "start over"
        self.after = 0.0  # seconds, when the youngest checkpoint of all runs was written

    @property
    def place(self) -> Path:
        """Where checkpoints are written."""
        return self.folder / ANEW if self.anew else self.folder

    def __enter__(self) -> "RunStore":
        if self.resume == "off":
            return self
        try:
            self.leave_to_others()
            self.readable = True
            self.lock = held(self.folder, self.note)
        except OSError as error:
            self.note(not_stored(self.folder, error))
            return self
        if self.lock is None:
            self.readable = False
            self.note(RUNNING_ELSEWHERE)
        else:
            self.tidy()
        return self

    def leave_to_others(self) -> None:
        """Go to another folder where this one has checkpoints of another version of the pack."""
        found = (version_of(data) for data in readable(all_checkpoints(self.folder)))
        others = {version for version in found if version is not None and version != VERSION}
        if others:
            theirs = self.folder
            self.folder = theirs.with_name(f"{theirs.name}-v{VERSION}")
            self.note(
                f"The run in {theirs} was stored by another version of this pack (format "
                f"{', '.join(map(str, sorted(others)))}; this one has {VERSION}). It stays "
                f"unchanged; this run is stored next to it in {self.folder.name}."
            )

    def tidy(self) -> None:
        """Remove what a killed process left, and the oldest runs where there are too many."""
        try:
            remove_leftovers(self.folder)
            remove_leftovers(self.folder / ANEW)
            if self.anew:
                discard(*checkpoints(self.place))
            self.after = max(size_and_time(path)[1] for path in self.root.iterdir())
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
        if not self.readable or self.resume != "continue":
            return None
        stored = self.stored()
        wanted = [path for path in stored if step_of(path) <= steps]
        if len(wanted) < len(stored):
            start = f"from step {step_of(wanted[-1])}" if wanted else "from the beginning"
            if wanted and wanted[-1].parent == stored[-1].parent:
                start += " of it"
            elif wanted:
                start += " of the other run next to it"
            self.note(
                f"A longer run of {step_of(stored[-1])} steps is stored; set steps to that number "
                f"to load its word. For {counted(steps, 'step')}, training continues {start}."
            )
        for path in reversed(wanted):
            try:
                state = self.state_in(path, like)
            except (OSError, ValueError) as error:
                self.note(
                    f"The checkpoint {path} cannot be read: {reason(error)}. {put_aside(path)} "
                    f"Training continues from the previous checkpoint, or from the beginning."
                )
            else:
                self.newest, self.anew = state.step, path.parent.name == ANEW
                self.note_broken_off(stored, state.step)
                return state
        return None

    def note_broken_off(self, stored: Sequence[Path], step: int) -> None:
        """Note that the run that continues is not the one that started over."""
        broken = [step_of(path) for path in stored if path.parent.name == ANEW]
        if broken and not self.anew:
            self.note(
                f"The run that started over was interrupted after step {broken[-1]}. The run "
                f"before it continues from step {step}; start over again to replace it."
            )

    def stored(self) -> list[Path]:
        """The checkpoints to continue from, the best last."""
        try:
            return all_checkpoints(self.folder)
        except OSError as error:
            self.note(f"The runs in {self.folder} cannot be read ({reason(error)}).")
            return []

    def state_in(self, path: Path, like: Mapping[str, Tensor]) -> RunState:
        """The state in a checkpoint of this run; ValueError for that of another run or step."""
        return state_at(path, like, self.key)

    def words(self, like: Mapping[str, Tensor], step: int) -> dict[int, dict[str, Tensor]]:
        """The words of the checkpoints up to a step, for vectors of the shapes of `like`; what
        cannot be read is left out.
        """
        found: dict[int, dict[str, Tensor]] = {}
        for path in checkpoints(self.place) if self.readable else ():
            if step_of(path) <= step:
                with suppress(OSError, ValueError):
                    found[step_of(path)] = self.state_in(path, like).mean
        return found

    def probe(self, like: Mapping[str, Tensor], steps: int) -> None:
        """Find out, and tell, whether the disk has room for a checkpoint after so many steps."""
        if self.lock is None:
            return
        try:
            # Zeros would take no room on a disk that compresses.
            with written(self.folder / PROBE, os.urandom(room(like, steps))):
                pass
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
            self.place.mkdir(exist_ok=True)
            path = self.place / f"step-{state.step:09d}{ENDING}"
            write_through(path, checkpoint(state, self.key))
            self.after = younger(path, self.after)
        except (OSError, ValueError) as error:
            self.fail(state.step, reason(error))
            return
        self.newest = state.step
        self.failed.pop(state.step, None)
        remove_others(path)
        if self.anew and state.ended in KEPT_ENDS:
            self.replace_before(state.step)

    def replace_before(self, step: int) -> None:
        """Replace the previous run by a run that started over and has ended: its last checkpoint
        first, so that there is a finished run at any moment.
        """
        before, own = checkpoints(self.folder), checkpoints(self.place)
        try:
            for path in reversed(own):
                os.replace(path, self.folder / path.name)
            self.anew = False
            names = {path.name for path in own}
            discard(*(path for path in before if path.name not in names))
            (self.folder / ANEW).rmdir()
        except OSError as error:
            self.fail(step, reason(error))

    def fail(self, step: int, why: str) -> None:
        """Count a checkpoint that could not be written, and tell of the first."""
        if not self.failed:
            self.say(
                f"The checkpoint of step {step} could not be written to {self.folder} ({why}). "
                f"Training continues and tries again, but a resumed run would start from an older "
                f"checkpoint."
            )
        self.failed[step] = why

    def lost(self, lock: BinaryIO) -> bool:
        """Whether the folder that was locked has been removed or moved, also if there is another
        in its place.
        """
        return not os.path.exists(self.folder / LOCK) or not os.fstat(lock.fileno()).st_nlink

    def make_again(self, lost: BinaryIO) -> bool:
        """Make and lock the folder again; False if another run has done so before."""
        self.lock = held(self.folder, self.note)
        self.newest = None
        lost.close()
        self.note(
            RUNNING_ELSEWHERE
            if self.lock is None
            else f"The folder {self.folder} was removed during training. It has been made again, "
            f"and the run is stored there from now on."
        )
        return self.lock is not None


def remove_others(newest: Path) -> None:
    """Remove all checkpoints before `newest` but the last ones and the milestones."""
    earlier = [path for path in checkpoints(newest.parent) if path < newest]
    discard(*(one for one in earlier[: 1 - KEEP_LAST] if not milestone(step_of(one))))


def not_stored(folder: Path, error: OSError) -> str:
    """That a run cannot be stored, and what to do."""
    return (
        f"The run cannot be stored in {folder} ({reason(error)}). Free disk space, or allow "
        f"ComfyUI to write there."
    )


def younger(path: Path, than: float) -> float:
    """When a file was written, in seconds, which is made later than what was written before it:
    runs are ordered by that, and the clock may have been set back.
    """
    written_at = path.stat().st_mtime
    if written_at > than or than == 0.0:
        return written_at
    later = than + TICK
    os.utime(path, (later, later))
    return later


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
    """The checkpoints in a folder, by their steps; none where there is no folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if CHECKPOINT.fullmatch(path.name))


def all_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, and of one that was to start over and was broken off, by their
    steps: whoever goes on, goes on from the furthest.
    """
    return sorted([*checkpoints(folder / ANEW), *checkpoints(folder)], key=step_of)


def state_at(path: Path, like: Mapping[str, Tensor] | None, key: str | None) -> RunState:
    """The state in a checkpoint; ValueError where it is not that of the step in its name, or of the
    run with a key, if one is given.
    """
    state = restored(contents(path), like, key)
    if state.step != step_of(path):
        raise ValueError(f"it holds step {state.step}")
    return state


def last_states(
    root: Path, wanted: Callable[[str], object], most: int
) -> Iterator[tuple[str, RunState]]:
    """The names and last states of the runs whose folder is wanted by its name, at most so many,
    the youngest first; what is no run, or cannot be read, is left out and does not count.
    """
    with suppress(FileNotFoundError):
        folders = [path for path in root.iterdir() if wanted(path.name)]
        by_age = sorted(folders, key=lambda one: size_and_time(one)[1], reverse=True)
        yield from islice(readable_states(by_age), most)


def readable_states(folders: Iterable[Path]) -> Iterator[tuple[str, RunState]]:
    """The names and last states of runs, as far as they can be read."""
    for folder in folders:
        with suppress(OSError, ValueError, IndexError):
            yield folder.name, state_at(all_checkpoints(folder)[-1], None, None)


def readable(paths: Iterable[Path]) -> Iterator[bytes]:
    """The bytes of checkpoints, as far as they can be read."""
    for path in paths:
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


def put_aside(path: Path) -> str:
    """Give a file a name under which it is not looked for again; what to say of that."""
    try:
        os.replace(path, path.with_suffix(DAMAGED))
    except OSError as error:
        return f"It cannot be renamed ({reason(error)}), and is left out."
    return f"It is renamed to '{path.stem}{DAMAGED}'."


def held(folder: Path, tell: Callable[[str], None], again: bool = True) -> BinaryIO | None:
    """The lock of a folder, which is made if there is none; None if somebody else has it. Where
    files cannot be locked, that is told, and the file is open without a lock.

    Another process that makes room may remove the folder in between; then it is made `again`, once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = opened_lock(folder / LOCK)
    except FileNotFoundError:
        if not again:
            raise
        return held(folder, tell, again=False)
    try:
        if lock_file(file):
            return file
    except OSError as error:
        tell(without_lock(folder, error))
        return file
    file.close()
    return None


def without_lock(folder: Path, error: OSError) -> str:
    """That a run is stored without a lock, and what to heed."""
    return (
        f"{folder} cannot be locked ({reason(error)}), as on some network drives. The run is "
        f"stored there without a lock: do not run the same training twice at the same time."
    )


def opened_lock(path: Path) -> BinaryIO:
    """A file to lock, opened. The system takes the lock off a process that dies, so that no stale
    one can remain.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is not a regular file")
    return path.open("ab")


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
    """Remove a run, unless it is running; whether it is gone. OSError where nobody can know."""
    try:
        with opened_lock(folder / LOCK) as file:
            if not lock_file(file):
                return False
    except FileNotFoundError:
        return True  # Another process was faster.
    shutil.rmtree(folder, ignore_errors=True)
    return True


def size_and_time(folder: Path) -> tuple[int, float]:
    """Bytes in a folder, and when the youngest of its files was written; what another process
    removes meanwhile does not count.
    """
    size, youngest = 0, 0.0
    with suppress(FileNotFoundError):
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                state = path.stat()
                if stat.S_ISREG(state.st_mode):
                    size, youngest = size + state.st_size, max(youngest, state.st_mtime)
    return size, youngest
