"""How the host's models are lent: hooks, memory."""

from typing import Any

import comfy.hooks
import comfy.supported_models as families
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from small import Loaded, concept, settings, small_sdxl, word
from small_families import FAMILIES
from small_models import SDXL_UNET, SMALL_UNET, patcher

from ti_core.host.learn import Models, learn
from ti_core.host.models import memory
from ti_core.host.models.borrow import BorrowSettings, borrowed, check_kind
from ti_core.host.models.memory import Activations, needed


def test_a_clip_with_hooks_is_refused(loaded: Loaded):
    clip = loaded.clip.clone()
    clip.__dict__["apply_hooks_to_conds"] = comfy.hooks.HookGroup()
    with pytest.raises(ValueError, match="carries hooks"):
        with borrowed(loaded.model, clip, word(clip), (4, 8, 8), BorrowSettings(1)):
            pass


@pytest.mark.parametrize(
    ("choice", "free", "expected"), [("auto", 10**15, False), ("auto", 1, True)]
)
def test_checkpointing_is_chosen_when_the_memory_would_not_suffice(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, choice: Any, free: int, expected: bool
):
    monkeypatch.setattr(memory, "budget", lambda model: free)
    lent = BorrowSettings(1, checkpointing=choice)
    with borrowed(loaded.model, loaded.clip, word(loaded.clip), (4, 8, 8), lent) as frozen:
        assert frozen.checkpointed == expected


def test_the_estimate_grows_with_rows_area_and_precision(demo_models: Loaded):
    def estimate(rows: int, side: int) -> Activations:
        return needed(demo_models.model, demo_models.clip, rows, (4, side, side))

    assert estimate(1, 64).full > 3 * estimate(1, 64).lean
    assert estimate(4, 64).full == pytest.approx(4 * estimate(1, 64).full, rel=1e-6)
    assert estimate(1, 128).lean > 3 * estimate(1, 64).lean
    halves = demo_models.model.clone()
    halves.set_model_compute_dtype(torch.bfloat16)
    assert needed(halves, demo_models.clip, 1, (4, 64, 64)).full < 0.6 * estimate(1, 64).full


def test_an_unknown_kind_of_prediction_is_refused_by_name():
    model, clip = small_sdxl()

    class Sampling(type(model.model.model_sampling)):  # type: ignore[misc]
        def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
            return model_output

    sampling = Sampling()
    model.add_object_patch("model_sampling", sampling)
    with pytest.raises(ValueError, match="cannot be trained yet"):
        with borrowed(model, clip, word(clip), (4, 8, 8), BorrowSettings(1)):
            pass


@pytest.mark.parametrize("kind", ["lcm", "x0", "img_to_img", "img_to_img_flow"])
def test_a_sampling_that_has_no_objective_is_refused_with_the_remedy(loaded: Loaded, kind: str):
    (model,) = ModelSamplingDiscrete().patch(loaded.model, kind, False)
    with pytest.raises(ValueError, match=f"set to {kind} sampling.* Take ModelSamplingDiscrete"):
        check_kind(model)


REFINER = {**SDXL_UNET, "context_dim": 1280, "adm_in_channels": 2560}
WAN_I2V = {**FAMILIES["Wan"].layout, "model_type": "i2v"}


@pytest.mark.parametrize(
    ("family", "why"),
    [
        (families.SDXLRefiner(REFINER), "SDXL refiner.* base checkpoint"),
        (families.WAN21_I2V(WAN_I2V), "makes a film from an image.* text-to-video"),
    ],
)
def test_what_no_word_is_learned_on_is_refused_with_the_remedy(family: Any, why: str):
    with pytest.raises(ValueError, match=why):
        check_kind(patcher(family, {}))


def test_a_model_that_edits_an_image_learns_without_and_the_report_says_so(loaded: Loaded):
    layout = {**SMALL_UNET, "in_channels": 8, "context_dim": 768}
    model = patcher(families.SD15_instructpix2pix(layout), {})
    given = Models(model, loaded.clip, loaded.vae)
    chosen = settings(1)
    report = learn(given, concept(1), word(loaded.clip), chosen).report
    assert "Training passes an empty one" in report
