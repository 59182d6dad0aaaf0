"""kohya's dataset files (sd-scripts, docs/config_README-en.md), read as they are."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from ..quoted import quoted
from ..untrusted_text import escaped_untrusted
from .caption_files import MOST_REPEATS, CaptionFiles
from .caption_settings import CaptionSettings
from .fit import FitSettings
from .gather import CaptionOptions
from .masks import MaskSettings

MOST_DOTS = 64  # in a line; a path can have some
MOST_SUBSETS = 1000
LONGEST_TEXT = 4000  # characters
LONGEST_KEY = 64  # characters of the longest key that is looked up
DEFAULT_EXTENSION = ".caption"
COLOR_JITTER = 0.1

NUMBER, FLAG, WORDS, SIZE = (int, float), (bool,), (str,), (int, list)
KIND_NAMES = {int: "a number", bool: "true or false", str: "text", list: "a list", dict: "a table"}
DATASET_KEYS: dict[str, tuple[type, ...]] = {
    "resolution": SIZE,
    "batch_size": (int,),
    "enable_bucket": FLAG,
    "min_bucket_reso": (int,),
    "max_bucket_reso": (int,),
    "bucket_reso_steps": (int,),
    "bucket_no_upscale": FLAG,
    "skip_image_resolution": SIZE,
}
SHARED_KEYS: dict[str, tuple[type, ...]] = {
    "num_repeats": (int,),
    "shuffle_caption": FLAG,
    "keep_tokens": (int,),
    "keep_tokens_separator": WORDS,
    "caption_separator": WORDS,
    "secondary_separator": WORDS,
    "enable_wildcard": FLAG,
    "caption_prefix": WORDS,
    "caption_suffix": WORDS,
    "caption_dropout_rate": NUMBER,
    "caption_dropout_every_n_epochs": (int,),
    "caption_tag_dropout_rate": NUMBER,
    "token_warmup_min": (int,),
    "token_warmup_step": NUMBER,
    "caption_extension": WORDS,
    "flip_aug": FLAG,
    "color_aug": FLAG,
    "random_crop": FLAG,
    "alpha_mask": FLAG,
    "cache_info": FLAG,
    "resize_interpolation": WORDS,
    "face_crop_aug_range": (list, str),
}
SUBSET_KEYS: dict[str, tuple[type, ...]] = {
    "image_dir": WORDS,
    "class_tokens": WORDS,
    "is_reg": FLAG,
    "metadata_file": WORDS,
    "conditioning_data_dir": WORDS,
}
# What the values may be; comparisons with nan are false, so that it is refused too.
BOUNDS: dict[str, tuple[float, float]] = {
    "num_repeats": (1, MOST_REPEATS),
    "keep_tokens": (0, 1000),
    "caption_dropout_rate": (0, 1),
    "caption_dropout_every_n_epochs": (0, 1_000_000),
    "caption_tag_dropout_rate": (0, 1),
    "token_warmup_min": (0, 1_000_000),
    "token_warmup_step": (0, 1_000_000),
    "min_bucket_reso": (8, 4096),
    "max_bucket_reso": (64, 8192),
    "bucket_reso_steps": (8, 1024),
}
# Known to kohya, without a meaning here; each is said in the report.
WITHOUT_EFFECT = {
    "batch_size": "set batch_size in Train Textual Inversion",
    "cache_info": "images are always read again when they change",
    "resize_interpolation": "crops are always scaled with antialiased bicubic",
    "face_crop_aug_range": "use random crops",
}


@dataclass(frozen=True)
class Subset:
    """A folder of images with everything that is said about it."""

    folder: str
    captions: CaptionOptions
    fit: FitSettings
    masks: MaskSettings
    repeats: int
    mask_folder: str = ""
    smallest_area: int = 0


def subsets(text: str, seed: int = 0) -> tuple[list[Subset], list[str]]:
    """The subsets of a dataset file, and what was left out of it, in words."""
    whole = parsed(text)
    check_keys(whole, {"general": (dict,), "datasets": (list,)}, "at the top")
    general = whole.get("general", {})
    check_count(whole)
    check_keys(general, DATASET_KEYS | SHARED_KEYS, "in [general]")
    found: list[Subset] = []
    notes = said(general)
    for dataset in tables(whole, "datasets", "[[datasets]]"):
        shared = {key: value for key, value in dataset.items() if key != "subsets"}
        check_keys(shared, DATASET_KEYS | SHARED_KEYS, "in [[datasets]]")
        notes += said(shared)
        for own in tables(dataset, "subsets", "[[datasets.subsets]]"):
            check_keys(own, SHARED_KEYS | SUBSET_KEYS, "in [[datasets.subsets]]")
            notes += said(own)
            if own.get("is_reg"):
                notes.append(
                    f"{quoted(own.get('image_dir', 'A subset'))} was left out: regularization "
                    f"images do not contain the word, so they teach it nothing."
                )
                continue
            found.append(subset({**general, **shared, **own}, seed))
    return without_repetition(found), list(dict.fromkeys(notes))


def parsed(text: str) -> Mapping[str, Any]:
    """TOML as a mapping; Python 3.10 has no reader for it."""
    if sys.version_info < (3, 11):
        raise ValueError(
            f"Reading TOML needs Python 3.11 or newer, but this is {sys.version.split()[0]}. Use "
            f"Load Images as Concept with Caption Options and Crop & Buckets instead."
        )
    import tomllib

    check_dots(text)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"The dataset file is not valid TOML ({str(error)[:200]}). Write paths with "
            f"backslashes in single quotes: image_dir = 'C:\\images\\cat'."
        ) from error


def check_dots(text: str) -> None:
    """Raise ValueError for a key of many parts, for which Python's reader takes memory that grows
    with the square of their number.
    """
    line = next((one for one in text.split("\n") if one.count(".") > MOST_DOTS), None)
    if line is not None:
        raise ValueError(
            f"The line {quoted(line.strip())} of the dataset file has more than {MOST_DOTS} dots. "
            f"Is it the right file?"
        )


def tables(owner: Mapping[str, Any], key: str, written: str) -> Sequence[Mapping[str, Any]]:
    """The tables of an array; ValueError if there are none."""
    found = owner.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(t, dict) for t in found):
        raise ValueError(f"The dataset file has no {written}. Add a line {written}.")
    return found


def check_count(whole: Mapping[str, Any]) -> None:
    """Raise ValueError for more subsets than a person writes."""
    count = sum(
        len(dataset.get("subsets", ()))
        for dataset in tables(whole, "datasets", "[[datasets]]")
        if isinstance(dataset.get("subsets", ()), list)
    )
    if count > MOST_SUBSETS:
        raise ValueError(
            f"The dataset file has {count} subsets, but at most {MOST_SUBSETS} are allowed. Put "
            f"images with the same settings into one folder."
        )


def check_keys(table: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], where: str) -> None:
    """Raise ValueError for an unknown key, with the nearest known one, or a value of another
    kind.
    """
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key[:LONGEST_KEY], known, 1, 0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
            start = quoted(key[:LONGEST_KEY])
            raise ValueError(f"Unknown key {start} {where} of the dataset file. {hint}")
        kinds = known[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(
                f"The value {quoted(value)} of {key!r} {where} of the dataset file should be "
                f"{KIND_NAMES[kinds[0]]}."
            )
        least, most = BOUNDS.get(key, (-inf, inf))
        if isinstance(value, int | float) and not least <= value <= most:
            raise ValueError(
                f"The value {quoted(value)} of {key!r} {where} of the dataset file should be from "
                f"{least} to {most}."
            )
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError(
                f"The value {quoted(value)} of {key!r} {where} of the dataset file has more than "
                f"{LONGEST_TEXT} characters. Shorten it."
            )


def said(table: Mapping[str, Any]) -> list[str]:
    """Lines about keys that change nothing here."""
    return [
        f"{key} has no effect here: {WITHOUT_EFFECT[key]}."
        for key in table
        if key in WITHOUT_EFFECT
    ]


def subset(table: Mapping[str, Any], seed: int) -> Subset:
    """A subset from its own keys and those that it inherits."""
    if not table.get("image_dir"):
        raise ValueError("A [[datasets.subsets]] of the dataset file has no image_dir. Add one.")
    return Subset(
        folder=table["image_dir"],
        captions=CaptionOptions(caption_files_of(table), caption_settings_of(table)),
        fit=fit_of(table, seed),
        masks=MaskSettings("alpha" if table.get("alpha_mask") else "files"),
        repeats=table.get("num_repeats", 1),
        mask_folder=table.get("conditioning_data_dir", ""),
        smallest_area=area(table["skip_image_resolution"])
        if "skip_image_resolution" in table
        else 0,
    )


def caption_files_of(table: Mapping[str, Any]) -> CaptionFiles:
    """Where kohya looks for captions: the metadata file, else a text file of one extension, else
    the class words.
    """
    if table.get("metadata_file"):
        return CaptionFiles("metadata", metadata=table["metadata_file"])
    return CaptionFiles(
        "kohya",
        extension=table.get("caption_extension", DEFAULT_EXTENSION),
        words=table.get("class_tokens", ""),
    )


def caption_settings_of(table: Mapping[str, Any]) -> CaptionSettings:
    """kohya's caption switches; the file may be a stranger's, so that its words are tamed."""
    wildcards = table.get("enable_wildcard", False)
    if 0 < table.get("token_warmup_step", 0) < 1:
        raise ValueError(
            f"token_warmup_step {table['token_warmup_step']} of the dataset file is a fraction of "
            f"the training, but the number of steps is not known here. Write the number of steps."
        )
    return CaptionSettings(
        prefix=escaped_untrusted(table.get("caption_prefix", ""), False),
        suffix=escaped_untrusted(table.get("caption_suffix", ""), False),
        caption_dropout=float(table.get("caption_dropout_rate", 0.0)),
        caption_dropout_epochs=table.get("caption_dropout_every_n_epochs", 0),
        lines="draw" if wildcards else "first",
        wildcards=wildcards,
        shuffle=table.get("shuffle_caption", False),
        keep_tokens=table.get("keep_tokens", 0),
        separator=table.get("caption_separator", ","),
        keep_separator=table.get("keep_tokens_separator", ""),
        secondary_separator=table.get("secondary_separator", ""),
        tag_dropout=float(table.get("caption_tag_dropout_rate", 0.0)),
        warmup_min=table.get("token_warmup_min", 1),
        warmup_steps=int(table.get("token_warmup_step", 0)),
    )


def fit_of(table: Mapping[str, Any], seed: int) -> FitSettings:
    """kohya's sizes and augmentations; its flip is half of the time."""
    width, height = resolution(table.get("resolution", 512))
    random = table.get("random_crop", False)
    flip = 0.5 if table.get("flip_aug") else 0.0
    color = COLOR_JITTER if table.get("color_aug") else 0.0
    return FitSettings(
        width,
        height,
        buckets=table.get("enable_bucket", False),
        smallest=table.get("min_bucket_reso", 256),
        largest=table.get("max_bucket_reso", 1024),
        step=table.get("bucket_reso_steps", 64),
        upscale=not table.get("bucket_no_upscale", False),
        position="random" if random else "center",
        flip=flip,
        color=color,
        variants=4 if random or flip or color else 1,
        seed=seed,
    )


def resolution(value: Any) -> tuple[int, int]:
    """Width and height of `512` or `[512, 768]`."""
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(isinstance(side, int) and 64 <= side <= 4096 for side in sides):
        raise ValueError(
            f"The resolution {quoted(value)} of the dataset file should be a number from 64 to "
            f"4096, or two: [512, 768]."
        )
    return sides[0], sides[1]


def area(value: Any) -> int:
    """Pixels of a resolution."""
    width, height = resolution(value)
    return width * height


def without_repetition(found: Sequence[Subset]) -> list[Subset]:
    """Subsets, the same one only once (kohya ignores later ones of the same dataset)."""
    return list(dict.fromkeys(found))
