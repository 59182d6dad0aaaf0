"""Every family learns a word, and hears it alike in training and in prompts: small models."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSAMPLER, CFGGuider
from comfy.sd import CLIP
from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL
from comfy_extras.nodes_cond import CLIPTextEncodeControlnet
from comfy_extras.nodes_flux import CLIPTextEncodeFlux
from comfy_extras.nodes_hunyuan import CLIPTextEncodeHunyuanDiT
from comfy_extras.nodes_kandinsky5 import CLIPTextEncodeKandinsky5
from comfy_extras.nodes_lumina2 import CLIPTextEncodeLumina2
from comfy_extras.nodes_pixart import CLIPTextEncodePixArtAlpha
from comfy_extras.nodes_qwen import TextEncodeQwenImageEdit
from comfy_extras.nodes_sd3 import CLIPTextEncodeSD3
from comfy_extras.nodes_zimage import TextEncodeZImageOmni
from sample_embeddings import write  # pyright: ignore[reportMissingImports]
from small import Loaded, concept, latents, settings, word
from small_families import ALL_FAMILIES, FAMILIES, RELATIVES, made_vae, small_model, small_text
from test_gradients import batch, check_against_differences
from torch import Tensor

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept
from ti_core.host.learn import Models, learn
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.text import apply_embedding
from ti_core.training.loop import gradient
from ti_core.training.optimizers import SphericalSettings, make_optimizer
from ti_core.training.validation import validation_batches
from ti_core.word.embedding import Embedding
from ti_core.word.families import host_reading

FILE = "ti-test-families"
TEXT = "a photo of {}, on a table"


LARGE = {"Flux.2 Klein", "Anima", "SD 3", "SDXL inpainting", "Playground"}


def marked(names: Iterable[str]) -> list[Any]:
    """The names, with what is large marked as slow."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[slow] if name in LARGE else []) for name in names]


@pytest.mark.parametrize("name", marked(FAMILIES))
def test_the_gradient_of_each_family_agrees_with_finite_differences(name: str):
    channels = FAMILIES[name].channels
    check_against_differences(small_model(name), small_text(name), "auto", channels, reach=1e-3)


@pytest.mark.parametrize("name", marked(["SD 1.x inpainting", "Playground"]))
def test_the_gradient_of_relatives_agrees_with_finite_differences(name: str):
    """With further channels; with another schedule and scale of latents. The others are computed
    as SDXL and Flux are.
    """
    family = RELATIVES[name]
    check_against_differences(
        small_model(name), small_text(name), "auto", family.channels, reach=2e-3
    )


def sampled_x0(
    model: ModelPatcher, heard: dict[str, Any], clean: Tensor, noise: Tensor, sigma: Tensor
) -> Tensor:
    """What the host's own sampler makes of noisy latents in its first step."""
    cond = [
        [heard["cross_attn"], {name: one for name, one in heard.items() if name != "cross_attn"}]
    ]
    guider = CFGGuider(model)
    guider.set_conds(cond, cond)
    found: list[Tensor] = []

    def one_step(denoise: Any, x: Tensor, sigmas: Tensor, **more: Any) -> Tensor:
        found.append(denoise(x, sigmas[:1], **more["extra_args"]))
        return x

    sampler = KSAMPLER(one_step)
    sampler.max_denoise = lambda *_: False  # type: ignore[method-assign]
    shape = model.model.latent_format
    guider.sample(noise, shape.process_out(clean), sampler, torch.stack([sigma, sigma * 0]))
    return found[0]


@pytest.mark.parametrize("name", marked([*FAMILIES, *RELATIVES]))
def test_training_denoises_as_the_hosts_sampler_does(name: str):
    """x0 within 1e-5 of its size; and so does a batch, whose samples are heard one by one."""
    model, clip = small_model(name), small_text(name)
    made = word(clip)
    texts = ("a photo of my-cat", "a my-cat, on a table")
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(2)) as frozen, torch.no_grad():
        drawn = batch(frozen, ALL_FAMILIES[name].channels)
        sigma = frozen.sigmas[drawn.positions]
        heard = frozen.encode(texts, made.vectors)
        noisy = frozen.add_noise(drawn.latents, drawn.noise, sigma)
        with frozen.differentiable():
            together = frozen.denoise(noisy, sigma, heard)
    for row, one in enumerate(heard):
        rows = slice(row, row + 1)
        expected = sampled_x0(model, one, drawn.latents[rows], drawn.noise[rows], sigma[row])
        assert (together[rows] - expected).norm() < 1e-5 * expected.norm()


def one_image() -> Concept:
    """A concept whose samples differ in noise alone."""
    whole = concept(1)
    caption_settings = CaptionSettings(("a photo of {}",))
    return replace(whole, images=(replace(whole.images[0], caption_settings=caption_settings),))


@pytest.mark.parametrize("name", marked(FAMILIES))
def test_the_loss_of_each_family_falls(name: str):
    """On fixed samples: the noise of others is louder than a word of a random model."""
    model, clip = small_model(name), small_text(name)
    made, clean = word(clip), latents(1, FAMILIES[name].channels)
    if model.model.latent_format.latent_dimensions == 3:
        clean = [latent[:, None] for latent in clean]  # a film of one frame
    with borrowed(model, clip, made, clean[0].shape, BorrowSettings(4)) as frozen:
        drawn = validation_batches(frozen, one_image(), clean, "my-cat", 4, 4)
        optimizer = make_optimizer(SphericalSettings(), made.vectors, frozen.vocabulary_norms)
        losses = []
        for _ in range(4):
            losses.append(gradient(frozen, optimizer.vectors, drawn, 1.0)[0])
            optimizer.step(0.3)
    assert losses[-1] < 0.999 * losses[0]


@pytest.mark.parametrize(("name", "reads"), [("Qwen-Image", False), ("Lumina 2", True)])
def test_a_weight_that_a_text_encoder_takes_for_text_is_reported(name: str, reads: bool):
    caption_settings = CaptionSettings()
    image = replace(
        concept(1).images[0], caption="a (my-cat:1.2)", caption_settings=caption_settings
    )
    models = Models(small_model(name), small_text(name), made_vae(name))
    chosen = settings(1)
    captioned = Concept((image,), "captions")
    report = learn(models, captioned, word(models.clip), chosen).report
    assert ("prompt weights are plain text to qwen25_7b." in report) is not reads


def learned(clip: CLIP, placeholder: str = "my-cat") -> Embedding:
    """A word whose vectors differ from its initializer's."""
    draws = torch.Generator().manual_seed(9)
    made = word(clip)
    rows = {
        key: rows + 0.1 * torch.randn(rows.shape, generator=draws)
        for key, rows in made.vectors.items()
    }
    return replace(made, placeholder=placeholder, vectors=rows)


def trained_with(loaded: Loaded, clip: CLIP, made: Embedding, caption: str) -> dict[str, Any]:
    """The conditioning of a caption in training; no diffusion model takes part in that."""
    with borrowed(loaded.model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        return frozen.encode([caption], made.vectors)[0]


def encoded(clip: CLIP, text: str) -> dict[str, Any]:
    """As CLIPTextEncode does it."""
    return as_in_training(clip.encode_from_tokens_scheduled(clip.tokenize(text)))


def as_in_training(conditioning: Any) -> dict[str, Any]:
    """A conditioning of the graph, under the names that the host's samplers use."""
    ((cross_attn, more),) = conditioning
    return {"cross_attn": cross_attn, **more}


def different(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Under which names two conditionings differ, in any bit."""
    return {
        name
        for name in one.keys() | other.keys()
        if not (
            name in one
            and name in other
            and (
                torch.equal(one[name], other[name])
                if isinstance(one[name], Tensor)
                else one[name] == other[name]
            )
        )
    }


@pytest.mark.parametrize("name", [*FAMILIES, "Flux.2 Klein 9B"])
def test_each_family_hears_a_word_in_training_and_applied_alike(name: str, loaded: Loaded):
    """Difference 0.0, also of what comes beside the tokens; and a word that has not learned
    anything is its initializer.
    """
    clip, made = small_text(name), learned(small_text(name))
    caption = TEXT.format("my-cat")
    applied = encoded(apply_embedding(clip, made, 1.0), caption)
    assert not different(trained_with(loaded, clip, made, caption), applied)
    plain = encoded(clip, TEXT.format("cat"))
    assert different(applied, plain)
    untrained = replace(made, vectors=word(clip, 1).vectors)
    assert not different(encoded(apply_embedding(clip, untrained, 1.0), caption), plain)


@pytest.mark.parametrize("name", [*FAMILIES, "Flux.2 Klein 9B"])
def test_each_family_reads_a_file_as_save_tells(name: str):
    """A reference is read alike from the file and by Apply, or as letters, or not at all."""
    clip = small_text(name)
    made = learned(clip, FILE)
    text = TEXT.format(f"embedding:{FILE}")
    letters = encoded(clip, text)
    applied = encoded(apply_embedding(clip, made, 1.0), text)
    path = Path(folder_paths.get_folder_paths("embeddings")[0]) / FILE
    try:
        write(path, made, "standard")
        reading = host_reading(made.vectors)
        if reading == "error":
            with pytest.raises(TypeError, match="only integer tensors"):
                encoded(clip, text)
            return
        expected = letters if reading == "letters" else applied
        assert not different(encoded(clip, text), expected)
    finally:
        path.with_suffix(".safetensors").unlink(missing_ok=True)
    assert different(applied, letters)


SIZE = {"width": 1024, "height": 768}
CROP = {"crop_w": 16, "crop_h": 0, "target_width": 512, "target_height": 384}
# Nodes that encode a text as CLIPTextEncode does, and what they add to it.
NODES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "SDXL": (CLIPTextEncodeSDXL, {"text_g": TEXT, "text_l": TEXT}, {**SIZE, **CROP}),
    "SD 3": (
        CLIPTextEncodeSD3,
        {"clip_l": TEXT, "clip_g": TEXT, "t5xxl": TEXT, "empty_padding": "none"},
        {},
    ),
    "Flux": (CLIPTextEncodeFlux, {"clip_l": TEXT, "t5xxl": TEXT}, {"guidance": 2.5}),
    "PixArt": (CLIPTextEncodePixArtAlpha, {"text": TEXT}, SIZE),
    "HunyuanDiT": (CLIPTextEncodeHunyuanDiT, {"bert": TEXT, "mt5xl": TEXT}, {}),
    "Kandinsky 5": (CLIPTextEncodeKandinsky5, {"clip_l": TEXT, "qwen25_7b": TEXT}, {}),
    "Qwen-Image": (TextEncodeQwenImageEdit, {"prompt": TEXT}, {}),
    "Z-Image": (TextEncodeZImageOmni, {"prompt": TEXT}, {}),
}


@pytest.mark.parametrize("name", marked(NODES))
def test_a_familys_own_node_encodes_as_training_does(name: str, loaded: Loaded):
    """Difference 0.0, but for the options that the node adds."""
    node, texts, options = NODES[name]
    clip, made = small_text(name), learned(small_text(name))
    said = {key: text.replace("{}", "my-cat") for key, text in texts.items()}
    applied = apply_embedding(clip, made, 1.0)
    by_node = as_in_training(node.execute(clip=applied, **said, **options).result[0])
    expected = trained_with(loaded, clip, made, TEXT.format("my-cat"))
    assert not different(by_node, {**expected, **options})


def test_lumina_2_hears_in_training_the_system_prompt_that_a_caption_brings(loaded: Loaded):
    """Its own node writes a system prompt in front of the text, which captions can do, too."""
    clip, made = small_text("Lumina 2"), learned(small_text("Lumina 2"))
    applied = apply_embedding(clip, made, 1.0)
    node: Any = CLIPTextEncodeLumina2
    by_node = node.execute(applied, TEXT.format("my-cat"), "superior")
    system = node.SYSTEM_PROMPT["superior"]
    caption = f"{system} <Prompt Start> {TEXT.format('my-cat')}"
    assert not different(
        as_in_training(by_node.result[0]), trained_with(loaded, clip, made, caption)
    )


def test_a_controlnet_gets_the_word_as_training_does(loaded: Loaded):
    clip, made = small_text("SDXL"), learned(small_text("SDXL"))
    applied = apply_embedding(clip, made, 1.0)
    plain = clip.encode_from_tokens_scheduled(clip.tokenize("a photo"))
    node: Any = CLIPTextEncodeControlnet
    by_node = node.execute(applied, plain, TEXT.format("my-cat")).result[0]
    expected = trained_with(loaded, clip, made, TEXT.format("my-cat"))
    assert by_node[0][1]["cross_attn_controlnet"].equal(expected["cross_attn"])
    assert by_node[0][1]["pooled_output_controlnet"].equal(expected["pooled_output"])
