"""What a family's model is given beside the caption, and which encoders get a gradient."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from comfy.samplers import encode_model_conds
from comfy.sd import CLIP
from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL
from comfy_extras.nodes_flux import FluxGuidance
from comfy_extras.nodes_model_advanced import (
    ModelSamplingContinuousEDM,
    ModelSamplingDiscrete,
    ModelSamplingSD3,
)
from sample_embeddings import write  # pyright: ignore[reportMissingImports]
from small import concept, latents, settings, word
from small_families import small_model, small_text
from torch import Tensor

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, CropOrigin
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.text import apply_embedding, create_embedding
from ti_core.host.models.usual_levels import usual_levels
from ti_core.training.batches import Batch, batch_loss
from ti_core.training.loop import gradient
from ti_core.training.noise_levels import quantiles
from ti_core.training.optimizers import leaf
from ti_core.training.preflight import measured_step
from ti_core.training.validation import validation_batches


def sigmas(model: Any, shape: tuple[int, ...], shares: Tensor) -> Tensor:
    """Noise levels below which these shares of what is trained on lie."""
    table = model.get_model_object("model_sampling").sigmas
    return table[usual_levels(model, shape).positions(shares, len(table))]


def shifted(shift: float, shares: Tensor) -> Tensor:
    """Quantiles of a logit-normal noise level through a flow's shift, in closed form."""
    plain = torch.special.ndtri(shares.double()).sigmoid()
    return shift * plain / (1 + (shift - 1) * plain)


LARGE, SMALL = (16, 128, 128), (16, 64, 64)  # latents of 1024 and 512 pixels


@pytest.mark.parametrize(
    ("name", "shape", "shift"),
    [
        ("SD 3", LARGE, 3.0),
        ("Flux", LARGE, math.exp(1.15)),
        ("Flux", SMALL, math.exp(0.5 + 0.65 * (1024 - 256) / (4096 - 256))),
        ("Z-Image", LARGE, 2.0),
        ("Chroma", LARGE, 1.0),
        ("Qwen-Image", LARGE, 2.2),
        ("Lumina 2", LARGE, 6.0),
    ],
)
def test_flow_models_are_trained_on_logit_normal_levels_through_their_training_shift(
    name: str, shape: tuple[int, ...], shift: float
):
    shares = quantiles(20)
    found = sigmas(small_model(name), shape, shares).double()
    torch.testing.assert_close(found, shifted(shift, shares), rtol=0, atol=0.005)


@pytest.mark.parametrize("name", ["Flux", "Z-Image"])
def test_the_shift_of_a_model_sampling_node_stands_for_the_familys(name: str):
    (patched,) = ModelSamplingSD3().patch(small_model(name), 4.0)
    shares = quantiles(20)
    found = sigmas(patched, SMALL, shares).double()
    torch.testing.assert_close(found, shifted(4.0, shares), rtol=0, atol=0.005)


def test_edm_models_are_trained_on_log_normal_levels():
    """Mean -1.2, spread 1.2 of log sigma."""
    (model,) = ModelSamplingContinuousEDM().patch(small_model("SDXL"), "edm", 80.0, 0.002)
    shares = quantiles(20)
    expected = -1.2 + 1.2 * torch.special.ndtri(shares.double())
    found = sigmas(model, (4, 8, 8), shares).double().log()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("sampling", ["eps", "v_prediction"])
def test_noise_and_v_prediction_are_trained_on_all_levels_alike(sampling: str):
    (model,) = ModelSamplingDiscrete().patch(small_model("SD 1.x"), sampling, True)
    positions = usual_levels(model, (4, 8, 8)).positions(quantiles(10), 1000)
    assert positions.tolist() == list(range(50, 1000, 100))


def by_the_sampler(model: Any, conditioning: Any, noisy: Tensor) -> dict[str, Any]:
    """What the host's sampler tells a model, from a conditioning of the graph."""
    ((cross_attn, more),) = conditioning
    given = [{"cross_attn": cross_attn, "model_conds": {}, **more}]
    with torch.inference_mode():
        made = encode_model_conds(model.extra_conds, given, noisy, noisy.device, "positive")
    return made[0]["model_conds"]


def test_sdxl_is_given_size_and_crop_as_its_own_node_gives_them():
    model, clip = small_model("SDXL"), small_text("SDXL")
    made, noisy = word(clip), latents(1)[0][None]
    node: Any = CLIPTextEncodeSDXL
    given = {"width": 1000, "height": 700, "crop_w": 16, "crop_h": 3}
    size = {"target_width": 64, "target_height": 64}
    applied = apply_embedding(clip, made, 1.0)
    text = "a photo of my-cat"
    by_node = node.execute(applied, **given, **size, text_g=text, text_l=text).result[0]
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        (cond,) = frozen.encode([text], made.vectors)
        ours = frozen.model_conds(cond, noisy, CropOrigin(1000, 700, 16, 3))["y"].cond
        plain = frozen.model_conds(cond, noisy, CropOrigin(64, 64))["y"].cond
        unknown = frozen.model_conds(cond, noisy)["y"].cond
        theirs = by_the_sampler(frozen.model, by_node, noisy)["y"].cond
    assert ours.equal(theirs.to(ours))
    assert plain.equal(unknown)
    assert not ours.equal(plain)


def test_each_sample_of_a_batch_is_given_its_own_size():
    model, clip = small_model("SDXL"), small_text("SDXL")
    made, noisy = word(clip), torch.stack(latents(2))
    crop_origins = (CropOrigin(1000, 700, 16, 3), CropOrigin(64, 64))
    sigma = torch.tensor([1.0, 3.0])
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(2)) as frozen, torch.no_grad():
        conditioning = frozen.encode(["a my-cat", "my-cat"], made.vectors)
        together = frozen.denoise(noisy, sigma, conditioning, crop_origins)
        rows = [slice(row, row + 1) for row in range(2)]
        alone = torch.cat(
            [
                frozen.denoise(noisy[row], sigma[row], conditioning[row], crop_origins[row])
                for row in rows
            ]
        )
        without = frozen.denoise(noisy, sigma, conditioning)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], without[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together[1], without[1], rtol=1e-4, atol=1e-5)


def test_the_gradient_agrees_with_finite_differences_where_sizes_are_given():
    model, clip = small_model("SDXL"), small_text("SDXL")
    made, clean = word(clip), torch.stack(latents(2))
    crop_origins = (CropOrigin(1000, 700, 16, 3), CropOrigin(64, 64))
    captions = ("a photo of my-cat", "a (my-cat:1.3) on a table")
    batch = Batch(clean, clean.flip(0), torch.tensor([300, 500]), captions, None, crop_origins)
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
        live = {key: leaf(rows) for key, rows in made.vectors.items()}
        gradient(frozen, live, [batch], 1.0)
        for key, rows in live.items():
            assert rows.grad is not None
            way = rows.grad / rows.grad.norm()
            with torch.no_grad():
                ends = [
                    batch_loss(frozen, batch, {**live, key: rows + reach * way}).double().mean()
                    for reach in (1e-2, -1e-2)
                ]
            slope = float(ends[0] - ends[1]) / 2e-2
            assert slope == pytest.approx(float(rows.grad.norm()), rel=0.01), key


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_a_distilled_model_is_given_the_guidance_that_is_set(guidance: float):
    model, clip = small_model("Flux"), small_text("Flux")
    made, noisy = word(clip), latents(1, 16)[0][None]
    node: Any = FluxGuidance
    plain = clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    by_node = node.execute(plain, guidance).result[0]
    lent = BorrowSettings(1, guidance=guidance)
    with borrowed(model, clip, made, (16, 8, 8), lent) as frozen:
        (cond,) = frozen.encode(["a my-cat"], made.vectors)
        given = frozen.model_conds(cond, noisy)["guidance"].cond
        theirs = by_the_sampler(frozen.model, by_node, noisy)["guidance"].cond
    assert given.tolist() == theirs.tolist() == [guidance]


def test_chroma_is_given_no_guidance():
    """Its input for one was trained with 0."""
    model, clip = small_model("Chroma"), small_text("Chroma")
    made, noisy = word(clip), latents(1, 16)[0][None]
    with borrowed(model, clip, made, (16, 8, 8), BorrowSettings(1)) as frozen:
        (cond,) = frozen.encode(["a my-cat"], made.vectors)
        assert frozen.model_conds(cond, noisy)["guidance"].cond.tolist() == [0.0]


def gradients(name: str, text: str, notes: list[str]) -> dict[str, Tensor]:
    """What a caption brings to the vectors of each encoder; a trial step says the rest."""
    model, clip = small_model(name), small_text(name)
    made, clean = word(clip), latents(1, CHANNELS[name])
    image = replace(concept(1).images[0], caption=text, caption_settings=CaptionSettings())
    shown = Concept((image,), "captions")
    with borrowed(model, clip, made, clean[0].shape, BorrowSettings(1)) as frozen:
        chosen = settings(1, batch_size=1)
        measured_step(frozen, shown, clean, "my-cat", made.vectors, chosen, notes.append)
        live = {key: leaf(rows) for key, rows in made.vectors.items()}
        gradient(frozen, live, validation_batches(frozen, shown, clean, "my-cat", 1, 1), 1.0)
    return {key: rows.grad for key, rows in live.items() if rows.grad is not None}


CHANNELS = {"SD 1.x": 4, "SDXL": 4, "Flux": 16, "Chroma": 16}
FILLING = "red and blue, " * 25


def test_a_word_behind_the_first_chunk_trains_in_the_encoder_that_reads_it():
    """Flux reads CLIP through the pooled vector of the first 75 tokens alone."""
    notes: list[str] = []
    found = gradients("Flux", f"{FILLING}my-cat", notes)
    assert [
        "clip_l vector 1, 2 of 2 gets no gradient from any caption" in one for one in notes
    ] == [True]
    assert not found["clip_l"].any()
    assert found["t5xxl"].any(-1).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SD 1.x", f"{FILLING}my-cat"),
        ("SDXL", f"{FILLING}my-cat"),
        ("Chroma", f"{FILLING}my-cat"),
        ("Flux", f"my-cat, {FILLING}"),
    ],
)
def test_long_captions_train(name: str, text: str):
    notes: list[str] = []
    found = gradients(name, text, notes)
    assert not notes
    assert all(bool(rows.any(-1).all()) for rows in found.values())


@pytest.mark.parametrize(("name", "keys"), [("SDXL", "clip_g"), ("Flux", "t5xxl")])
def test_an_encoder_that_does_not_learn_reads_the_initializer_in_training_and_applied(
    name: str, keys: str
):
    model, clip = small_model(name), small_text(name)
    made = create_embedding(clip, "my-cat", "cat", 2, keys)
    assert list(made.vectors) == [keys]
    draws = torch.Generator().manual_seed(9)
    moved = made.vectors[keys] + 0.1 * torch.randn(made.vectors[keys].shape, generator=draws)
    learned = replace(made, vectors={keys: moved})
    clip_alone = clip.tokenize("a photo of cat")["l"]
    applied = apply_embedding(clip, learned, 1.0)
    assert applied.tokenize("a photo of my-cat")["l"] == clip_alone
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        trained = frozen.encode(["a photo of my-cat"], learned.vectors)[0]
    cross_attn, more = encoded(applied, "a photo of my-cat")
    assert trained["cross_attn"].equal(cross_attn)
    assert trained["pooled_output"].equal(more["pooled_output"])


def encoded(clip: CLIP, text: str) -> tuple[Tensor, dict[str, Any]]:
    """As CLIPTextEncode does it."""
    ((cross_attn, more),) = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    return cross_attn, more


def test_the_host_leaves_the_word_of_a_file_out_where_an_encoder_has_no_vectors():
    clip, name = small_text("SDXL"), "ti-test-encoders"
    path = Path(folder_paths.get_folder_paths("embeddings")[0]) / name
    try:
        write(path, create_embedding(clip, "my-cat", "cat", 2, "clip_g"), "standard")
        by_name, plain = (
            encoded(clip, text)[0] for text in (f"a photo of embedding:{name}", "a photo of")
        )
    finally:
        path.with_suffix(".safetensors").unlink(missing_ok=True)
    assert by_name[..., :768].equal(plain[..., :768])
    assert not by_name[..., 768:].equal(plain[..., 768:])


def test_all_encoders_that_carry_the_prompt_learn_by_default():
    assert list(create_embedding(small_text("SDXL"), "my-cat", "cat", 1).vectors) == [
        "clip_l",
        "clip_g",
    ]
    assert list(create_embedding(small_text("Flux"), "my-cat", "cat", 1, "").vectors) == [
        "clip_l",
        "t5xxl",
    ]


def test_an_unknown_encoder_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="no text encoder 'llama'; it has clip_l, clip_g"):
        create_embedding(small_text("SDXL"), "my-cat", "cat", 1, "clip_l, llama")
