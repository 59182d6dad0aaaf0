"""The folders to choose from: those that have images."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...concept.file_kinds import is_other_image
from .folder_files import files_in
from .folders import NO_FOLDER, roots

# Where the page puts what is pasted, painted, masked or filmed.
HOSTS_OWN = {f"input/{name}" for name in ("3d", "clipspace", "painter", "pasted", "webcam")}


def image_folders() -> list[str]:
    """The folders below input/ and the datasets folders that have images, in them or below, as
    `input/cats` and `datasets/cats`; before them 'none'.
    """
    return [NO_FOLDER, *image_counts()]


def image_counts() -> dict[str, int]:
    """How many images lie in each folder and below it, where there are any, 0 where all are of
    kinds that are not read; without the folders into which the page itself puts images.
    """
    counts: Counter[str] = Counter()
    for kind, group in roots().items():
        for root in group:
            for name, images in images_below(root):
                counts[f"{kind}/{name}"] += images
    chosen = counts.keys() - HOSTS_OWN
    # input/ before datasets/.
    ordered = sorted(chosen, key=lambda name: (not name.startswith("input/"), name.casefold()))
    return {name: counts[name] for name in ordered}


def images_below(root: Path) -> Iterator[tuple[str, int]]:
    """Each folder below `root` with the number of images in it and, once more, in each folder
    below it; also with 0 where there are only images that are not read.
    """
    found = files_in(root, True)
    counts = Counter(path.parent for path in found.images)
    counts.update({path.parent: 0 for path in found.paths if is_other_image(path.name)})
    for place, count in counts.items():
        below = place.relative_to(root)
        for folder in (below, *below.parents):
            if folder.parts:
                yield folder.as_posix(), count
