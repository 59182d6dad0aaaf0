"""The host's folders: which a user may choose from, and what lies in them."""

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

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
        folder_paths.is_within_directory(str(root), str(path))
        for group in roots().values()
        for root in group
    )


def candidates(choice: str) -> Iterator[Path]:
    """Paths that a choice such as `input/cats` may mean."""
    kind, _, name = choice.replace("\\", "/").partition("/")
    for root in roots().get(kind, []):
        path = root / name
        if name and "\0" not in name and folder_paths.is_within_directory(str(root), str(path)):
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
        f"input/ or datasets/ folder, refresh the page (R) and choose it."
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
        f"write its place as 'input/my-templates.txt' or 'datasets/cats/my-dataset.toml'."
    )


def read_bytes(path: Path, limit: int) -> bytes:
    """The contents of a file, or ValueError if it is larger than `limit` bytes."""
    with path.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise ValueError(
            f"The file {path.name!r} is larger than {limit >> 10} KiB, which is more text than can "
            f"be meant. Check that it is the right file."
        )
    return data


def folder_state(choice: str) -> str:
    """Changes when a file of the folder or below is added, removed or changed."""
    return state_of(folder_path(choice))


def state_of(folder: Path) -> str:
    """Names, times and sizes of all files of a folder and below."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return repr([(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files])
