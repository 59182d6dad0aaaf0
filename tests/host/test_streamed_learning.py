"""Whole runs on models whose weights the host streams: they learn the same, and leave no trace."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import comfy.model_management as memory
import comfy.ops as ops
import pytest
import torch
from small import Loaded, concept, observer, settings, word
from streamed_worlds import PAGE, Card, dynamic, dynamic_vram, partly_loaded
from test_gradients import leaves, loss_and_gradient
from test_learn import differences, sampled, state
from torch import Tensor

from ti_core.host.learn import Learned, Models, learn
from ti_core.host.models import streamed_weights
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.page.preview_images import PreviewSettings
from ti_core.host.page.previews import Previews

WORLDS = {
    "partly loaded": None,
    "evicts at once": Card(evicts=1.0),
    "is small": Card(evicts=0.02, capacity=2 * 2**20),
}


@contextmanager
def world(name: str, loaded: Loaded) -> Iterator[tuple[Loaded, Card | None]]:
    """The models as a world's loader gives them, and the card that they are on."""
    card = WORLDS[name]
    if card is None:
        with partly_loaded():
            yield loaded, None
        memory.unload_all_models()
        return
    with dynamic_vram(card):
        model, clip = dynamic(loaded.model, loaded.clip)
        yield Loaded(model, clip, loaded.vae), card


def marks(loaded: Loaded) -> dict[str, Any]:
    """What must stay as it is: `state`, without what says which weights are on the card."""
    return {
        name: [key for key in value if not key.startswith("_v_")]
        if name.endswith(".attributes")
        else value
        for name, value in state(loaded).items()
        if not name.endswith("._v_signature")
    }


def run(loaded: Loaded, steps: int = 2, **told: Any) -> Learned:
    """A short run, with a preview after each step."""
    made = word(loaded.clip)
    chosen = settings(steps)
    shown = PreviewSettings(every=1, steps=2, width=64, height=64)
    previews = Previews(shown, *loaded, made)
    return learn(Models(*loaded), concept(), made, chosen, observer(**told), previews)


@pytest.fixture(scope="module")
def plainly(loaded: Loaded) -> tuple[Tensor, Tensor]:
    """What is learned, and sampled, where all is loaded."""
    with torch.inference_mode():
        vectors = run(loaded).embedding.vectors["clip_l"]
        return vectors, sampled(loaded.model, loaded.clip)


@pytest.mark.parametrize("name", WORLDS)
def test_a_run_learns_the_same_and_leaves_everything_as_it_was(
    loaded: Loaded, plainly: tuple[Tensor, Tensor], name: str
):
    with world(name, loaded) as (models, card):
        assert sampled(models.model, models.clip).equal(plainly[1])
        models.vae.encode(concept().crops[0][None])  # Loading alone sets the host's own marks.
        before = marks(models)
        assert run(models).embedding.vectors["clip_l"].equal(plainly[0])
        assert differences(before, marks(models)) == []
        assert sampled(models.model, models.clip).equal(plainly[1])
        assert card is None or card.pinned == 0


@contextmanager
def failing(error: BaseException, calls: int) -> Iterator[None]:
    """Let the host fail to lend a weight in the middle of a backward pass, after it has pinned it;
    `calls` is how many weights of backward passes are lent before.
    """
    lend, left = ops.cast_bias_weight, [calls]

    def cast_bias_weight(*given: Any, **options: Any) -> Any:
        found = lend(*given, **options)
        if torch._C._current_graph_task_id() != -1:  # In a backward pass.
            left[0] -= 1
            if left[0] == 0:
                raise error
        return found

    with patch.object(ops, "cast_bias_weight", cast_bias_weight):
        yield


ERRORS = (memory.InterruptProcessingException(), torch.OutOfMemoryError("no memory"))


@pytest.mark.parametrize("error", ERRORS, ids=("interrupt", "out of memory"))
@pytest.mark.parametrize("name", ["partly loaded", "evicts at once", "is small"])
def test_an_error_in_the_middle_of_a_backward_pass_leaves_everything_as_it_was(
    loaded: Loaded,
    plainly: tuple[Tensor, Tensor],
    name: str,
    error: BaseException,
):
    with world(name, loaded) as (models, card):
        sampled(models.model, models.clip)
        before, made = marks(models), word(models.clip)
        lent = BorrowSettings(2)
        with failing(error, 7), pytest.raises(type(error)):
            with borrowed(models.model, models.clip, made, (4, 8, 8), lent) as frozen:
                loss_and_gradient(frozen, leaves(made), 4)
        assert card is None or card.pinned == 0
        assert differences(before, marks(models)) == []
        assert sampled(models.model, models.clip).equal(plainly[1])


@pytest.mark.parametrize("name", ["partly loaded", "is small"])
def test_a_run_goes_on_after_the_memory_was_full_in_a_backward_pass(
    loaded: Loaded, plainly: tuple[Tensor, Tensor], name: str
):
    with world(name, loaded) as (models, card):
        with failing(torch.OutOfMemoryError("no memory"), 7):
            found = run(models)
        assert "There was not enough memory" in found.report
        torch.testing.assert_close(found.embedding.vectors["clip_l"], plainly[0])
        assert card is None or card.pinned == 0


def test_the_report_says_what_was_streamed(loaded: Loaded):
    """Two samples in one call, three passes over what is not there, two with all kept."""
    with dynamic_vram(Card(evicts=1.0)):
        models = Loaded(*dynamic(loaded.model, loaded.clip), loaded.vae)
        found = run(models, 1)
    said = re.search(r"a step copies ([\d.]+) GiB", found.report)
    assert said is not None
    managed = [m for part in parts_of(models) for m in part.modules() if hasattr(m, "_v")]
    once = sum(module.weight.nbytes for module in managed) / 2**30
    assert once < float(said[1]) < 2.5 * once
    assert "Not all weights stay" not in run(loaded, 1).report


def parts_of(loaded: Loaded) -> tuple[Any, Any]:
    """The diffusion model and the text encoders."""
    return loaded.model.model, loaded.clip.cond_stage_model


@pytest.mark.parametrize("name", ["partly loaded", "evicts at once"])
def test_a_wrong_gradient_through_streamed_weights_ends_before_the_first_step(
    loaded: Loaded, name: str, monkeypatch: pytest.MonkeyPatch
):
    right = streamed_weights.linear_backward
    monkeypatch.setattr(streamed_weights, "linear_backward", lambda *given: 1.1 * right(*given))
    seen: list[int] = []
    with world(name, loaded) as (models, _):
        with pytest.raises(RuntimeError, match=r"input_blocks\.1\.1 \(SpatialTransformer\)"):
            run(models, on_step=lambda state: seen.append(state.step))
    assert seen == []


def bytes_of_tensors(card: Card | None) -> int:
    """Of all tensors that are alive, each memory once, and those on the card apart from these."""
    gc.collect()
    kinds = (Tensor, torch.nn.Parameter)
    found = [one for one in gc.get_objects() if type(one) in kinds and one.layout is torch.strided]
    places = {s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in found)}
    own = card.spans() if card else []
    return sum(size for at, size in places.items() if not any(at in span for span in own))


@pytest.mark.parametrize("name", WORLDS)
def test_weights_are_there_once(loaded: Loaded, name: str):
    with world(name, loaded) as (models, card):
        memory.load_models_gpu([models.model, models.clip.patcher])
        before, made = bytes_of_tensors(card), word(models.clip)
        with borrowed(models.model, models.clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
            loss_and_gradient(frozen, leaves(made), 4)
            assert bytes_of_tensors(card) - before < 2**20
            assert card is None or card.resident * PAGE <= min(card.capacity, size_of(models))


def size_of(loaded: Loaded) -> int:
    """Bytes of MODEL and CLIP, with the rest of a page for each."""
    return loaded.model.model_size() + loaded.clip.patcher.model_size() + 2 * PAGE


def kept_bytes(loaded: Loaded) -> int:
    """What autograd keeps between forward and backward of one batch, each memory once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    made, lent = word(loaded.clip), BorrowSettings(2, checkpointing="off")
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), lent) as frozen:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss_and_gradient(frozen, leaves(made), 4)
    return sum(kept.values())


def test_no_streamed_weight_is_kept_for_the_backward_pass(loaded: Loaded):
    whole = kept_bytes(loaded)
    network = sum(one.nbytes for one in loaded.model.model.parameters())
    copies = sum(4 * one.numel() for one in encoder_layers(loaded))
    assert whole < network + copies  # No copies of CLIP's weights in fp32.
    for name in ("partly loaded", "is small"):
        with world(name, loaded) as (models, _):
            assert kept_bytes(models) < whole - 0.9 * network


def encoder_layers(loaded: Loaded) -> list[Tensor]:
    """The weights of CLIP's layers."""
    return list(loaded.clip.cond_stage_model.clip_l.transformer.text_model.encoder.parameters())
