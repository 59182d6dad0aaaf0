"""Files on disk: written whole or not at all, never over another unasked."""

import logging
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

Files = Mapping[str, bytes]


def write_files(base: Path, files: Files, overwrite: bool = False) -> list[Path]:
    """Write files beside one another, `base` with each key of `files` behind its name, and return
    their paths. Where one of them exists, all get the first free name of `base-2`, `base-3`, ...,
    unless they may be overwritten; then a link leads to the file that is replaced.

    All of them are on disk under temporary names before the first name is taken; where anything
    fails, no name is new and no temporary file is left.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    taken: list[Path] = []
    try:
        for ending, data in files.items():
            wanted = with_ending(base, ending)
            parts.append(written(linked(wanted) if overwrite else wanted, data))
        if not overwrite:
            taken = take_names(base, files)
        paths = taken or [with_ending(base, ending) for ending in files]
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, linked(path) if overwrite else path)
    except BaseException:
        discard(*parts, *taken)
        raise
    for folder in {part.parent for part in parts}:
        sync_folder(folder)
    return paths


def take_names(base: Path, endings: Iterable[str]) -> list[Path]:
    """Names that nobody had, with empty files under them, one for each ending: those of `base`, or
    else of `base-2`, `base-3`, ...
    """
    wanted, number, candidate = tuple(endings), 1, base
    while not take(paths := [with_ending(candidate, ending) for ending in wanted]):
        number += 1
        candidate = with_ending(base, f"-{number}")
    return paths


def take(paths: Iterable[Path]) -> bool:
    """Make empty files under names that nobody has; False, and none is made, if one is taken.

    They are made with O_EXCL, by which of all processes one gets a name, on every file system. A
    hard link would need no empty file, but FAT and many network drives have none.
    """
    made: list[Path] = []
    try:
        for path in paths:
            path.touch(exist_ok=False)
            made.append(path)
    except BaseException as error:
        discard(*made)
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def write_through(path: Path, data: bytes) -> None:
    """Write a file, or replace it, so that it is there whole or not at all, whenever the power
    fails.
    """
    part = written(path, data)
    try:
        os.replace(part, path)
    except BaseException:
        discard(part)
        raise
    sync_folder(path.parent)


def written(path: Path, data: bytes) -> Path:
    """A temporary file beside `path` with the data, which is on disk; none where that fails."""
    part = temporary(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        discard(part)
        raise
    return part


def temporary(path: Path) -> Path:
    """A new empty file beside `path`, as readable as any new file."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    # Not tempfile.mkstemp, whose files are their owner's only: to make them readable needs the
    # umask, which can be read only by changing it for the whole process.
    part.touch(exist_ok=False)
    return part


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
