"""The images of a folder with their masks and captions, and where all that lies."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor

from ...concept.caption_files import (
    CAPTION_KEYS,
    IMAGE_KEYS,
    LONGEST_FILE,
    CaptionFiles,
    CaptionSource,
    base_name,
    file_name_words,
    folder_repeats,
    metadata_captions,
)
from ...concept.counted import counted
from ...concept.encodings import READ_AS
from ...concept.file_kinds import (
    CAPTIONS,
    IMAGES,
    METADATA,
    OTHER_CAPTIONS,
    compared,
    ending,
)
from ...concept.fit import FitSettings
from ...concept.gather import SourceImage, check_large_enough
from ...concept.image_metadata import Entry, matched
from ...concept.masks import MaskSettings
from ...quoted import quoted, shown
from .folder_files import FolderFiles, files_in, first_of
from .folders import allowed, any_text, candidates, read_text
from .image_files import Reading, as_mask, read_pixels
from .ordinary_files import is_file
from .turned_masks import upright

MOST_FAULTS = 3  # in one error
LARGEST_METADATA = 16 << 20  # bytes: 10,000 entries of 1,600
METADATA_KEPT = 4  # files, as read
# What cameras and phones call their images says nothing about them.
CAMERA_NAME = re.compile(
    r"(?:img|image|dsc\w?|dscn|pxl|photo|picture|screenshot|mvi|wp|p)?[\W\d_]*", re.IGNORECASE
)


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, and how it is read. `captions` is None where none are needed;
    `mask_folder` has masks of the same stems (kohya's conditioning_data_dir); images of up to
    `smallest_area` pixels are passed over, and with `skip` those that cannot be used.
    """

    path: Path
    captions: CaptionFiles | None = field(default_factory=CaptionFiles)
    masks: MaskSettings = field(default_factory=MaskSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    deep: bool = True
    repeats: bool = True
    mask_folder: Path | None = None
    smallest_area: int = 0
    skip: bool = False

    @cached_property
    def files(self) -> FolderFiles:
        """What lies in the folder, looked through once."""
        return files_in(self.path, self.deep)

    @cached_property
    def mask_files(self) -> FolderFiles | None:
        """What lies in the folder of masks, if there is one."""
        return files_in(self.mask_folder, False) if self.mask_folder else None

    @cached_property
    def metadata(self) -> list[Path]:
        """The files that have the captions of several images, the nearest to an image first."""
        return metadata_files(self.files, self.captions) if self.captions else []

    @property
    def places(self) -> list[Path]:
        """Files and folders in which everything lies that is read."""
        return [self.path, *([self.mask_folder] if self.mask_folder else []), *self.metadata]

    @property
    def remarks(self) -> list[str]:
        """What of the folder is not read, and what may not be meant, in words."""
        extension = self.captions.extension if self.captions else ""
        endings = caption_endings(self.captions) if self.captions else ()
        return [*self.files.remarks(extension), *self.files.doubts(endings)]


def folder_sources(folder: ImageFolder, notes: list[str]) -> Iterator[SourceImage]:
    """The images of a folder, one after the other; what cannot be read or has no caption is named
    in one error at the end. `notes` is told what was left out.
    """
    files = check_images(folder.files)
    lookup = caption_lookup(folder.captions, folder.files, folder.metadata)
    faults: list[str] = []
    uncaptioned: list[Path] = []
    for path in files:
        throw_exception_if_processing_interrupted()
        try:
            source = file_source(path, folder, lookup)
        except ValueError as error:
            faults.append(str(error))
            continue
        if source.image.shape[0] * source.image.shape[1] <= folder.smallest_area:
            notes.append(
                f"{source.name} was left out: it is not larger than skip_image_resolution."
            )
            continue
        if lookup and not source.caption_from:
            uncaptioned.append(path)
        yield source
    faults = list(dict.fromkeys(faults))
    if faults and not folder.skip:
        more = len(faults) - MOST_FAULTS
        rest = [f"{counted(more, 'more file')} cannot be used either."] if more > 0 else []
        raise ValueError(" ".join([*faults[:MOST_FAULTS], *rest]))
    remarks = [*lookup.remarks, *lookup.not_looked_for(files)] if lookup else []
    check_captions(folder.files.shown_names(uncaptioned), [*remarks, *folder.remarks])
    notes += [*remarks, *folder.remarks, *faults]


def check_captions(uncaptioned: Sequence[str], remarks: Sequence[str]) -> None:
    """Raise ValueError if there are images without a caption."""
    if uncaptioned:
        listed = f"{counted(len(uncaptioned), 'image')} ({', '.join(uncaptioned[:10])})"
        raise ValueError(
            f"There are no captions for {listed}. Put a text file with the same name next to each "
            f"image, type captions on the node, or set captions to 'object'. "
            f"{' '.join(remarks)}".strip()
        )


def check_images(files: FolderFiles) -> list[Path]:
    """The images of a folder; ValueError if there are none."""
    if files.images:
        return files.images
    lack = f"The folder {quoted(files.folder.name)} holds no images ({', '.join(IMAGES)})."
    raise ValueError(" ".join([lack, *files.remarks()]))


def files_of(folder: Path, deep: bool) -> list[Path]:
    """The image files of a folder; ValueError if there are none."""
    return check_images(files_in(folder, deep))


def file_source(path: Path, folder: ImageFolder, lookup: "CaptionLookup | None") -> SourceImage:
    """An image file with its mask and its caption."""
    name = shown(path.relative_to(folder.path).as_posix())
    if not allowed(path):
        raise ValueError(
            f"{quoted(name)} is a link to a file outside ComfyUI's input/ and datasets/ folders. "
            f"Copy the image into the folder."
        )
    found = read_pixels(path, folder.masks.background)
    check_large_enough(name, found.image.shape[1], found.image.shape[0], folder.fit)
    caption, origin = lookup.caption_of(path) if lookup else ("", "")
    mask, mask_notes = mask_found(found, folder.masks, mask_beside(path, folder))
    repeats = folder_repeats(path.parent.name)[0] if folder.repeats else 1
    notes, turned = (*found.notes, *mask_notes), found.orientation
    return SourceImage(name, found.image, mask, caption, False, origin, repeats, notes, turned)


def mask_beside(path: Path, folder: ImageFolder) -> Path | None:
    """The mask file of an image: in the folder of masks, else beside it."""
    elsewhere = folder.mask_files.of_same_stem(path) if folder.mask_files else None
    found = elsewhere or folder.files.mask_of(path)
    return found if found is not None and allowed(found) else None


def mask_found(
    found: Reading, settings: MaskSettings, file: Path | None = None
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The mask of an image, from a file or from its transparency, and where it came from. A mask
    with an EXIF entry of its own was turned by that.
    """
    if settings.source in ("auto", "files") and file is not None:
        read = read_pixels(file, (0, 0, 0))
        turned = found.orientation if read.orientation == 1 else 1
        mask, notes = upright(as_mask(read.image), found.image, turned)
        return mask, (f"mask {shown(file.name)}", *notes)
    if settings.source in ("auto", "alpha") and found.opacity is not None:
        return found.opacity, ("mask from transparency",)
    if settings.source == "files" and found.opacity is not None:
        return None, ("transparency filled; Mask Options can mask it out",)
    return None, ()


class FileCaption(NamedTuple):
    """The caption of an image file, and where it stood; empty if there is none."""

    text: str = ""
    origin: str = ""


@dataclass(frozen=True)
class CaptionLookup:
    """Finds captions as it was asked to, among the files of a folder; `metadata` has the entries of
    metadata files by image, `doubtful` why none can be told, `remarks` what was not used of them.
    """

    files: CaptionFiles
    beside_images: FolderFiles
    metadata: Mapping[Path, Entry] = field(default_factory=dict)
    doubtful: Mapping[Path, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def caption_of(self, image: Path) -> FileCaption:
        """The first caption of an image that is found."""
        found = (find(self, image) for find in LOOKUPS[self.files.source])
        return next((caption for caption in found if caption.origin), FileCaption())

    def beside(self, image: Path) -> FileCaption:
        """What the text file beside an image says."""
        text = text_beside(image, self.files, self.beside_images)
        if text is None:
            return FileCaption()
        words, assumed = any_text(text, LONGEST_FILE)
        how = f"{READ_AS}{assumed}" if assumed else ""
        return FileCaption(words, f"{shown(text.name)}{how}")

    def in_metadata(self, image: Path) -> FileCaption:
        """What a metadata file says of an image; ValueError if that cannot be told."""
        if image in self.doubtful:
            raise ValueError(self.doubtful[image])
        entry = self.metadata.get(image)
        if entry is None or not entry.caption:
            return FileCaption()
        elsewhere = compared(base_name(entry.written)) == compared(entry.written)
        how = "" if elsewhere else f", {shown(entry.written)}"
        return FileCaption(entry.caption, f"the metadata file{how}")

    def not_looked_for(self, images: Sequence[Path]) -> list[str]:
        """What to tell of text files of other endings beside images that have none of those that
        were looked for.
        """
        wanted = caption_endings(self.files)
        others = [one for one in (*CAPTIONS, *OTHER_CAPTIONS) if one not in wanted]
        listed = self.beside_images
        bare = [one for one in images if wanted and not listed.texts_of(one, wanted)]
        found = [text for one in bare for text in listed.texts_of(one, others)[:1]]
        if not found:
            return []
        where = "in the dataset file" if self.files.source == "kohya" else "in Caption Options"
        key = "caption_extension" if self.files.source == "kohya" else "extension"
        return [
            f"{counted(len(found), 'text file')} beside the images "
            f"{'was' if len(found) == 1 else 'were'} not read "
            f"({first_of(listed.shown_names(found))}): the captions looked for end in "
            f"{' or '.join(wanted)}. Set {key} = '{ending(found[0].name)}' {where}."
        ]

    def in_folder_name(self, image: Path) -> FileCaption:
        """Given words, or those of a kohya folder `20_cat woman`."""
        words = self.files.words or folder_repeats(image.parent.name)[1]
        return FileCaption(words, "the folder's words") if words else FileCaption()

    def in_file_name(self, image: Path) -> FileCaption:
        """The words of an image's name; those of a camera do not count unless they are asked
        for.
        """
        if self.files.source != "file names" and CAMERA_NAME.fullmatch(image.stem):
            return FileCaption()
        words = file_name_words(image.stem, self.files.pattern, self.files.joiner)
        return FileCaption(words, "the file name") if words else FileCaption()


LOOKUPS: dict[CaptionSource, tuple[Callable[[CaptionLookup, Path], FileCaption], ...]] = {
    "auto": (
        CaptionLookup.beside,
        CaptionLookup.in_metadata,
        CaptionLookup.in_folder_name,
        CaptionLookup.in_file_name,
    ),
    "kohya": (CaptionLookup.beside, CaptionLookup.in_folder_name),
    "text files": (CaptionLookup.beside,),
    "metadata": (CaptionLookup.in_metadata,),
    "folder names": (CaptionLookup.in_folder_name,),
    "file names": (CaptionLookup.in_file_name,),
}


def caption_endings(files: CaptionFiles) -> tuple[str, ...]:
    """The endings of the text files that are looked for, as names are compared."""
    if CaptionLookup.beside not in LOOKUPS[files.source]:
        return ()
    return (compared(f".{files.extension.lstrip('.')}"),) if files.extension else CAPTIONS


def text_beside(image: Path, files: CaptionFiles, listed: FolderFiles) -> Path | None:
    """The text file of the same name, or stem, beside an image."""
    found = listed.texts_of(image, caption_endings(files))
    return next((text for text in found if allowed(text)), None)


def texts_beside(folder: Path, deep: bool, files: CaptionFiles) -> list[Path]:
    """The text files beside images; none where captions are not looked for there."""
    listed = files_in(folder, deep)
    found = (text_beside(image, files, listed) for image in listed.images)
    return [text for text in found if text]


def caption_lookup(
    files: CaptionFiles | None, listed: FolderFiles, metadata: Sequence[Path]
) -> CaptionLookup | None:
    """The lookup among the files of a folder, with the metadata files read, the nearest to an
    image before others: each is for the images below it, or for all if there are none. None
    where no captions are needed.
    """
    if files is None:
        return None
    entries: dict[Path, Entry] = {}
    doubtful: dict[Path, str] = {}
    remarks = [] if files.metadata else unused_metadata(listed, metadata)
    for file in metadata:
        captions = captions_in(file)
        remarks += without_use(file, captions, files)
        below = [one for one in listed.images if one.is_relative_to(file.parent)]
        known = entries.keys() | doubtful.keys()
        open_ones = [one for one in below or listed.images if one not in known]
        found = matched(captions, open_ones, file.parent)
        entries |= found.entries
        doubtful |= found.doubtful
    return CaptionLookup(files, listed, entries, doubtful, tuple(remarks))


def captions_in(file: Path) -> Mapping[str, str]:
    """The captions of a metadata file as it is now; ValueError where it cannot be read."""
    state = file.stat()
    found = captions_read(file, state.st_mtime_ns, state.st_size)
    if isinstance(found, str):
        raise ValueError(found)
    return found


@lru_cache(METADATA_KEPT)
def captions_read(file: Path, changed: int, size: int) -> Mapping[str, str] | str:
    """The captions of a file that was changed then and has so many bytes, or why there are none."""
    try:
        captions = metadata_captions(read_text(file, LARGEST_METADATA), file.name)
    except ValueError as error:
        return str(error)
    return MappingProxyType(captions)


def without_use(file: Path, captions: Mapping[str, str], files: CaptionFiles) -> list[str]:
    """What to tell of a metadata file without captions; ValueError where the user named it."""
    if any(captions.values()):
        return []
    lack = f"has none of {', '.join(CAPTION_KEYS)}" if captions else "names no image"
    if not captions and ending(file.name) in (".jsonl", ".csv"):
        lack += f" (line 1 has none of {', '.join(IMAGE_KEYS)})"
    remark = f"The metadata file {quoted(file.name)} {lack}"
    if files.metadata:
        raise ValueError(f"{remark}. Add the images to it, or choose another source of captions.")
    return [f"{remark}, so it was not used."]


def unused_metadata(listed: FolderFiles, used: Sequence[Path]) -> list[str]:
    """What to tell of metadata files beside the one that is read."""
    beside = {file.parent: file.name for file in used}
    return [
        f"{shown(path.name)} was not read: {shown(beside[path.parent])} was read instead."
        for path in listed.paths
        if compared(path.name) in METADATA and path.parent in beside and path not in used
    ]


def metadata_files(listed: FolderFiles, files: CaptionFiles) -> list[Path]:
    """The metadata file that is named, in the folder, at its place, or below the folder; or those
    that lie in the folder and below; none if captions are looked for elsewhere.
    """
    if files.source not in ("auto", "metadata"):
        return []
    if not files.metadata:
        return [file for file in listed.metadata() if allowed(file)]
    places = [listed.folder / files.metadata, *candidates(files.metadata)]
    if found := next((path for path in places if is_file(path) and allowed(path)), None):
        return [found]
    if below := [path for path in listed.metadata([base_name(files.metadata)]) if allowed(path)]:
        return below
    raise ValueError(
        f"There is no metadata file {quoted(files.metadata)} in the folder "
        f"{quoted(listed.folder.name)}. Write the name of a file in that folder, or a path "
        f"like 'input/my-metadata.json'."
    )
