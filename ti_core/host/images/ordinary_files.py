"""Whether a path leads to a file or folder that can be read, and why not."""

from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file: no pipe or device, which could be read for ever. A name
    that no file can have, which the system refuses, is none.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; a name that none can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def reason_of(error: OSError) -> str:
    """Why a file cannot be read, without the server's path, which Python writes into it."""
    return (error.strerror or type(error).__name__).lower()
