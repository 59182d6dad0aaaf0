"""The host's folders: which a user may choose from, and what lies in them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ...concept.encodings import Text, text_of
from ...quoted import quoted
from ..models.compatibility import is_within_directory
from .ordinary_files import is_file, is_folder
from .picture_files import SUFFIXES

NO_FOLDER = "none"


def dataset_roots() -> list[Path]:
    """The host's datasets folders; none in versions that do not have them."""
    return [
        Path(root) for root in folder_paths.folder_names_and_paths.get("datasets", ([], set()))[0]
    ]


def roots() -> dict[str, list[Path]]:
    """Where pictures may lie, by the first word of a choice."""
    return {"input": [Path(folder_paths.get_input_directory())], "datasets": dataset_roots()}


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
        if is_folder(path):
            return path
    raise ValueError(
        f"There is no picture folder {quoted(choice)}. Put the pictures into a sub-folder of "
        f"ComfyUI's input/ or datasets/ folder, press R to refresh the page, and choose it."
    )


def text_file(choice: str) -> Path:
    """The file behind a name such as `input/templates.txt`, or ValueError if it is not inside
    input/ or a datasets folder.
    """
    for path in candidates(choice):
        if is_file(path):
            return path
    raise ValueError(
        f"There is no file {quoted(choice)} in ComfyUI's input/ or datasets/ folder. Put it there, "
        f"and write its path as 'input/my-templates.txt' or 'datasets/cats/my-dataset.toml'."
    )


def picture_file(choice: str) -> Path:
    """The picture behind a name such as `input/cats/1.png`, or ValueError if there is none in a
    folder inside input/ or a datasets folder.
    """
    for path in candidates(choice) if choice.count("/") > 1 else ():
        if path.suffix.lower() in SUFFIXES and is_file(path):
            return path
    raise ValueError(f"There is no picture {quoted(choice)} in ComfyUI's input/ or datasets/.")


def read_text(path: Path, limit: int) -> str:
    """The text of a file in UTF-8, or UTF-16 with its mark; ValueError for other bytes, and for
    more of them than `limit`.
    """
    text, assumed = any_text(path, limit)
    if assumed:
        raise not_text(path, f"it seems to be {assumed}")
    return text


def any_text(path: Path, limit: int) -> Text:
    """The text of a file in any encoding that can be told; ValueError for other bytes, and for
    more of them than `limit`.
    """
    with path.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise ValueError(
            f"The file {quoted(path.name)} is larger than {limit >> 10} KiB. That is too long for "
            f"a text of this kind. Is it the right file?"
        )
    try:
        return text_of(data)
    except ValueError as error:
        raise not_text(path, str(error)) from error


def not_text(path: Path, why: str) -> ValueError:
    """What to say of a file that cannot be read as text."""
    return ValueError(
        f"The file {quoted(path.name)} cannot be read as text ({why}). Save it as UTF-8."
    )


def state_of(places: Iterable[Path]) -> str:
    """Names, times and sizes of files, and of all files in folders and below; it changes when one
    of them is added, removed or changed.
    """
    found = (place.rglob("*") if is_folder(place) else [place] for place in places)
    files = sorted({path for paths in found for path in paths if is_file(path)})
    facts = ((str(path), path.stat()) for path in files)
    return repr([(name, fact.st_mtime_ns, fact.st_size) for name, fact in facts])
