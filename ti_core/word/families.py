"""Kinds of models, by the text encoders that an embedding holds vectors for."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from ..quoted import quoted

# How ComfyUI itself reads `embedding:name` of a file: as a bare word is read, but for signs glued
# to the word, but for blanks around it, as letters, or not without an error.
HostReading = Literal["same", "signs", "blanks", "letters", "error"]


class TextEncoder(NamedTuple):
    """A text encoder of the host: how wide its vectors are, and how the host reads a file there."""

    width: int
    reading: HostReading


ENCODERS = {
    "clip_l": TextEncoder(768, "same"),
    "clip_g": TextEncoder(1280, "same"),
    "clip_h": TextEncoder(1024, "same"),
    "t5xxl": TextEncoder(4096, "signs"),
    "qwen3_4b": TextEncoder(2560, "blanks"),
    "qwen3_8b": TextEncoder(4096, "blanks"),
    "qwen3vl_4b": TextEncoder(2560, "blanks"),
    "qwen3vl_8b": TextEncoder(4096, "blanks"),
    "qwen3vl_32b": TextEncoder(5120, "blanks"),
    "mistral3_24b": TextEncoder(5120, "blanks"),
    "llama": TextEncoder(4096, "blanks"),
    "qwen3_06b": TextEncoder(1024, "error"),  # Anima takes T5's tokens as numbers.
    "qwen25_7b": TextEncoder(3584, "letters"),
    "qwen25_3b": TextEncoder(2048, "letters"),
    "qwen3_2b": TextEncoder(2048, "letters"),
    "umt5xxl": TextEncoder(4096, "letters"),
    "pile_t5xl": TextEncoder(2048, "letters"),
    "mt5xl": TextEncoder(2048, "letters"),
    "t5base": TextEncoder(768, "letters"),
    "t5gemma": TextEncoder(768, "letters"),
    "chinese_roberta": TextEncoder(1024, "letters"),
    "jina_clip_2": TextEncoder(1024, "letters"),
    "gemma2_2b": TextEncoder(2304, "letters"),
    "gemma3_4b": TextEncoder(2560, "letters"),
    "gemma3_12b": TextEncoder(3840, "letters"),
}
BEST_TO_WORST: tuple[HostReading, ...] = ("same", "signs", "blanks", "letters", "error")
HUNYUAN_VIDEO = frozenset({"clip_l", "llama"})  # It compares vectors with an image's number.


class Family(NamedTuple):
    """A kind of model: its name for people and its name in the model metadata standard."""

    name: str
    architecture: str


FAMILIES: dict[frozenset[str], Family] = {
    frozenset({"clip_l"}): Family("SD 1.x", "stable-diffusion-v1"),
    frozenset({"clip_h"}): Family("SD 2.x", "stable-diffusion-v2-512"),
    frozenset({"clip_l", "clip_g"}): Family("SDXL", "stable-diffusion-xl-v1-base"),
    frozenset({"clip_g"}): Family(
        "SDXL (its second text encoder only)", "stable-diffusion-xl-v1-refiner"
    ),
    frozenset({"clip_l", "clip_g", "t5xxl"}): Family("SD 3", "stable-diffusion-v3"),
    frozenset({"clip_l", "t5xxl"}): Family("Flux.1", "flux-1"),
    frozenset({"t5xxl"}): Family("models with T5-XXL (Flux.1, SD 3, Chroma, PixArt)", "t5xxl"),
    frozenset({"clip_l", "llama"}): Family("HunyuanVideo", "hunyuan-video"),
    frozenset({"clip_l", "clip_g", "t5xxl", "llama"}): Family("HiDream", "hidream-i1"),
    frozenset({"qwen3_4b"}): Family("Z-Image and Flux.2 klein 4B", "qwen3_4b"),
    frozenset({"qwen3_8b"}): Family("Flux.2 klein 9B", "qwen3_8b"),
    frozenset({"mistral3_24b"}): Family("Flux.2", "flux-2"),
    frozenset({"qwen3_06b"}): Family("Anima", "anima"),
    frozenset({"qwen3vl_4b"}): Family("Krea 2 and Mage-Flow", "qwen3vl_4b"),
    frozenset({"qwen3vl_8b"}): Family("Ideogram 4, Boogu and JoyImage", "qwen3vl_8b"),
    frozenset({"qwen3vl_32b"}): Family("MiniMax H3", "minimax-h3"),
    frozenset({"qwen25_7b"}): Family(
        "Qwen-Image, HunyuanImage, HunyuanVideo 1.5 and LongCat-Image", "qwen25_7b"
    ),
    frozenset({"clip_l", "qwen25_7b"}): Family("Kandinsky 5", "kandinsky-5"),
    frozenset({"qwen25_3b"}): Family("OmniGen 2", "omnigen-2"),
    frozenset({"qwen3_2b"}): Family("Ovis", "ovis"),
    frozenset({"umt5xxl"}): Family("Wan", "wan"),
    frozenset({"pile_t5xl"}): Family("AuraFlow", "auraflow-v1"),
    frozenset({"chinese_roberta", "mt5xl"}): Family("HunyuanDiT", "hunyuan-dit"),
    frozenset({"gemma2_2b"}): Family("Lumina 2 and PixelDiT", "gemma2_2b"),
    frozenset({"gemma3_4b", "jina_clip_2"}): Family("NewBie", "newbie"),
    frozenset({"gemma3_12b"}): Family("LTX-2", "ltx-2"),
}
ORDER = ("clip_l", "clip_g", "clip_h", "t5xxl", "llama")
KINDS = ("clip", "qwen", "gemma", "mistral")  # Names of kinds, of which the width tells the model.
WIDTHS = {"clip_l": 768, "clip_g": 1280, "clip_h": 1024}
# Bounds of the mean length of vocabularies: that of CLIP-L is 0.4; T5's values start near 1.
CLIP_NORM, OTHER_NORM = 1.0, 1000.0
BY_WIDTH = {768: "clip_l", 1024: "clip_h", 1280: "clip_g", 4096: "t5xxl", 2304: "gemma2_2b"}
BY_WIDTH |= {2560: "qwen3_4b", 3584: "qwen25_7b", 3840: "gemma3_12b"}


def family(keys: Mapping[str, object]) -> Family:
    """The kind of model that vectors for these encoder keys fit."""
    named = "+".join(keys)
    return FAMILIES.get(frozenset(keys), Family(f"models with the text encoders {named}", named))


def key_of(width: int, available: Mapping[str, int], name: str | None = None) -> str:
    """The encoder key of vectors that a file calls `name` (None: it says nothing): the name itself
    where such an encoder is that wide, else one of its kind that is; that of the CLIP at hand,
    given as widths by key, if exactly one fits, else the usual one.
    """
    if name is not None and is_so_wide(name, width, available):
        return name
    known = {key: encoder.width for key, encoder in ENCODERS.items()}
    for widths in (available, known):
        fitting = [key for key, wide in widths.items() if wide == width and is_of_kind(key, name)]
        if len(fitting) == 1 or (widths is known and BY_WIDTH.get(width) in fitting):
            return fitting[0] if len(fitting) == 1 else BY_WIDTH[width]
    if name in KINDS and not fitting:
        return key_of(width, available)
    if name in ENCODERS and not fitting and name not in WIDTHS:
        return name  # The host has more models of its kind than are listed here.
    named = f"{name} vectors" if name else "vectors"
    raise ValueError(f"its {named} are {width} wide{doubt(name, fitting)}")


def doubt(name: str | None, fitting: list[str]) -> str:
    """Why a width does not tell the encoder, and the way out, for a message."""
    if name in WIDTHS:
        return f" instead of {WIDTHS[name]}, and no other text encoder of CLIP is that wide"
    if fitting:
        listed = ", ".join(fitting)
        why = f", which fits more than one text encoder ({listed}), and no name tells which"
    else:
        listed = ", ".join(f"{key} {wide}" for wide, key in BY_WIDTH.items())
        why = f", which fits no known text encoder ({listed})"
    return f"{why}; connect the CLIP of the model that it was made for"


def is_so_wide(name: str, width: int, available: Mapping[str, int]) -> bool:
    """Whether a name is that of an encoder of this width, or of one of which that is not known."""
    known = ENCODERS[name].width if name in ENCODERS else width
    return name not in KINDS and width in (known, available.get(name))


def is_of_kind(key: str, name: str | None) -> bool:
    """Whether an encoder can be meant by a file's name for it."""
    return name is None or kind(key) == kind(name)


def kind(key: str) -> str:
    """The kind of an encoder: `clip`, `t5`, `qwen`, ..."""
    letters = re.match("[a-z]*", key)
    return "t5" if "t5" in key else letters[0] if letters else ""


def usual_norm(key: str) -> float:
    """How long the vectors of ordinary words are in an encoder, at most."""
    return CLIP_NORM if key in WIDTHS else OTHER_NORM


def host_reading(keys: Iterable[str]) -> HostReading | None:
    """How ComfyUI itself reads a file with vectors for these encoders: as in the worst of them;
    None if one of them is not known.
    """
    held = frozenset(keys)
    if held == HUNYUAN_VIDEO:
        return "error"
    if not held <= ENCODERS.keys():
        return None
    return BEST_TO_WORST[max(BEST_TO_WORST.index(ENCODERS[key].reading) for key in held)]


def in_order(keys: Iterable[str]) -> list[str]:
    """Encoder keys as people list them: CLIP-L first, then CLIP-G, T5, and the others by name."""
    return sorted(keys, key=lambda key: (ORDER.index(key) if key in ORDER else len(ORDER), key))


def check_fit(name: str, held: Mapping[str, int], available: Mapping[str, int]) -> None:
    """Raise ValueError that names both sides and the fitting checkpoint, unless every encoder that
    has vectors in `held` (widths by key) is among `available`; the host would drop them with a
    warning.
    """
    if any(available.get(key) != width for key, width in held.items()):
        raise ValueError(
            f"The embedding '{name}' holds {with_widths(held)}, but this CLIP has "
            f"{with_widths(available)}. It fits {family(held).name}: use the CLIP of such a "
            f"checkpoint, or an embedding made for {family(available).name}."
        )


def missing_half(name: str, held: Iterable[str], available: Iterable[str], initializer: str) -> str:
    """What to tell of a word without vectors for some encoders of a CLIP that it is used with;
    empty if it has them all.
    """
    having = in_order(held)
    lacking = in_order(set(available).difference(having))
    if not lacking or not having:
        return ""
    share = "Half of it" if len(lacking) == len(having) else "A part of it"
    return (
        f"{share} is missing: '{name}' has vectors for {', '.join(having)}, like words for "
        f"{family(dict.fromkeys(having)).name}, but this CLIP is for "
        f"{family(dict.fromkeys([*having, *lacking])).name}. Instead, {', '.join(lacking)} "
        f"{'reads' if len(lacking) == 1 else 'read'} the init word {quoted(initializer)}. For "
        f"vectors in all encoders, train the word with this CLIP."
    )


def with_widths(widths: Mapping[str, int]) -> str:
    """Encoder keys with their widths, for a message."""
    return ", ".join(f"{key} ({width} wide)" for key, width in widths.items())
