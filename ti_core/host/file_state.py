"""A cheap check whether a file is still the same."""

import os
from collections.abc import Iterable
from pathlib import Path

FileState = tuple[str, int, int, int]


def file_state_of(path: Path) -> FileState:
    """Name, size, and the times of the last change of a file and of its entry, in nanoseconds: a
    copy may keep size and time, but its entry is new (on Windows the latter is the creation time).
    Raises OSError if there is no file.
    """
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns


def states_of(paths: Iterable[Path]) -> list[FileState | None]:
    """The states of files, None for one that is not there."""
    return [state_if_there(path) for path in paths]


def state_if_there(path: Path) -> FileState | None:
    """The state of a file; None if it does not exist, or vanishes meanwhile."""
    try:
        return file_state_of(path) if os.path.isfile(path) else None
    except OSError:
        return None
