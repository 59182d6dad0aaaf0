"""Tells by a file's name whether it is an image, mask, caption or metadata. Lists, counts,
thumbnails, loading and the page all ask here; files that systems leave behind are in
`ti_core/left_behind.py`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from PIL import Image

from ..left_behind import LEFT_BEHIND, LEFT_BEHIND_ENDS, LEFT_BEHIND_STARTS, compared

# Pillow's readers that are used, with the endings of their files; others (PostScript, PDF, ...)
# are not asked.
ENDINGS_OF: Mapping[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
}
# Pillow is built with some of them or without.
FORMATS = tuple(one for one in ENDINGS_OF if one in Image.registered_extensions().values())
IMAGES = tuple(ending for one in FORMATS for ending in ENDINGS_OF[one])
# Images that are not read: a folder of them alone is shown all the same, with what to do.
OTHER_IMAGES = (
    *(".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".jpf", ".jxr", ".wdp"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef"),
    *(".srw", ".raw", ".psd", ".psb", ".xcf", ".kra", ".svg", ".tga", ".dds", ".exr", ".hdr"),
    *(".ico", ".icns", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".dib", ".avifs", ".flif"),
    *(".bpg", ".jps", ".jpg_large", ".jpg_orig"),
)
CAPTIONS = (".txt", ".caption")
# Where other tools write captions; to be named if they lie there and are not looked for.
OTHER_CAPTIONS = (".cap", ".captions", ".tags", ".tag", ".text", ".wd14", ".prompt")
METADATA = ("metadata.json", "metadata.jsonl", "meta_cap.json", "meta_clean.json", "metadata.csv")
# Beside images on purpose, and nothing to learn from: settings, cached latents, notes.
OTHER_FILES = (".toml", ".yaml", ".yml", ".npz", ".npy", ".safetensors", ".xmp", ".aae", ".md")
# Behind the stem of its image; OneTrainer writes -masklabel.
MASK_MARKS = ("_mask", "-masklabel", "_masklabel", "-mask", ".mask", ".masklabel")
MASK = re.compile(rf"(.+)({'|'.join(map(re.escape, MASK_MARKS))})")
# Folders whose images are seldom meant to be learned: what trainers write or compare with.
SELDOM_MEANT = re.compile(
    r"(?:\d+_)?(?:reg|regulari[sz]ation|class|prior|model|checkpoint|sample|output|out|log|val|valid"
    r"|validation|test|testing|eval|evaluation|mask|conditioning|control|cache|preview|grid|backup"
    r"|unused|rejected|discarded|deleted|trash)(?:e?s)?"
    r"(?:[ _-]?(?:images?|imgs?|pictures?|data|dataset|set|dir|folder))?"
    # With a name before it or a number behind, only what means nothing else.
    r"|(?:.*[ _-])?(?:reg|regulari[sz]ation|regularizierung|validation|val|samples?)(?:[ _-]?\d+)?"
    r"|(?:\d+_)?(?:正则化?|正則化?|验证集?|検証用?|样本|樣本|サンプル)(?:图片?|圖片?|画像)?"
)


def ending(name: str) -> str:
    """The ending of a name, as it is compared."""
    return PurePath(compared(name)).suffix


def path_parts(path: str) -> tuple[str, ...]:
    """The parts of a path of any system, in the form in which names are compared."""
    return tuple(part for part in re.split(r"[\\/]+", compared(path)) if part.strip("."))


def is_image(name: str) -> bool:
    """Whether a name is the name of an image or a mask."""
    return ending(name) in IMAGES


def is_other_image(name: str) -> bool:
    """Whether a name is the name of an image in a format that is not read."""
    return ending(name) in OTHER_IMAGES and not is_image(name)


def is_accounted_for(name: str, extension: str = "") -> bool:
    """Whether a name is the name of a caption, of metadata, or of something else that belongs
    beside images; `extension` is the caption extension that was asked for.
    """
    known = (
        *CAPTIONS,
        *OTHER_CAPTIONS,
        *OTHER_FILES,
        *([compared(extension)] if extension else []),
    )
    return compared(name).endswith(known) or compared(name) in METADATA


def masked_stem(stem: str) -> str:
    """The stem of the image that a mask with this stem belongs to, in the form in which names are
    compared; empty if the stem is not that of a mask.
    """
    match = MASK.fullmatch(compared(stem))
    return match[1] if match else ""


def mask_stems(stem: str) -> list[str]:
    """Names that the mask of an image may have, in the form in which names are compared, the usual
    one first.
    """
    return [compared(stem) + mark for mark in MASK_MARKS]


def seldom_meant(folder: str) -> bool:
    """Whether a folder of this name usually holds images that should not be learned."""
    return bool(SELDOM_MEANT.fullmatch(compared(folder)))


def rules() -> dict[str, Sequence[Any]]:
    """The same for the page, which sorts what is dropped on it."""
    return {
        "images": IMAGES,
        "captions": CAPTIONS,
        "metadata": METADATA,
        "masks": MASK_MARKS,
        "left_behind": sorted(LEFT_BEHIND),
        "left_behind_starts": LEFT_BEHIND_STARTS,
        "left_behind_ends": LEFT_BEHIND_ENDS,
    }
