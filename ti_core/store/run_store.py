"""Runs on disk: checkpoints of kilobytes, from which a run goes on after a crash."""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from torch import Tensor

from ..training.run import RunState
from ..word.formats.storage import temporary
from .checkpoint import checkpoint, restored

log = logging.getLogger(__name__)

ENDING, DAMAGED = ".safetensors", ".damaged"
CHECKPOINT = re.compile(rf"step-(\d{{9}})\{ENDING}")
LOCK = "lock"
LARGEST = 256 << 20  # bytes of a checkpoint; ten thousand steps of one vector take 0.4 MB
Resume = Literal["continue", "start over", "off"]
SAVE_EVERY = 25  # steps; what a crash of the computer can cost
KEEP_LAST = 3  # checkpoints of a run; one is enough, unless it gets damaged
MOST_BYTES = 1 << 30  # of all runs together: some 10,000 of 400 steps


class RunStore:
    """The checkpoints of one run in a folder of its own; `notes` is what the user should know.

    A context manager that holds the folder for one run at a time: a second one of the same key goes
    on without a store. No problem of it ends a run.
    """

    def __init__(self, root: Path, name: str, resume: Resume):
        self.root = root
        self.folder = root / name
        self.resume = resume
        self.notes: list[str] = []
        self.lock: BinaryIO | None = None
        self.replaces = resume == "start over"

    def __enter__(self) -> "RunStore":
        if self.resume == "off":
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = locked(self.folder / LOCK)
        except OSError as error:
            self.note(
                f"The run cannot be stored in {self.folder} ({reason(error)}). Free disk space, or "
                f"allow ComfyUI to write there."
            )
            return self
        if self.lock is None:
            self.note(
                "The same training is already running elsewhere, so this run will not be saved."
            )
        else:
            self.tidy()
        return self

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
        """Keep a line for the report."""
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)

    def load(self, like: Mapping[str, Tensor]) -> RunState | None:
        """The newest good state, for vectors of the shapes of `like`. What cannot be read is put
        aside under another name, and told.
        """
        if self.lock is None or self.resume != "continue":
            return None
        for path in reversed(checkpoints(self.folder)):
            try:
                return restored(contents(path), like)
            except (OSError, ValueError) as error:
                self.note(
                    f"The checkpoint {path} cannot be read: {reason(error)}. It is renamed to "
                    f"'{path.stem}{DAMAGED}'. Training continues from the checkpoint before it, or "
                    f"from the beginning."
                )
                put_aside(path)
        return None

    def save(self, state: RunState) -> None:
        """Write a checkpoint, and remove what is too old or too much; a failure is noted, and the
        run goes on.
        """
        if self.lock is None or state.step == 0:
            return
        path = self.folder / f"step-{state.step:09d}{ENDING}"
        try:
            write_through(path, checkpoint(state))
            self.remove_others(path)
        except OSError as error:
            self.note(
                f"The checkpoint of step {state.step} could not be written to {self.folder} "
                f"({reason(error)}). Training continues, but a resumed run would start from an "
                f"older checkpoint."
            )

    def remove_others(self, newest: Path) -> None:
        """Remove all checkpoints but the last ones; of a run that starts over, all that were there
        before it.
        """
        others = [path for path in checkpoints(self.folder) if path != newest]
        kept = 0 if self.replaces else KEEP_LAST - 1
        for path in others[: len(others) - kept]:
            path.unlink(missing_ok=True)
        self.replaces = False


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by their steps."""
    return sorted(path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name))


def contents(path: Path) -> bytes:
    """The bytes of a checkpoint; ValueError for more than one can have."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return data


def write_through(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the power fails."""
    part = temporary(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where that can be asked for: Windows does it by itself,
    and some network file systems refuse it.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        log.info("The folder %s cannot be synced: %s", folder, error)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for path in folder.glob(".step-*.part"):
        path.unlink(missing_ok=True)


def put_aside(path: Path) -> None:
    """Give a file a name under which it is not looked for again."""
    try:
        os.replace(path, path.with_suffix(DAMAGED))
    except OSError as error:
        log.warning("%s cannot be renamed: %s", path, error)


def locked(path: Path) -> BinaryIO | None:
    """The file, opened and locked for as long as it stays open; None if somebody else has it. The
    system takes the lock off a process that dies, so that no stale one can remain.
    """
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
        lock = None if path == spared else locked(path / LOCK)
        if lock is not None:
            lock.close()
            shutil.rmtree(path, ignore_errors=True)
            total -= runs[path][0]


def size_and_time(folder: Path) -> tuple[int, float]:
    """Bytes in a folder, and when the youngest of its files was written."""
    states = [path.stat() for path in folder.iterdir() if path.is_file()]
    return sum(one.st_size for one in states), max(one.st_mtime for one in states)


def reason(error: Exception) -> str:
    """What went wrong, without the path that the message names anyway."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
