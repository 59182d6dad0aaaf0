"""Data sets as a stranger may send them. Each case is run in a folder of its own, and gives a
result or an error in our words; `cases` is for a command that runs each in a process with limits.
"""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ti_core.concept.caption_files import CaptionFiles, file_name_words
from ti_core.concept.concept import Concept
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import CaptionOptions

TOP = "[[datasets]]\nresolution = 64\n"
SUBSET = "[[datasets.subsets]]\nimage_dir = 'cats'\n"


class Case(NamedTuple):
    """A hostile data set: its name, what it does, and what runs it in an empty folder."""

    name: str
    does: str
    run: Callable[[Path], object]


def cases() -> Iterator[Case]:
    """All cases."""
    yield Case("pattern", "a regular expression that never ends", endless_pattern)
    for name, text in DATASET_FILES.items():
        yield Case(name, "a dataset file", lambda folder, text=text: dataset(folder, text))
    for name in ("999999_x", "9" * 200 + "_x"):
        yield Case(f"folder {name[:8]}", "asks for repeats", lambda f, n=name: named_folder(f, n))
    for name, data in CAPTIONS.items():
        yield Case(f"caption {name}", "bytes of a .txt", lambda f, data=data: caption(f, data))
    for name, line in METADATA.items():
        yield Case(f"json {name}", "metadata.jsonl", lambda f, line=line: metadata(f, line))
    for name, mode in (("one bit", "1"), ("palette", "P"), ("gray", "L"), ("color", "RGBA")):
        yield Case(f"64 MP {name}", "a large image", lambda f, mode=mode: large(f, mode))
    yield Case("profile", "a PNG whose color profile follows its pixels", late_profile)
    yield Case("name", "an image whose name is not UTF-8", odd_name)
    yield Case("pipe", "a pipe that is called an image, and one for its caption", pipes)
    for choice in ("input/" + "x" * 5000, "input/\udcff", "input/a\0b"):
        yield Case(f"choice {choice[:8]!r}", "a folder that cannot be", lambda _, c=choice: load(c))
    for extension in (".", "..", "x" * 300, "a/b"):
        yield Case(
            f"extension {extension[:4]}", "no extension", lambda f, e=extension: ending(f, e)
        )


DATASET_FILES = {
    "a billion repeats": TOP + SUBSET + "num_repeats = 1000000000\n",
    "a huge bucket": f"{TOP}max_bucket_reso = 2000000000\nenable_bucket = true\n{SUBSET}",
    "20,000 dots": "a." * 20_000 + "b = 1\n",
    "3,000 subsets": TOP + "".join(f"{SUBSET}class_tokens = '{n}'\n" for n in range(3000)),
    "900 subsets": TOP + "".join(f"{SUBSET}class_tokens='{n}'\n" for n in range(900)),
    "a negative rate": f"{TOP}{SUBSET}caption_dropout_rate = -1\n",
    "nan": f"{TOP}{SUBSET}caption_tag_dropout_rate = nan\n",
    "an endless warm-up": f"{TOP}{SUBSET}token_warmup_step = inf\n",
    "no warm-up": f"{TOP}{SUBSET}token_warmup_step = nan\n",
    "tokens below nothing": f"{TOP}{SUBSET}keep_tokens = -1\n",
    "no extension": f"{TOP}{SUBSET}caption_extension = '.'\n",
    "a long number": f"{TOP}{SUBSET}num_repeats = {'9' * 5000}\n",
    "deep": "a = " + "[" * 10_000,
    "a long path": f"{TOP}[[datasets.subsets]]\nimage_dir = '{'x' * 3000}'\n",
}
CAPTIONS = {
    "Windows-1252": "un café noir".encode("cp1252"),
    "Shift-JIS": "赤いねこ".encode("shift_jis"),
    "UTF-16": "a red cat".encode("utf-16-le"),
    "Cyrillic": "красный кот".encode("cp1251"),
    "binary": bytes(range(256)) * 16,
    "zeros": bytes(4096),
}
METADATA = {
    "list": '{"file_name": "a.png", "text": ["red", "big"]}',
    "null": '{"file_name": "a.png", "text": null}',
    "image": '{"image": "a.png", "text": "a cat"}',
    "no name": '{"id": 1, "text": "a cat"}',
    "some names": '{"file": "a.png"}\n{"id": 1}',
    "half characters": '{"file": "a.png", "text": "\\ud800"}',
    "deep": "[" * 100_000,
}


def load(choice: str, kind: str = "captions", files: CaptionFiles | None = None) -> Concept:
    """A concept as Load Images as Concept makes it."""
    from ti_core.host.images.concept_requests import Request, load_concept

    options = CaptionOptions(files or CaptionFiles())
    fit = FitSettings(64, 64)
    return load_concept(Request(choice, [], kind, [], fit, captions=options))[0]  # type: ignore[arg-type]


def input_folder(folder: Path) -> Path:
    """The host's input folder from now on."""
    import folder_paths

    folder_paths.set_input_directory(str(folder))
    return folder


def cats(folder: Path, name: str = "cats") -> Path:
    """A sub-folder with an image."""
    inside = input_folder(folder) / name
    inside.mkdir()
    Image.new("RGB", (64, 64), "red").save(inside / "a.png")
    return inside


def endless_pattern(folder: Path) -> object:
    """Read the words of a name with a pattern that takes time without end as an expression."""
    return file_name_words("a" * 60 + "!", "(a+)+$")


def dataset(folder: Path, text: str) -> object:
    """Load a dataset file."""
    from ti_core.host.images.dataset_files import load_dataset_file

    cats(folder)
    (folder / "set.toml").write_text(text)
    return load_dataset_file("input/set.toml", "captions", 0)


def named_folder(folder: Path, name: str) -> object:
    """Load a folder whose name asks for repeats."""
    cats(folder, name)
    return load(f"input/{name}")


def caption(folder: Path, data: bytes) -> object:
    """Load an image with a caption file."""
    (cats(folder) / "a.txt").write_bytes(data)
    return load("input/cats")


def metadata(folder: Path, line: str) -> object:
    """Load an image with JSON lines."""
    (cats(folder) / "metadata.jsonl").write_text(line)
    return load("input/cats", files=CaptionFiles("metadata"))


def large(folder: Path, mode: str) -> object:
    """Load an image with as many pixels as are allowed."""
    inside = cats(folder)
    Image.new(mode, (8192, 8192), 1).save(inside / "b.png", compress_level=1)
    return load("input/cats", "object")


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def late_profile(folder: Path) -> object:
    """Load a PNG with a torn iCCP chunk behind its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(64 * 193)))
    whole = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"iCCP", b"x") + chunk(b"IEND", b"")
    (cats(folder) / "b.png").write_bytes(whole)
    return load("input/cats", "object")


def odd_name(folder: Path) -> object:
    """Load an image with a name of other bytes, and write its report as the node does."""
    from ti_core.concept.audit import concept_report

    inside = cats(folder)
    os.rename(inside / "a.png", os.fsencode(inside) + b"/a\xff.png")
    report = concept_report(load("input/cats", "object"))
    return json.dumps(report).encode(), report.encode()


def pipes(folder: Path) -> object:
    """Load a folder with pipes, which nobody writes to."""
    inside = cats(folder)
    os.mkfifo(inside / "b.png")
    os.mkfifo(inside / "a.txt")
    return load("input/cats")


def ending(folder: Path, extension: str) -> object:
    """Load a folder with captions of an extension."""
    cats(folder)
    return load("input/cats", files=CaptionFiles("text files", extension))
