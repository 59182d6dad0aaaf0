"""Every family in the real server: files, training, saving, sampling, the family's own nodes."""

from typing import Any

import pytest
from graphs import Prompt, graph, node, run, saved_path
from headless import Server

TEXT = "a photo of my-star, on a table"
# CLIPTextEncodeLumina2 writes this in front of a text; so does who trains with it.
SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of "
    "image-text alignment based on textual prompts or user prompts. <Prompt Start> "
)
SIZE = {"width": 1024, "height": 768}
CROP = {"crop_w": 16, "crop_h": 0, "target_width": 512, "target_height": 384}
SDXL_NODE = ("CLIPTextEncodeSDXL", ("text_g", "text_l"), {**SIZE, **CROP})
SD3_NODE = ("CLIPTextEncodeSD3", ("clip_l", "clip_g", "t5xxl"), {"empty_padding": "none"})
FLUX_NODE = ("CLIPTextEncodeFlux", ("clip_l", "t5xxl"), {"guidance": 3.5})
# The families' own nodes for prompts, with their texts and options; the others use CLIPTextEncode.
OWN: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "SDXL": SDXL_NODE,
    "SD 3": SD3_NODE,
    "Flux": FLUX_NODE,
    "Vega v, zero terminal SNR": SDXL_NODE,
    "SD 3 without T5": SD3_NODE,
    "Flux schnell": FLUX_NODE,
    "HunyuanDiT": ("CLIPTextEncodeHunyuanDiT", ("bert", "mt5xl"), {}),
    "Lumina 2": ("CLIPTextEncodeLumina2", ("user_prompt",), {"system_prompt": "superior"}),
    "Qwen-Image": ("TextEncodeQwenImageEdit", ("prompt",), {}),
    "Z-Image": ("TextEncodeZImageOmni", ("prompt",), {"auto_resize_images": True}),
}
# Whose diffusion models the host's own loader finds in small files: of the others it knows one
# width alone, and so it does of text encoders, whose files have gigabytes.
BY_UNET_LOADER = ("SD 3", "Flux", "Flux schnell", "Flux.2 Klein", "HunyuanImage", "Wan", "LTX")
# Out of one file, as the host saves it. Of SDXL's relatives Vega stands for all: their classes
# differ in what the host detects in the file, which tests/host has.
WHOLE_FILES = (
    "SD 1.x inpainting file",
    "SD 2.1 v",
    "Vega v, zero terminal SNR",
    "SD 3 without T5",
)
NO_SMALL_VAE_FILE = ("Flux.2 Klein",)
# Whose words the host itself reads out of files.
BY_NAME = (
    *WHOLE_FILES,
    "Flux schnell",
    "SD 1.x",
    "SDXL",
    "SD 3",
    "Flux",
    "Chroma",
    "Z-Image",
    "Flux.2 Klein",
    "Krea 2",
    "LTX",
)
OTHERS = ("Qwen-Image", "HunyuanImage", "AuraFlow", "Wan", "Lumina 2", "HunyuanDiT", "Anima")
LARGE = {"SD 3", "SDXL", "Anima", "Flux.2 Klein", "SD 2.1 v", "Flux schnell"}


def caption(name: str) -> str:
    """What a family is trained with here."""
    return (SYSTEM if name == "Lumina 2" else "") + TEXT


def models(name: str) -> Prompt:
    """The loaders of a family's models."""
    size = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    if name in WHOLE_FILES:
        return {"load": node("SmallCheckpoint", family=name), "size": size}
    return {
        "load": node("SmallFamily", family=name),
        "unet": node("UNETLoader", unet_name=f"{name}.safetensors", weight_dtype="default"),
        "vae": node("VAELoader", vae_name=f"{name}.safetensors"),
        "size": size,
    }


def model(name: str) -> list[Any]:
    return ["unet", 0] if name in BY_UNET_LOADER else ["load", 0]


def training(name: str) -> Prompt:
    """Learn a word and save it."""
    whole = graph(
        concept__kind="captions",
        concept__captions=caption(name),
        train__model=model(name),
        train__vae=["load", 2] if name in (*NO_SMALL_VAE_FILE, *WHOLE_FILES) else ["vae", 0],
        train__steps=2,
        train__batch_size=4,
        train__method__learning_rate="0.3",
        train__keep="last",
        save__name=name.replace(" ", "-").replace(",", ""),
    )
    parts = ("concept", "word", "train", "save", "apply")
    start = node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["word", 0], strength=1)
    return {**models(name), **{part: whole[part] for part in parts}, "start": start}


def drawn(name: str, way: str, clip: list[Any], text: str = TEXT) -> Prompt:
    """Encode a text by the family's own node, sample, and tell it as the output `way`."""
    kind, fields, options = OWN.get(name, ("CLIPTextEncode", ("text",), {}))
    heard, sampled = [f"{way} heard", 0], [f"{way} sampled", 0]
    return {
        heard[0]: node(kind, clip=clip, **dict.fromkeys(fields, text), **options),
        sampled[0]: node(
            "KSampler",
            model=model(name),
            positive=heard,
            negative=heard,
            latent_image=["size", 0],
            seed=1,
            steps=2,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        way: node("Digest", conditioning=heard, latent=sampled, text=caption(name)),
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else [])
        for name in (*BY_NAME, *OTHERS)
    ],
)
def test_each_family_learns_saves_and_samples_in_a_graph(server: Server, name: str):
    """The family's own node hears in the word what training heard at its end, applied or loaded,
    to the last bit; so does ComfyUI itself, where it reads the file.
    """
    run(server, {"write": node("WriteSmallFamily", family=name)})
    outputs = run(
        server,
        training(name)
        | drawn(name, "applied", ["apply", 0])
        | drawn(name, "started", ["start", 0])
        | drawn(name, "referred", ["apply", 0], TEXT.replace("my-star", "embedding:my-star")),
    )
    file = saved_path(server, outputs)
    again = models(name) | {
        "word": node("LoadTextualInversion", file=file.name, placeholder="my-star"),
        "apply": node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["word", 0], strength=1),
    }
    again |= drawn(name, "loaded", ["apply", 0])
    by_name = TEXT.replace("my-star", f"embedding:{file.stem}")
    if name in BY_NAME:
        again |= drawn(name, "by name", ["load", 1], by_name)
    outputs |= run(server, again)
    told = {way: outputs[way]["told"][0] for way in outputs if "told" in outputs[way]}
    assert all(one["finite"] for one in told.values())
    assert told["applied"]["conditioning"] == told["applied"]["trained"]
    assert told["applied"] == {**told["loaded"], "trained": told["applied"]["trained"]}
    assert told["applied"]["latent"] != told["started"]["latent"]
    if name in BY_NAME:
        assert told["by name"]["conditioning"] == told["referred"]["conditioning"]
        assert told["by name"]["latent"] == told["referred"]["latent"]
