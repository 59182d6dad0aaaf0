"""Files on disk: written whole or not at all, never over another unasked."""

import errno
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from .file_locks import lock_file

log = logging.getLogger(__name__)

Files = Mapping[str, bytes]
PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
TURN = "0" * 8
ABANDONED = 3600  # seconds after which nobody writes a file any more, where none can be locked
# What systems say that have no hard links: FAT, network drives, file systems of programs, Android.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES)


def write_files(base: Path, files: Files, overwrite: bool = False) -> list[Path]:
    """Write files beside one another, `base` with each key of `files` behind its name, and return
    their paths. Where one of them exists, all get the first free name of `base-2`, `base-3`, ...,
    unless they may be overwritten; then a link leads to the file that is replaced.

    All of them are on disk under temporary names before the first name is taken, and whatever has a
    name is whole; where anything fails, no name is new and no temporary file is left. What killed
    processes have left is removed.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    paths = [with_ending(base, ending) for ending in files]
    places = [linked(path) if overwrite else path for path in paths]
    folders = {place.parent for place in places}
    for folder in folders:
        remove_leftovers(folder)
    with ExitStack() as kept:
        pairs = zip(places, files.values(), strict=True)
        parts = [kept.enter_context(written(place, data)) for place, data in pairs]
        if overwrite:
            for part, place in zip(parts, places, strict=True):
                os.replace(part, place)
        else:
            paths = named(parts, base, list(files))
    for folder in folders:
        sync_folder(folder)
    return paths


def write_through(path: Path, data: bytes) -> None:
    """Write a file, or replace it, so that it is there whole or not at all, whenever the power
    fails.
    """
    with written(path, data) as part:
        os.replace(part, path)
    sync_folder(path.parent)


# Names


def named(parts: Sequence[Path], base: Path, endings: Sequence[str]) -> list[Path]:
    """Give temporary files names that nobody has: those of `base`, or else of `base-2`, ..."""
    number, candidate = 1, base
    while not all_taken(parts, paths := [with_ending(candidate, ending) for ending in endings]):
        number += 1
        candidate = with_ending(base, f"-{number}")
    return paths


def all_taken(parts: Sequence[Path], paths: Sequence[Path]) -> bool:
    """Give each temporary file its name; False, and none has one, if somebody has one of them."""
    if any(map(os.path.lexists, paths)):
        return False
    done: list[tuple[Path, Path]] = []
    try:
        for part, path in zip(parts, paths, strict=True):
            if not take(part, path):
                break
            done.append((part, path))
    finally:
        if len(done) < len(paths):
            for part, path in done:
                give_back(part, path)
    return len(done) == len(paths)


def give_back(part: Path, path: Path) -> None:
    """Take a name away from a temporary file again."""
    if part.exists():
        discard(path)  # It was a second name.
    else:
        os.replace(path, part)


def take(part: Path, path: Path) -> bool:
    """Give a temporary file a name that nobody has; False if somebody has it. Of all processes one
    gets the name, and the file behind it is whole from the first moment on.
    """
    try:
        if os.name == "nt":
            os.rename(part, path)  # There it replaces nothing.
        else:
            os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return take_in_turn(part, path)
    return True


def take_in_turn(part: Path, path: Path) -> bool:
    """The same by a move, which would replace a file: among the processes that save here, one alone
    may look and move.
    """
    turn = beside(path, TURN)
    try:
        file = begun(turn)
    except FileExistsError:
        return False
    if file is None:
        return False
    with file:
        try:
            free = not os.path.lexists(path)
            if free:
                os.replace(part, path)
        finally:
            discard(turn)
    return free


# Temporary files


@contextmanager
def written(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file beside `path` with the data, which is on disk; removed at the end, unless it
    was moved. Meanwhile it is locked, so that nobody takes it for a leftover.
    """
    part, file = temporary(path)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # There an open file cannot be moved.
            yield part
    finally:
        discard(part)


def beside(path: Path, mark: str) -> Path:
    """The name of a temporary file for `path`."""
    return path.with_name(f".{path.name}.{mark}.part")


def temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, open and locked, as readable as any new file."""
    # Not tempfile.mkstemp, whose files are their owner's only: to make them readable needs the
    # umask, which can be read only by changing it for the whole process.
    while True:
        part = beside(path, uuid.uuid4().hex[:8])
        if file := begun(part):
            return part, file


def begun(part: Path) -> BinaryIO | None:
    """A new file, open and locked; None if somebody who looked for leftovers was faster than the
    lock, FileExistsError if there is such a file.
    """
    file = part.open("xb")
    if os.name == "nt" or (lockable(file) and part.exists()):
        return file
    file.close()
    return None


def lockable(file: BinaryIO) -> bool:
    """Lock a file, where files can be locked; False if somebody else has it."""
    try:
        return lock_file(file)
    except OSError as error:
        log.info("%s cannot be locked: %s", file.name, error)
        return True


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    try:
        parts = [path for path in folder.iterdir() if PART.fullmatch(path.name)]
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("Leftover files cannot be looked for in %s: %s", folder, error)
        return
    for part in parts:
        remove_leftover(part)


def remove_leftover(part: Path) -> None:
    """Remove a temporary file, unless somebody writes it; a link, or what is no file, is none."""
    if part.is_symlink() or not part.is_file():
        return
    try:
        with part.open("r+b") as file:
            left = not writing(file)
            if left and os.name != "nt":
                discard(part)  # As long as nobody else can lock it.
        if left and os.name == "nt":
            discard(part)  # There an open file cannot be removed.
    except OSError as error:
        log.info("The leftover file %s could not be removed: %s", part, error)


def writing(file: BinaryIO) -> bool:
    """Whether somebody may be writing a temporary file; where none can be locked, by its age."""
    try:
        if os.name != "nt":
            return not lock_file(file)
    except OSError as error:
        log.info("%s cannot be locked: %s", file.name, error)
    return time.time() - os.fstat(file.fileno()).st_mtime < ABANDONED


def discard(*paths: Path) -> None:
    """Remove files, if they are there; one that cannot be removed is not what to report now."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", path, error)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where that can be asked for: Windows does it by itself,
    and some network file systems refuse it.
    """
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        log.info("The folder %s cannot be synced: %s", folder, error)


def linked(path: Path) -> Path:
    """The file behind a link, or the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def with_ending(base: Path, ending: str) -> Path:
    """A path with something behind its name, which may have dots."""
    return base.with_name(f"{base.name}{ending}")


def reason(error: Exception) -> str:
    """What went wrong, without the path that the message names anyway."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
