"""The host's folders: which a user may choose from, and what lies in them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ..models.compatibility import is_within_directory

NO_FOLDER = "none"


def picture_folders() -> list[str]:
    """The folders to choose from: sub-folders of input/ and of the datasets folders, as
    `input/cats` and `datasets/cats`.
    """
    inputs = [f"input/{name}" for name in folder_paths.get_input_subfolders()]
    datasets = {f"datasets/{name}" for root in dataset_roots() for name in subfolders(root)}
    return [NO_FOLDER, *inputs, *sorted(datasets)]


def dataset_roots() -> list[Path]:
    """The host's datasets folders; none in versions that do not have them."""
    return [
        Path(root) for root in folder_paths.folder_names_and_paths.get("datasets", ([], set()))[0]
    ]


def roots() -> dict[str, list[Path]]:
    """Where pictures may lie, by the first word of a choice."""
    return {"input": [Path(folder_paths.get_input_directory())], "datasets": dataset_roots()}


def subfolders(root: Path) -> list[str]:
    """Paths of all folders below `root`, relative to it, with forward slashes."""
    return [
        Path(found).relative_to(root).as_posix()
        for found, _, _ in os.walk(root)
        if Path(found) != root
    ]


def allowed(path: Path) -> bool:
    """Whether a path, its links followed, lies inside input/ or a datasets folder."""
    return any(
        is_within_directory(str(root), str(path)) for group in roots().values() for root in group
    )


def candidates(choice: str) -> Iterator[Path]:
    """Paths that a choice such as `input/cats` may mean."""
    kind, _, name = choice.replace("\\", "/").partition("/")
    for root in roots().get(kind, []):
        path = root / name
        if name and "\0" not in name and is_within_directory(str(root), str(path)):
            yield path


def folder_path(choice: str) -> Path:
    """The folder behind a choice of `picture_folders`, or ValueError if it is not inside input/ or
    a datasets folder.
    """
    for path in candidates(choice):
        if path.is_dir():
            return path
    raise ValueError(
        f"There is no picture folder {choice!r}. Put the pictures into a sub-folder of ComfyUI's "
        f"input/ or datasets/ folder, press R to refresh the page, and choose it."
    )


def text_file(choice: str) -> Path:
    """The file behind a name such as `input/templates.txt`, or ValueError if it is not inside
    input/ or a datasets folder.
    """
    for path in candidates(choice):
        if path.is_file():
            return path
    raise ValueError(
        f"There is no file {choice!r} in ComfyUI's input/ or datasets/ folder. Put it there, and "
        f"write its path as 'input/my-templates.txt' or 'datasets/cats/my-dataset.toml'."
    )


def read_text(path: Path, limit: int) -> str:
    """The text of a file: UTF-8, or UTF-16 with its mark; other bytes become a replacement sign.
    ValueError if it is larger than `limit` bytes.
    """
    with path.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise ValueError(
            f"The file {path.name!r} is larger than {limit >> 10} KiB. That is too long for a text "
            f"of this kind. Is it the right file?"
        )
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def state_of(places: Iterable[Path]) -> str:
    """Names, times and sizes of files, and of all files in folders and below; it changes when one
    of them is added, removed or changed.
    """
    found = (place.rglob("*") if place.is_dir() else [place] for place in places)
    files = sorted({path for paths in found for path in paths if path.is_file()})
    facts = ((str(path), path.stat()) for path in files)
    return repr([(name, fact.st_mtime_ns, fact.st_size) for name, fact in facts])
