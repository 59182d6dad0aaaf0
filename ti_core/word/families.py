"""Kinds of models, by the text encoders that an embedding holds vectors for."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


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
}
ORDER = ("clip_l", "clip_g", "clip_h", "t5xxl", "llama")
WIDTHS = {"clip_l": 768, "clip_g": 1280, "clip_h": 1024}
# Bounds of the mean length of vocabularies: that of CLIP-L is 0.4; T5's values start near 1.
CLIP_NORM, OTHER_NORM = 1.0, 1000.0
BY_WIDTH = {768: "clip_l", 1024: "clip_h", 1280: "clip_g", 4096: "t5xxl", 2304: "gemma2_2b"}
BY_WIDTH |= {2560: "qwen3_4b", 5120: "mistral3_24b"}


def family(keys: Mapping[str, object]) -> Family:
    """The kind of model that vectors for these encoder keys fit."""
    named = "+".join(keys)
    return FAMILIES.get(frozenset(keys), Family(f"models with the text encoders {named}", named))


def key_of(width: int, available: Mapping[str, int]) -> str:
    """The encoder key of vectors that have only their width: that of the CLIP at hand, given as
    widths by key, if exactly one encoder of it is that wide, else the usual one.
    """
    fitting = [key for key, wide in available.items() if wide == width]
    if len(fitting) == 1:
        return fitting[0]
    if width not in BY_WIDTH:
        raise ValueError(
            f"its vectors are {width} wide, which fits no known text encoder "
            f"({', '.join(f'{key} {wide}' for wide, key in BY_WIDTH.items())}); connect the CLIP "
            f"of the model that it was made for"
        )
    return BY_WIDTH[width]


def usual_norm(key: str) -> float:
    """How long the vectors of ordinary words are in an encoder, at most."""
    return CLIP_NORM if key in WIDTHS else OTHER_NORM


def in_order(keys: Iterable[str]) -> list[str]:
    """Encoder keys as people list them: CLIP-L first, then CLIP-G, T5, and the others by name."""
    return sorted(keys, key=lambda key: (ORDER.index(key) if key in ORDER else len(ORDER), key))


def check_width(key: str, width: int) -> None:
    """Raise ValueError if an encoder that has one width in all models is given another."""
    if WIDTHS.get(key, width) != width:
        raise ValueError(f"its {key} vectors are {width} wide instead of {WIDTHS[key]}")


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


def with_widths(widths: Mapping[str, int]) -> str:
    """Encoder keys with their widths, for a message."""
    return ", ".join(f"{key} ({width} wide)" for key, width in widths.items())
