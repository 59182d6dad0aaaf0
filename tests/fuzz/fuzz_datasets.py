"""The readers of images, captions and data set files, as targets of the fuzzer."""

import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from fuzz_mutations import bent_bytes, bent_json, bent_lines, json_bytes
from fuzz_structures import bent_structure
from fuzz_watch import Target

sys.path.insert(0, os.environ.get("COMFYUI_PATH", ""))

import torch  # noqa: E402
from comfy.cli_args import args  # noqa: E402

args.cpu = not torch.cuda.is_available()  # Before the host looks for a device, on import.

import folder_paths  # noqa: E402
from comfy.sd1_clip import SD1Tokenizer  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402

from ti_core.concept.audit import sample_texts  # noqa: E402
from ti_core.concept.caption_files import CaptionFiles, templates_from  # noqa: E402
from ti_core.concept.caption_settings import CaptionSettings  # noqa: E402
from ti_core.concept.concept import Concept  # noqa: E402
from ti_core.concept.fit import FitSettings  # noqa: E402
from ti_core.concept.gather import CaptionOptions  # noqa: E402
from ti_core.concept.placeholder import contains_word  # noqa: E402
from ti_core.host.images.concept_requests import (  # noqa: E402
    Request,
    folder_state,
    load_concept,
    read_templates,
)
from ti_core.host.images.dataset_files import (  # noqa: E402
    dataset_file_state,
    load_dataset_file,
)
from ti_core.host.images.token_counts import audit  # noqa: E402

WORD = "my-cat"
IMAGE_MEGABYTES = 300.0  # what an image of the largest size may take
SHOWN_ONE_IN = 8  # inputs; drawing a contact sheet takes longer than reading
KINDS: dict[str, dict[str, Any]] = {
    "PNG": {}, "JPEG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}, "GIF": {},
}  # fmt: skip
FILE = "a.png"


def inputs(folder: Path) -> Path:
    """An empty sub-folder of an input folder of its own."""
    folder_paths.set_input_directory(str(folder / "input"))
    place = folder / "input" / "set"
    shutil.rmtree(folder / "input", ignore_errors=True)
    place.mkdir(parents=True)
    return place


@cache
def small_image() -> bytes:
    return image_bytes(Image.effect_noise((64, 64), 60).convert("RGB"), "PNG")


def image_bytes(image: Image.Image, kind: str, **more: Any) -> bytes:
    """An image file."""
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def learn_from(kind: Any = "captions", texts: Sequence[str] = ("",), **more: Any) -> Concept:
    """Load the folder as the node does."""
    folder_state("input/set")
    request = Request("input/set", [], kind, texts, FitSettings(64, 64), **more)
    concept, _ = load_concept(request)
    show(concept)
    return concept


def show(concept: Concept) -> None:
    """What training and the audit make of a concept."""
    for number in range(len(concept.images)):
        for text in sample_texts(concept, number, WORD):
            assert contains_word(text, WORD), f"a text without the word: {text[:80]!a}"
            tokens().tokenize_with_weights(text)
    if random.Random(str(concept.images[0].caption)).random() * SHOWN_ONE_IN < 1:
        audit(concept, None, None, 1, 1)


@cache
def tokens() -> SD1Tokenizer:
    """The host's own reader of prompts."""
    return SD1Tokenizer()


def read_image(folder: Path, data: bytes) -> None:
    place = inputs(folder)
    (place / FILE).write_bytes(data)
    learn_from("object")


def read_mask(folder: Path, data: bytes) -> None:
    place = inputs(folder)
    (place / FILE).write_bytes(small_image())
    (place / "a_mask.png").write_bytes(data)
    learn_from("object")


def read_captions(folder: Path, data: bytes, name: str, source: Any = "auto") -> None:
    """A caption file, or one with the captions of several images."""
    place = inputs(folder)
    (place / FILE).write_bytes(small_image())
    (place / name).write_bytes(data)
    options = CaptionSettings(
        shuffle=True, tag_dropout=0.3, wildcards=True, lines="draw", prefix="a", keep_tokens=1
    )
    concept = learn_from(captions=CaptionOptions(CaptionFiles(source), options))
    for image in concept.images:
        assert not names_others(concept), f"a caption names a file: {image.caption[:80]!a}"


def names_others(concept: Concept) -> bool:
    """Whether a text of the concept names another embedding."""
    return any("embedding:" in text.lower() for text in sample_texts(concept, 0, WORD))


def read_typed(folder: Path, data: bytes) -> None:
    """Captions and templates that were typed on a node."""
    place, text = inputs(folder), data.decode("utf-8", "replace").replace("embedding:", "")
    (place / FILE).write_bytes(small_image())
    templates = templates_from(text, True)
    learn_from("object", captions=CaptionOptions(caption_settings=CaptionSettings(templates)))
    learn_from(texts=[text.split("\n")[0]])


def read_template_file(folder: Path, data: bytes) -> None:
    place = inputs(folder)
    (place / FILE).write_bytes(small_image())
    (folder / "input" / "templates.txt").write_bytes(data)
    templates = read_templates("", "input/templates.txt")
    learn_from("object", captions=CaptionOptions(caption_settings=CaptionSettings(templates)))


def read_toml(folder: Path, data: bytes) -> None:
    place = inputs(folder)
    (place / FILE).write_bytes(small_image())
    (place / "a.txt").write_bytes(b"my-cat, red")
    (place / "a.caption").write_bytes(b"my-cat, red")
    (folder / "input" / "dataset.toml").write_bytes(data)
    dataset_file_state("input/dataset.toml", "captions")
    concept, _ = load_dataset_file("input/dataset.toml", "captions", 0)
    assert sum(image.repeats for image in concept.images) < 10_000_000
    show(concept)


def read_names(folder: Path, data: bytes) -> None:
    """Names of a folder and an image, and a pattern for them, a line each."""
    parts = [*data.split(b"\n"), b"", b"", b""][:3]
    place = inputs(folder)
    names = [part.replace(b"/", b"").replace(b"\0", b"")[:200] for part in parts[:2]]
    inner = os.path.join(os.fsencode(place), names[0] or b"a")
    try:
        os.makedirs(inner, exist_ok=True)
        with open(os.path.join(inner, names[1] + b".png"), "wb") as file:
            file.write(small_image())
    except OSError:
        return  # Not a name here.
    for source in ("folder names", "file names", "auto"):
        pattern = parts[2].decode("utf-8", "replace")[:2000]
        files = CaptionFiles(source, pattern=pattern)  # type: ignore[arg-type]
        learn_from(captions=CaptionOptions(files))


@cache
def image_samples() -> list[bytes]:
    """Small images in all formats and modes."""
    noise = Image.effect_noise((64, 64), 60)
    found = [image_bytes(noise.convert("RGB"), kind, **more) for kind, more in KINDS.items()]
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        found.append(image_bytes(noise.convert(mode) if mode != "LA" else la(noise), "PNG"))
    chunks = PngInfo()
    chunks.add_text("parameters", "a cat")
    with_profile = {"icc_profile": b"x" * 200, "exif": orientation(6), "pnginfo": chunks}
    found.append(image_bytes(noise.convert("RGB"), "PNG", **with_profile))
    found.append(image_bytes(noise.convert("RGB"), "JPEG", exif=orientation(8), progressive=True))
    frames = [noise.convert("P"), noise.rotate(90).convert("P")]
    found.append(image_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    found.append(image_bytes(noise.convert("CMYK"), "TIFF", compression="tiff_lzw"))
    return found


@cache
def structured_samples() -> list[bytes]:
    """Images of many parts: scans, frames, strips, texts, profiles, EXIF."""
    noise = Image.effect_noise((64, 64), 60).convert("RGB")
    told = {"exif": orientation(6), "icc_profile": b"x" * 300}
    pages = {"save_all": True, "append_images": [noise.rotate(90), noise.rotate(180)]}
    return [
        *image_samples(),
        image_bytes(noise, "JPEG", progressive=True, xmp=b"<x/>", comment=b"a cat", **told),
        image_bytes(noise, "JPEG", restart_marker_rows=1, **told),
        image_bytes(noise, "WEBP", xmp=b"<x/>", **told),
        image_bytes(noise, "WEBP", **pages),
        image_bytes(noise, "PNG", **pages),
        image_bytes(noise, "TIFF", compression="jpeg"),
        image_bytes(noise, "TIFF", compression="tiff_lzw", tiffinfo={278: 4}, **told),
    ]


def la(noise: Image.Image) -> Image.Image:
    """A gray image that is partly transparent."""
    return Image.merge("LA", (noise, noise.rotate(90)))


def orientation(value: int) -> bytes:
    """An EXIF block that says how a camera was held."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


TOML = b"""[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1

[[datasets]]
resolution = [64, 64]
batch_size = 4
enable_bucket = true
min_bucket_reso = 64
max_bucket_reso = 128
bucket_reso_steps = 64
bucket_no_upscale = false

  [[datasets.subsets]]
  image_dir = 'set'
  num_repeats = 2
  caption_dropout_rate = 0.1
  caption_tag_dropout_rate = 0.1
  token_warmup_min = 1
  token_warmup_step = 0
  caption_prefix = 'a, '
  keep_tokens_separator = '|||'
  flip_aug = true
  color_aug = false
  random_crop = true

  [[datasets.subsets]]
  image_dir = 'input/set'
  class_tokens = 'my-cat cat'
  metadata_file = 'set/metadata.json'
"""
TOML_WORDS = (
    "= [ ] [[datasets]] 1e400 -5 1000000000 0.0 nan inf true 'input/set' '..' '/' '(' a.a.a.a "
    '""" 1979-05-27 [[a.b]] [64,64]'
).split()
CAPTIONS = (
    b"my-cat, red hat, (blue:1.2), {a|b} in the garden",
    "mon chat, \u00e9t\u00e9, 猫".encode(),
    "my-cat, stra\u00dfe".encode("cp1252"),
    "my-cat, \u732b".encode("utf-16"),
    "\u732b, \u5bff\u53f8".encode("shift-jis"),
    b"embedding:other, \\(a\\) ((b)) [c]\nsecond line ||| third",
)
CAPTION_WORDS = "embedding:other ( ) \\ { } | my-cat [name] :1e9) BREAK".split()
NAME_WORDS = ("*", "?", "[", "(a+)+$", "_", "999999_")
METADATA = {
    "a": {"caption": "a cat", "tags": "red, hat"},
    "set/a.png": {"caption": "b", "tags": []},
}
LINES = [{"file_name": FILE, "text": "a cat"}, {"image": "b.png", "text": "b"}, {"file": "c.png"}]
NAMES = (
    b"20_cat woman\n001-red_hat\n",
    b"999999_x\naaaa\n*",
    b"a\nb-c_d (1)\n{}_{}",
    b"\xff\xfe\n\xe9\n",
    b"1_a\nIMG_2024\n[\\w-]+",
)


def json_mutations(samples: Sequence[bytes], seed: int) -> bytes:
    """Metadata changed as JSON, a line or the whole, or as bytes."""
    draws = random.Random(seed)
    if draws.random() < 0.2:
        return bent_bytes(samples, seed)
    lines = draws.choice(samples).split(b"\n")
    at = draws.randrange(len(lines))
    if draws.random() < 0.1:
        lines[at:at] = [lines[at]] * draws.choice((2, 500, 20_000))
    try:
        bent = bent_json(json.loads(lines[at]), draws)
        lines[at] = json_bytes(deepened(bent, draws) if draws.random() < 0.2 else bent)
    except ValueError:
        return bent_bytes(samples, seed)
    return b"\n".join(lines)[: 1 << 20]


def deepened(value: Any, draws: random.Random) -> Any:
    """A value of JSON in which one stands in lists or objects, some deep, or under many keys."""
    depth = draws.choice((2, 8, 9, 100, 900))
    if isinstance(value, dict) and value:
        key = draws.choice(list(value))
        if draws.random() < 0.3:
            return {**value, **{f"{key}/{n}/x": value[key] for n in range(draws.choice((9, 5000)))}}
        return {**value, key: deepened(value[key], draws)}
    as_list = draws.random() < 0.7
    for _ in range(depth):
        value = [value] if as_list else {"tags": value}
    return value


def words(*known: str) -> Callable[[Sequence[bytes], int], bytes]:
    """Text whose words are exchanged for these."""
    return partial(bent_lines, words=known)


TARGETS = (
    Target("image", image_samples, bent_bytes, read_image, IMAGE_MEGABYTES),
    Target("structure", structured_samples, bent_structure, read_image, IMAGE_MEGABYTES),
    Target("mask", image_samples, bent_bytes, read_mask, IMAGE_MEGABYTES),
    Target(
        "caption file", lambda: list(CAPTIONS), words(*CAPTION_WORDS),
        partial(read_captions, name="a.txt"),
    ),
    Target(
        "metadata.jsonl", lambda: [b"\n".join(map(json_bytes, LINES))], json_mutations,
        partial(read_captions, name="metadata.jsonl", source="metadata"),
    ),
    Target(
        "metadata.json", lambda: [json_bytes(METADATA)], json_mutations,
        partial(read_captions, name="metadata.json", source="metadata"),
    ),
    Target("typed texts", lambda: list(CAPTIONS), words(*CAPTION_WORDS), read_typed),
    Target("template file", lambda: list(CAPTIONS), words(*CAPTION_WORDS), read_template_file),
    Target("dataset file", lambda: [TOML], words(*TOML_WORDS), read_toml),
    Target("names", lambda: list(NAMES), words(*NAME_WORDS), read_names),
)  # fmt: skip
