"""How the host's models are lent: dynamic VRAM's delegate, partial loading, hooks, memory."""

from pathlib import Path
from typing import Any

import comfy.hooks
import pytest
import torch
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from comfy.sd import CLIP
from small import Loaded, concept, load_checkpoint, settings, small_sdxl, word

from ti_core.host.learn import LearnSettings, Models, learn
from ti_core.host.models import borrow
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.gradients import weights
from ti_core.host.models.memory import check_loaded, memory_estimate


class Dynamic(ModelPatcher):
    """A patcher that says of itself what dynamic VRAM's says, and has its real delegate; without an
    NVIDIA GPU the host gives no real one.
    """

    non_dynamic_delegate_model = None
    get_non_dynamic_delegate = ModelPatcherDynamic.get_non_dynamic_delegate

    def is_dynamic(self) -> bool:
        return True


def dynamic(loaded: Loaded) -> tuple[ModelPatcher, CLIP]:
    """MODEL and CLIP as dynamic VRAM would hand them over."""
    model, clip = loaded.model.clone(), loaded.clip.clone()
    model.__class__ = clip.patcher.__class__ = Dynamic
    return model, clip


@pytest.mark.slow
def test_dynamic_vram_trains_on_delegates_and_learns_the_same(checkpoint_file: Path):
    loaded = load_checkpoint(checkpoint_file, torch.float32)
    lent, made = BorrowSettings(2), word(loaded.clip)
    chosen = LearnSettings(settings(2), lent)
    plain = learn(Models(*loaded), concept(), made, chosen)
    model, clip = dynamic(loaded)
    own = [tensor for *_, tensor in weights([model.model, clip.cond_stage_model])]
    with borrowed(model, clip, made, (4, 8, 8), lent) as frozen:
        used = weights([frozen.model, frozen.clip.cond_stage_model])
        assert not {id(tensor) for *_, tensor in used} & {id(tensor) for tensor in own}
        assert frozen.clip.patcher.model is frozen.clip.cond_stage_model
    through = learn(Models(model, clip, loaded.vae), concept(), made, chosen)
    assert through.embedding.vectors["clip_l"].equal(plain.embedding.vectors["clip_l"])


def test_a_model_without_a_delegate_is_an_error_with_the_remedy(loaded: Loaded):
    model, clip = dynamic(loaded)
    model.cached_patcher_init = None
    with pytest.raises(RuntimeError, match="--disable-dynamic-vram"):
        with borrowed(model, clip, word(clip), (4, 8, 8), BorrowSettings(1)):
            pass


def test_a_partly_loaded_model_is_refused(checkpoint_file: Path):
    """A real partial load, as --lowvram makes it."""
    model = load_checkpoint(checkpoint_file, torch.float32).model
    model.patch_model(model.load_device, lowvram_model_memory=2**20)
    with pytest.raises(RuntimeError, match="Only a part of BaseModel fits"):
        check_loaded(model)


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
    monkeypatch.setattr(borrow, "free_memory", lambda device: free)
    lent = BorrowSettings(1, checkpointing=choice)
    with borrowed(loaded.model, loaded.clip, word(loaded.clip), (4, 8, 8), lent) as frozen:
        assert frozen.checkpointed == expected


def test_weights_that_are_cast_are_checkpointed(checkpoint_file: Path):
    loaded = load_checkpoint(checkpoint_file, torch.bfloat16)
    made = word(loaded.clip)
    for precision, expected in (("fp32", True), ("auto", False)):
        lent = BorrowSettings(1, precision)  # type: ignore[arg-type]
        with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), lent) as frozen:
            assert frozen.checkpointed == expected


def test_the_memory_estimate_grows_with_rows_area_and_precision(demo_models: Loaded):
    def estimate(rows: int, side: int) -> int:
        return memory_estimate(demo_models.model, demo_models.clip, rows, (4, side, side))

    encoder = estimate(0, 64)
    assert encoder > 300 * 2**20  # The fp32 copies of CLIP-L's fp16 layers.
    assert estimate(1, 64) - encoder == pytest.approx(1.6 * 2**30, rel=0.05)
    assert estimate(4, 64) - encoder == pytest.approx(4 * (estimate(1, 64) - encoder), rel=1e-6)
    assert estimate(1, 128) - encoder == pytest.approx(4 * (estimate(1, 64) - encoder), rel=1e-6)


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
