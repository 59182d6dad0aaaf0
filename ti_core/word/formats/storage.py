"""Files on disk: written whole or not at all, never over another unasked."""

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

Files = Mapping[str, bytes]


def write_files(base: Path, files: Files) -> list[Path]:
    """Write files beside one another, `base` with each key of `files` behind its name; all of them
    exist under temporary names before the first is moved into place.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[Path, Path] = {}
    try:
        for ending, data in files.items():
            path = with_ending(base, ending)
            parts[path] = temporary(path)
            parts[path].write_bytes(data)
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return list(parts)


def temporary(path: Path) -> Path:
    """A new empty file beside `path`, as readable as any new file."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    # Not tempfile.mkstemp, whose files are their owner's only: to make them readable needs the
    # umask, which can be read only by changing it for the whole process.
    part.touch(exist_ok=False)
    return part


def free_base(base: Path, endings: Iterable[str]) -> Path:
    """The name itself, or if a file of it is taken the first free one of `name-2`, `name-3`, ..."""
    wanted, number, candidate = tuple(endings), 1, base
    while any(with_ending(candidate, ending).exists() for ending in wanted):
        number += 1
        candidate = with_ending(base, f"-{number}")
    return candidate


def with_ending(base: Path, ending: str) -> Path:
    """A path with something behind its name, which may have dots."""
    return base.with_name(f"{base.name}{ending}")
