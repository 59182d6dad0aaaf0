"""The host's folders: which a user may choose from, and what lies in them."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import folder_paths

from ...concept.encodings import Text, text_of
from ...concept.file_kinds import is_image
from ...left_behind import passed_over
from ...quoted import quoted
from ..file_state import states_of
from ..models.compatibility import is_within_directory
from .folder_files import files_in
from .ordinary_files import is_file, is_folder, reason_of

NO_FOLDER = "none"


def dataset_roots() -> list[Path]:
    """The host's datasets folders; none in versions that do not have them."""
    return [
        Path(root) for root in folder_paths.folder_names_and_paths.get("datasets", ([], set()))[0]
    ]


def roots() -> dict[str, list[Path]]:
    """Where images may lie, by the first word of a choice."""
    return {"input": [Path(folder_paths.get_input_directory())], "datasets": dataset_roots()}


def allowed(path: Path) -> bool:
    """Whether a path, its links followed, lies inside input/ or a datasets folder."""
    return any(
        is_within_directory(str(root), str(path)) for group in roots().values() for root in group
    )


def candidates(choice: str) -> Iterator[Path]:
    """Paths that a choice such as `input/cats` may mean, all below the folders to choose from."""
    kind, _, name = choice.replace("\\", "/").partition("/")
    for root in roots().get(kind, []):
        path = root / name
        if "\0" not in name and is_within_directory(str(root), str(path)) and not is_root(path):
            yield path


def is_root(path: Path) -> bool:
    """Whether a path, however it is written, is input/ or a datasets folder itself: they hold what
    belongs to other nodes too.
    """
    return any(path.resolve() == root.resolve() for group in roots().values() for root in group)


def hidden(choice: str) -> bool:
    """Whether a choice names a file or folder that is passed over, or something in one."""
    parts = PurePosixPath(choice.replace("\\", "/")).parts[1:]
    return any(passed_over(part) for part in parts if part != "..")


def folder_path(choice: str) -> Path:
    """The folder behind a choice of `image_folders`, or ValueError if it is not inside input/ or
    a datasets folder.
    """
    for path in () if hidden(choice) else candidates(choice):
        if is_folder(path):
            return path
    raise ValueError(
        f"There is no image folder {quoted(choice)}. Put the images into a sub-folder of "
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


def image_file(choice: str) -> Path:
    """The image behind a name such as `input/cats/1.png`, or ValueError if there is none in a
    folder inside input/ or a datasets folder.
    """
    for path in () if hidden(choice) else candidates(choice):
        if is_image(path.name) and is_file(path) and not is_root(path.parent):
            return path
    raise ValueError(f"There is no image {quoted(choice)} in ComfyUI's input/ or datasets/.")


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
    try:
        with path.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise ValueError(
            f"The file {quoted(path.name)} cannot be read ({reason_of(error)}). Give ComfyUI "
            f"permission to read it, or remove it."
        ) from error
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
    """The states of files, and of all files in folders and below that count; it changes when one of
    them is added, removed or changed.
    """
    found = (files_in(place, True).paths if is_folder(place) else [place] for place in places)
    files = sorted({path for paths in found for path in paths if is_file(path)})
    return repr([state for state in states_of(files) if state])  # One may have gone meanwhile.
