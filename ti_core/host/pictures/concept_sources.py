"""Pictures, masks and captions from folders and from the graph."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor

from ...concept.caption_files import CaptionFiles, clean, folder_repeats, was_cut
from ...concept.counted import counted
from ...concept.fit import FitSettings
from ...concept.gather import Source, check_large_enough
from ...concept.masks import MaskSettings
from .caption_lookup import CaptionLookup, caption_lookup, metadata_file
from .folders import allowed
from .picture_files import SUFFIXES, Reading, mask_file, picture_files, read_mask, read_pixels

Belonging = TypeVar("Belonging")


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures, and how it is read. `captions` is None where none are needed;
    `mask_folder` has masks of the same stems (kohya's conditioning_data_dir); pictures of up to
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

    @property
    def metadata(self) -> Path | None:
        """The file that has the captions of several pictures, if there is one."""
        return metadata_file(self.path, self.captions) if self.captions else None

    @property
    def places(self) -> list[Path]:
        """Files and folders in which everything lies that is read."""
        elsewhere = (self.mask_folder, self.metadata)
        return [self.path, *(place for place in elsewhere if place is not None)]


def folder_sources(folder: PictureFolder, notes: list[str]) -> Iterator[Source]:
    """The pictures of a folder, one after the other; what cannot be read or has no caption is named
    in one error at the end. `notes` is told what was left out.
    """
    files = picture_files(folder.path, folder.deep)
    if not files:
        raise ValueError(
            f"The folder {folder.path.name!r} holds no pictures ({', '.join(SUFFIXES)})."
        )
    lookup = caption_lookup(folder.captions, folder.metadata) if folder.captions else None
    remarks = [lookup.remark] if lookup and lookup.remark else []
    faults: list[str] = []
    silent: list[str] = []
    for path in files:
        throw_exception_if_processing_interrupted()
        try:
            source = file_source(path, folder, lookup)
        except ValueError as error:
            faults.append(str(error))
            continue
        if source.picture.shape[0] * source.picture.shape[1] <= folder.smallest_area:
            notes.append(
                f"{source.name} was left out: it is not larger than skip_image_resolution."
            )
            continue
        if lookup and not source.caption_from:
            silent.append(source.name)
        yield source
    if faults and not folder.skip:
        raise ValueError(" ".join(faults))
    if silent:
        listed = f"{counted(len(silent), 'picture')} ({', '.join(silent[:10])})"
        raise ValueError(
            f"There are no captions for {listed}. Put a text file with the same name beside each "
            f"picture, write captions on the node, or choose another kind. "
            f"{' '.join(remarks)}".strip()
        )
    notes += remarks + faults


def file_source(path: Path, folder: PictureFolder, lookup: CaptionLookup | None) -> Source:
    """A picture file with its mask and its caption."""
    name = path.relative_to(folder.path).as_posix()
    if not allowed(path):
        raise ValueError(
            f"{name!r} is a link to a file outside ComfyUI's input/ and datasets/ folders. Copy "
            f"the picture into the folder."
        )
    found = read_pixels(path, folder.masks.background)
    check_large_enough(name, found.picture.shape[1], found.picture.shape[0], folder.fit)
    caption, origin = lookup.caption_of(path) if lookup else ("", "")
    mask, mask_note = mask_of(found, folder.masks, mask_beside(path, folder))
    cut_note = f"caption of {len(caption)} characters, cut" if was_cut(caption) else ""
    notes = tuple(note for note in (*found.notes, mask_note, cut_note) if note)
    repeats = folder_repeats(path.parent.name)[0] if folder.repeats else 1
    return Source(name, found.picture, mask, clean(caption), False, origin, repeats, notes)


def mask_beside(path: Path, folder: PictureFolder) -> Path | None:
    """The mask file of a picture: in the folder of masks, else beside it."""
    inside = (
        [folder.mask_folder / f"{path.stem}{s}" for s in SUFFIXES] if folder.mask_folder else []
    )
    found = next((mask for mask in inside if mask.is_file()), None) or mask_file(path)
    return found if found is not None and allowed(found) else None


def mask_of(
    found: Reading, settings: MaskSettings, file: Path | None = None
) -> tuple[Tensor | None, str]:
    """The mask of a picture, from a file or from its transparency, and where it came from."""
    if settings.source in ("auto", "files") and file is not None:
        return read_mask(file), f"mask {file.name}"
    if settings.source in ("auto", "alpha") and found.opacity is not None:
        return found.opacity, "mask from transparency"
    if settings.source == "files" and found.opacity is not None:
        return None, "transparency filled; Mask Options can mask it out"
    return None, ""


def graph_sources(images: Sequence[Tensor], settings: MaskSettings) -> Iterator[Source]:
    """Pictures of IMAGE batches or lists."""
    pictures = [picture for batch in images for picture in batch]
    for number, picture in enumerate(pictures, 1):
        found = pixels_of_image(picture, settings.background)
        mask, note = mask_of(found, settings)
        notes = (*found.notes, note) if note else found.notes
        yield Source(f"image {number}", found.picture, mask, notes=notes)


def pixels_of_image(picture: Tensor, background: tuple[int, int, int]) -> Reading:
    """A picture `[h, w, 3]` of the graph; a fourth channel is how opaque it is, over a colour of
    0 to 255.
    """
    channels = torch.nan_to_num(picture.float().cpu()).clamp(0, 1)
    colours, opacity = channels[..., :3], channels[..., 3:4]
    if bool((opacity == 1).all()):  # Also where there is no fourth channel.
        return Reading(colours, None, ())
    behind = torch.tensor(background) / 255
    flat = opacity * colours + (1 - opacity) * behind
    return Reading(flat, opacity[..., 0], ("partly transparent",))


def with_masks(sources: Iterable[Source], masks: Sequence[Tensor]) -> Iterator[Source]:
    """The sources with the MASKs that were connected, in order."""
    layers = [mask for batch in masks for mask in (batch if batch.ndim > 2 else batch[None])]
    wrong = (
        "There are {things} masks for {pictures}. Connect one mask per picture (in the order of "
        "the report), or one for all."
    )
    for source, mask in dealt(sources, layers, wrong):
        notes = (*source.notes, "connected mask")
        yield replace(source, mask=mask.float().cpu(), notes=notes)


def with_captions(sources: Iterable[Source], texts: Sequence[str]) -> Iterator[Source]:
    """The sources with the captions of the node, in order: a single text was typed, a line for each
    picture or one for all; several were connected as a list, and are trusted no more than files.
    """
    typed = len(texts) == 1
    captions = typed_lines(texts[0]) if typed else [clean(text) for text in texts]
    origin = "" if typed else "the connected list"
    wrong = (
        "There are {things} captions for {pictures}. Write one line per picture (in the order of "
        "the report), or one line for all."
        if typed
        else "The connected list has {things} captions for {pictures}. Connect one per picture, in "
        "the order of the report."
    )
    for source, caption in dealt(sources, captions, wrong):
        yield replace(source, caption=caption, typed=typed, caption_from=origin)


def typed_lines(text: str) -> list[str]:
    """The captions that were typed: a line each, empty ones left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def dealt(
    sources: Iterable[Source], things: Sequence[Belonging], wrong: str
) -> Iterator[tuple[Source, Belonging]]:
    """Each source with what belongs to it, in order; a single thing belongs to all. The sources
    come one after the other, so that only at the end a wrong number is known, and `wrong` says so.
    """
    count = 0
    for count, source in enumerate(sources, 1):
        if len(things) == 1 or count <= len(things):
            yield source, things[0 if len(things) == 1 else count - 1]
    if count and len(things) not in (1, count):
        raise ValueError(wrong.format(things=len(things), pictures=counted(count, "picture")))
