"""The folders to choose from: those that have pictures."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .folders import NO_FOLDER, roots
from .picture_files import SUFFIXES, is_mask

# Where the page puts what is pasted, painted, masked or filmed.
HOSTS_OWN = {f"input/{name}" for name in ("3d", "clipspace", "painter", "pasted", "webcam")}


def picture_folders() -> list[str]:
    """The folders below input/ and the datasets folders that have pictures, in them or below, as
    `input/cats` and `datasets/cats`; before them 'none'.
    """
    return [NO_FOLDER, *picture_counts()]


def picture_counts() -> dict[str, int]:
    """How many pictures lie in each folder and below it, where there are any; without the folders
    into which the page itself puts pictures.
    """
    counts: Counter[str] = Counter()
    for kind, group in roots().items():
        for root in group:
            for name, pictures in pictures_below(root):
                counts[f"{kind}/{name}"] += pictures
    chosen = counts.keys() - HOSTS_OWN
    # input/ before datasets/.
    ordered = sorted(chosen, key=lambda name: (not name.startswith("input/"), name.casefold()))
    return {name: counts[name] for name in ordered}


def pictures_below(root: Path) -> Iterator[tuple[str, int]]:
    """Each folder below `root` with the number of pictures in it and, once more, in each folder
    below it.
    """
    for found, _, names in os.walk(root):
        pictures = [Path(found, name) for name in names if name.lower().endswith(SUFFIXES)]
        stems = {(path.parent, path.stem) for path in pictures}
        count = sum(not is_mask(path, stems) for path in pictures)
        below = Path(found).relative_to(root)
        for folder in (below, *below.parents) if count else ():
            if folder.parts:
                yield folder.as_posix(), count
