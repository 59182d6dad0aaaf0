"""The files of a folder, listed once: its images, and the files that belong to each."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...concept.counted import counted
from ...concept.file_kinds import (
    CAPTIONS,
    METADATA,
    compared,
    ending,
    is_accounted_for,
    is_image,
    is_other_image,
    mask_stems,
    masked_stem,
    seldom_meant,
)
from ...left_behind import passed_over
from ...quoted import quoted, shown
from .ordinary_files import reason_of

NAMED = 5  # files in a sentence


@dataclass(frozen=True)
class FolderFiles:
    """The files `paths` of a folder, including sub-folders if they are read, without files that
    systems leave behind; `no_files` are entries of other kinds, `faults` says what could not be
    read.
    """

    folder: Path
    paths: tuple[Path, ...]
    no_files: tuple[Path, ...] = ()
    faults: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[tuple[Path, str], list[Path]]:
        """The files by folder and name, as names are compared."""
        found: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
        for path in self.paths:
            found[path.parent, compared(path.name)].append(path)
        return found

    @cached_property
    def by_stem(self) -> dict[tuple[Path, str], list[Path]]:
        """The files with the ending of an image by folder and stem, as names are compared."""
        found: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
        for path in self.paths:
            if is_image(path.name):
                found[path.parent, compared(path.stem)].append(path)
        return found

    @cached_property
    def images(self) -> list[Path]:
        """The images in natural order (2 before 10), without the masks of other images."""
        found = [path for paths in self.by_stem.values() for path in paths]
        return sorted(
            (path for path in found if not self.is_mask(path)),
            key=lambda path: [natural(part) for part in path.relative_to(self.folder).parts],
        )

    def is_mask(self, path: Path) -> bool:
        """Whether a file is the mask of an image that lies beside it."""
        stem = masked_stem(path.stem)
        return bool(stem) and (path.parent, stem) in self.by_stem

    def mask_of(self, image: Path) -> Path | None:
        """The mask beside an image."""
        return self.first_of_stems(image, image.parent, mask_stems(image.stem))

    def of_same_stem(self, image: Path) -> Path | None:
        """The image of this folder of masks that is named like an image elsewhere."""
        return self.first_of_stems(image, self.folder, [image.stem])

    def first_of_stems(self, image: Path, folder: Path, stems: Iterable[str]) -> Path | None:
        """The first image file with one of some stems; of several, the one whose name is most
        like that of `image`.
        """
        for stem in stems:
            if found := self.by_stem.get((folder, compared(stem))):
                return max(found, key=lambda path: likeness(path, image))
        return None

    def texts_of(self, image: Path, endings: Iterable[str]) -> list[Path]:
        """The text files beside an image with one of these endings: first those named after its
        whole name, then those named after its stem.
        """
        names = [stem + end for end in endings for stem in (image.name, image.stem)]
        found = (self.named(image.parent, name) for name in names if not is_image(name))
        return list(dict.fromkeys(file for file in found if file))

    def named(self, folder: Path, name: str) -> Path | None:
        """The file with this exact name, or else with the name in another spelling; ValueError if
        several match and none exactly.
        """
        found = self.by_name.get((folder, compared(name)), [])
        exact = [path for path in found if path.name == name] or found
        if len(exact) > 1:
            raise ValueError(
                f"{' and '.join(quoted(path.name) for path in exact)} differ only in how "
                f"{quoted(name)} is written. Rename or remove one of them."
            )
        return exact[0] if exact else None

    def sub_folders(self) -> dict[str, int]:
        """The number of images directly in each sub-folder."""
        places = Counter(path.parent for path in self.images if path.parent != self.folder)
        return {place.relative_to(self.folder).as_posix(): n for place, n in places.items()}

    def metadata(self, names: Sequence[str] = METADATA) -> list[Path]:
        """In each folder the files with the first of these names, the deepest folder first."""
        folders = sorted({path.parent for path in self.paths}, key=lambda one: -len(one.parts))
        found = (
            next((file for name in names if (file := self.named(folder, name))), None)
            for folder in folders
        )
        return [file for file in found if file]

    def unread(self, extension: str = "") -> list[Path]:
        """The files that are neither read nor belong beside images."""
        others = [
            path
            for path in self.paths
            if not (is_image(path.name) or is_accounted_for(path.name, extension))
        ]
        return others + [path for path in self.no_files if is_image(path.name)]

    def remarks(self, extension: str = "") -> list[str]:
        """Messages about files of the folder that were left out."""
        unread, notes = self.unread(extension), list(self.faults)
        if unread:
            convert = any(is_other_image(path.name) for path in unread)
            notes.append(
                f"{counted(len(unread), 'file')} {'was' if len(unread) == 1 else 'were'} not read "
                f"({first_of(self.shown_names(unread))})."
                + (" Convert the images among them to PNG or JPEG." if convert else "")
            )
        return notes

    def shared(self, endings: Iterable[str]) -> list[str]:
        """Images that share a caption file or mask, which can belong to only one."""
        users: defaultdict[Path, list[Path]] = defaultdict(list)
        for image in self.namesakes():
            for file in [self.mask_of(image), *self.texts_of(image, endings)[:1]]:
                if file:
                    users[file].append(image)
        return [
            f"{' and '.join(self.shown_names(some))} share {shown(file.name)}"
            for file, some in users.items()
            if len(some) > 1
        ]

    def namesakes(self) -> list[Path]:
        """The images that share their stem with another image beside them."""
        stems = Counter((path.parent, compared(path.stem)) for path in self.images)
        return [path for path in self.images if stems[path.parent, compared(path.stem)] > 1]

    def doubts(self, endings: Iterable[str] = CAPTIONS) -> Iterator[str]:
        """Messages about images that may be there by mistake."""
        folders = self.sub_folders()
        seldom = [name for name in folders if any(map(seldom_meant, name.split("/")))]
        if seldom:
            yield (
                f"Folders with these names usually hold images that should not be learned "
                f"(regularization, samples, tests, masks): "
                f"{first_of([f'{shown(name)} ({folders[name]})' for name in seldom])}. Choose "
                f"only the folder with your images, or move these out of it."
            )
        if shared := self.shared(endings):
            yield f"{first_of(shared, '; ')}. Rename one of them, with the files that belong to it."
        lonely = [path for path in self.images if masked_stem(path.stem)]
        if lonely:
            yield (
                f"Named like a mask, but without its image, so read as an image: "
                f"{first_of(self.shown_names(lonely))}. Remove or rename it."
            )

    def shown_names(self, paths: Iterable[Path]) -> list[str]:
        """Names below the folder, as messages show them."""
        return [shown(path.relative_to(self.folder).as_posix()) for path in paths]


def likeness(path: Path, image: Path) -> list[bool]:
    """A sort key: how closely a file's name matches an image's, letter for letter."""
    same_letters = path.stem.startswith(image.stem)
    return [same_letters, path.suffix == image.suffix, ending(path.name) == ending(image.name)]


def files_in(folder: Path, deep: bool) -> FolderFiles:
    """The files of a folder, with `deep` also of its sub-folders; links to folders are not
    followed, so that the search ends.
    """
    paths: dict[str, list[Path]] = {"file": [], "": []}
    faults: list[str] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            faults.append(f"The folder {quoted(place.name)} cannot be read ({reason_of(error)}).")
            continue
        for entry in entries:
            kind = "hidden" if passed_over(entry.name) else kind_of(entry)
            if kind in paths:
                paths[kind].append(place / entry.name)
            elif kind == "link" and deep:
                faults.append(
                    f"The folder {quoted(entry.name)} is a link, and was not read. Choose it "
                    f"directly, or copy it."
                )
            elif kind == "folder" and deep:
                waiting.append(place / entry.name)
    return FolderFiles(folder, tuple(sorted(paths["file"])), tuple(paths[""]), tuple(faults))


def kind_of(entry: os.DirEntry[str]) -> str:
    """Whether an entry is a file, a folder, or a link to a folder; empty for pipes, devices, broken
    links, and entries that cannot be read.
    """
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        return "file" if entry.is_file() else ""
    except OSError:  # A link that leads to itself, or what is not for us.
        return ""


def first_of(names: Sequence[str], between: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{between.join(names[:NAMED])}{more}"


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(part.isdecimal(), int(part[:18]) if part.isdecimal() else 0, part) for part in parts]
