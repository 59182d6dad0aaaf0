"""Where the host's user folder has the stored runs."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import folder_paths

from ..concept.placeholder import fold
from ..store.run_store import RunStore
from ..training.settings import Resume

FOLDER = "textual_inversion_runs"


def run_store(placeholder: str, key: str, resume: Resume, tell: Callable[[str], None]) -> RunStore:
    """The store of the run with that key, below the host's user folder."""
    name = f"{folder_start(placeholder)}{key[:16]}"
    return RunStore(runs_folder(), name, resume, tell, key)


def runs_folder() -> Path:
    """Where runs are stored."""
    return Path(folder_paths.get_user_directory(), FOLDER)


def folder_start(placeholder: str) -> str:
    """How the folders of a word's runs begin: on every system, and for each word otherwise."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", placeholder)
    if plain == placeholder:
        return f"{plain}-"
    return f"{plain}-{hashlib.sha256(fold(placeholder).encode()).hexdigest()[:8]}-"
