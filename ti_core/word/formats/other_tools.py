"""Which other tool reads which format: the one table for messages, nodes and docs.

`python scripts/other_readers.py` runs the tools' own loading code on files of every format;
benchmarks/results/other-readers.json holds the results, and a test compares them with this table. A
tool that is missing from a row does not read the format, or not the vectors of every encoder.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..families import host_reading

COMFYUI, AUTOMATIC1111, FORGE, SDNEXT = "ComfyUI", "AUTOMATIC1111", "Forge", "SD.Next"
INVOKEAI, ONETRAINER, KOHYA, AI_TOOLKIT = "InvokeAI", "OneTrainer", "kohya", "ai-toolkit"
DIFFUSERS = "diffusers"
ALONE, TOKEN, EACH = "", "with token=", "with one call per encoder"

# The tools, and the versions and commits of them that were run: nothing here is only read.
TOOLS: dict[str, tuple[str, ...]] = {
    COMFYUI: ("0.30.0", "0.33.0"),
    AUTOMATIC1111: ("1.7.0 cf2772f", "1.10.1 82a973c"),
    FORGE: ("dfdcbab",),
    SDNEXT: ("058a7f0",),
    INVOKEAI: ("8e71a8a",),
    ONETRAINER: ("23df383",),
    KOHYA: ("48d368f",),
    AI_TOOLKIT: ("27a03a9",),
    DIFFUSERS: ("0.42.1",),
}

# Kinds of models by their text encoders; the last stands for all that are not here.
KINDS = {
    "SD 1.x": ("clip_l",),
    "SD 2.x": ("clip_h",),
    "SDXL": ("clip_l", "clip_g"),
    "SD 3": ("clip_l", "clip_g", "t5xxl"),
    "Flux.1": ("clip_l", "t5xxl"),
    "Chroma, PixArt": ("t5xxl",),
    "HiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "HunyuanVideo": ("clip_l", "llama"),
    "Z-Image": ("qwen3_4b",),
}
OTHERS = "Z-Image"
CLASSIC = ("SD 1.x", "SD 2.x")
READ_BY_HOST = (None, "same", "signs", "blanks")


class Row(NamedTuple):
    """A format, the kinds of models, and the tools that read it for them, each with what it needs
    besides the file.
    """

    format: str
    kinds: tuple[str, ...]
    tools: Mapping[str, str]


def reading(*tools: str, diffusers: str | None = None) -> dict[str, str]:
    """The tools of a row; `diffusers` says what diffusers needs, if it reads the format."""
    asked = {} if diffusers is None else {DIFFUSERS: diffusers}
    return {**dict.fromkeys(tools, ALONE), **asked}


TABS = (COMFYUI, AUTOMATIC1111, FORGE)
READ = (
    Row("standard", CLASSIC, reading(*TABS, SDNEXT, INVOKEAI, KOHYA, AI_TOOLKIT, diffusers=TOKEN)),
    Row(
        "standard",
        ("SDXL",),
        reading(*TABS, SDNEXT, INVOKEAI, ONETRAINER, KOHYA, AI_TOOLKIT, diffusers=EACH),
    ),
    Row("standard", ("Flux.1", "Chroma, PixArt"), reading(COMFYUI, ONETRAINER, diffusers=EACH)),
    Row("standard", ("SD 3", "HiDream"), reading(COMFYUI, ONETRAINER)),
    Row("standard", ("HunyuanVideo",), reading(COMFYUI, ONETRAINER)),
    Row("standard", (OTHERS,), reading(COMFYUI)),
    Row(
        "automatic1111",
        CLASSIC,
        reading(*TABS, SDNEXT, INVOKEAI, KOHYA, AI_TOOLKIT, diffusers=ALONE),
    ),
    Row("automatic1111", ("SDXL",), reading(*TABS, INVOKEAI, ONETRAINER, KOHYA, diffusers=EACH)),
    Row("diffusers", CLASSIC, reading(*TABS, SDNEXT, KOHYA, AI_TOOLKIT, diffusers=ALONE)),
    Row("diffusers", ("SDXL",), reading(diffusers=ALONE)),
    Row("diffusers", ("Flux.1",), reading(ONETRAINER, diffusers=EACH)),
    Row("diffusers", ("Chroma, PixArt",), reading(COMFYUI, diffusers=ALONE)),
    Row("diffusers", ("SD 3", "HiDream"), reading(ONETRAINER)),
    Row("diffusers", ("HunyuanVideo",), reading(COMFYUI, ONETRAINER)),
    Row("diffusers", (OTHERS,), reading(COMFYUI)),
    Row(
        "onetrainer",
        CLASSIC,
        reading(*TABS, SDNEXT, ONETRAINER, KOHYA, AI_TOOLKIT, diffusers=TOKEN),
    ),
    Row(
        "onetrainer",
        ("SDXL",),
        reading(*TABS, SDNEXT, INVOKEAI, ONETRAINER, KOHYA, AI_TOOLKIT, diffusers=EACH),
    ),
    Row("onetrainer", ("Flux.1",), reading(ONETRAINER, diffusers=EACH)),
    Row("onetrainer", ("Chroma, PixArt",), reading(COMFYUI, ONETRAINER, diffusers=TOKEN)),
    Row("onetrainer", ("SD 3", "HiDream"), reading(ONETRAINER)),
    Row("onetrainer", ("HunyuanVideo",), reading(COMFYUI, ONETRAINER)),
    Row("onetrainer", (OTHERS,), reading(COMFYUI)),
    Row("share image", (*CLASSIC, "SDXL"), reading(AUTOMATIC1111, FORGE)),
)


def kind_of(keys: Iterable[str]) -> str:
    """The kind of model with these text encoders."""
    held = set(keys)
    return next((kind for kind, encoders in KINDS.items() if set(encoders) == held), OTHERS)


def row_for(format: str, kind: str) -> Mapping[str, str] | None:
    """The tools that read a format for a kind of model, and what they need; None if the format
    cannot hold such vectors.
    """
    rows = (row for row in READ if row.format == format and kind in row.kinds)
    return next((row.tools for row in rows), None)


def tools_for(format: str, keys: Iterable[str]) -> Mapping[str, str] | None:
    """The same by text encoders, without ComfyUI for models where it reads the file but prompts
    cannot use the word.
    """
    held = list(keys)
    tools = row_for(format, kind_of(held))
    if tools is None or host_reading(held) in READ_BY_HOST:
        return tools
    return {tool: how for tool, how in tools.items() if tool != COMFYUI}


def in_words(tools: Mapping[str, str]) -> str:
    """Tools as a list: first those that need only the file, then the others with what they need."""
    alone = [tool for tool in TOOLS if tools.get(tool) == ALONE]
    asked = [f"{tool} {how}" for tool, how in tools.items() if how]
    return "; ".join(filter(None, [", ".join(alone), *asked]))


def everywhere(format: str) -> str:
    """The tools besides ComfyUI that read a format for SD 1.x, 2.x and SDXL alike, as a list."""
    sets = [row_for(format, kind) or {} for kind in (*CLASSIC, "SDXL")]
    names = [tool for tool in TOOLS if tool != COMFYUI and all(tool in tools for tools in sets)]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
