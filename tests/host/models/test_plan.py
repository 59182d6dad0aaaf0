"""What training is planned to take of a device is what it takes, and what the host is asked for."""

from typing import Any

import activations as counting
import comfy.model_management as memory
import pytest
import torch
from comfy.model_management import LoadedModel
from small import Loaded, word
from test_gradients import leaves, loss_and_gradient

from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.memory import (
    Activations,
    Plan,
    Weights,
    activations,
    needed,
    planned,
    text_activations,
)

GIB = 2**30
SDXL = Weights(int(4.78 * GIB), int(1.52 * GIB))


def sdxl(side: int) -> Activations:
    """Of one image, fp16."""
    return activations("SDXL", 0.8, 1, (4, side // 8, side // 8), 2)


def test_a_large_card_holds_all_and_computes_nothing_twice():
    plan = planned(SDXL, sdxl(1024), 20 * GIB, None)
    assert plan == Plan(False, sdxl(1024).full, sum(SDXL), 0)
    assert plan.traffic == 0


def test_blocks_run_again_before_weights_are_streamed():
    plan = planned(SDXL, sdxl(1024), 8 * GIB, None)
    assert plan.checkpointing
    assert plan.streamed == 0
    assert plan.peak <= 8 * GIB


def test_what_does_not_fit_is_copied_in_every_pass():
    plan = planned(SDXL, sdxl(1024), 5 * GIB, None)
    assert plan.resident + plan.streamed == sum(SDXL)
    assert plan.peak == 5 * GIB
    assert plan.traffic == 3 * plan.streamed
    kept = planned(SDXL, sdxl(768), 5 * GIB, False)
    assert kept.traffic == 2 * kept.streamed > plan.streamed


@pytest.mark.parametrize(
    ("card", "kind", "factor", "side", "weights"),
    [
        (4, "SDXL", 0.8, 1024, SDXL),
        (2.5, "BaseModel", 1.0, 512, Weights(int(1.6 * GIB), int(0.23 * GIB))),
        (8, "Flux", 3.1, 1024, Weights(int(22.2 * GIB), int(9.1 * GIB))),
    ],
)
def test_small_cards_suffice(card: float, kind: str, factor: float, side: int, weights: Weights):
    """With CUDA's own memory and the host's reserve, which are a GiB together."""
    room = int((card - 1) * GIB)
    plan = planned(weights, activations(kind, factor, 1, (4, side // 8, side // 8), 2), room, None)
    assert plan.peak <= room


@pytest.mark.parametrize("name", ["SD 1.5 512", "SD 3 1024", "Z-Image 1024"])
def test_the_rates_are_what_real_size_networks_take(name: str, monkeypatch: pytest.MonkeyPatch):
    """Counted on the meta device."""
    monkeypatch.setattr(memory, "in_training", True)
    monkeypatch.setattr(torch.autograd.graph, "_get_sid", counting.memory_of)
    tid = lambda tensor: (id(tensor), *counting.memory_of(tensor))  # noqa: E731
    monkeypatch.setattr(torch.autograd.graph, "_get_tid", tid)
    subject = next(one for one in counting.SUBJECTS if one.name == name)
    with torch.inference_mode(False), torch.enable_grad():
        network = counting.network_of(subject)
        expected = counting.estimate(subject)
        assert counting.counted(subject, network, True)[1] == pytest.approx(expected.lean, rel=0.1)
        if expected.full != expected.lean:
            found = counting.counted(subject, network, False)[1]
            assert found == pytest.approx(expected.full, rel=0.1)


def test_a_caption_keeps_what_is_estimated(demo_models: Loaded):
    """Through the real CLIP-L of twelve layers."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model, clip, _ = demo_models
    made, lent = word(clip), BorrowSettings(1, checkpointing="off")
    with borrowed(model, clip, made, (4, 8, 8), lent) as frozen:
        with frozen.differentiable():
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                frozen.encode(["a my-cat"], leaves(made))
    assert sum(kept.values()) == pytest.approx(text_activations(clip), rel=0.3)


@pytest.fixture()
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each call of the host's loader gives a model for its weights, on a device of its own
    with room for both models and half of the diffusion model's activations.
    """
    given: list[Any] = []
    loads = LoadedModel.model_load

    def model_load(self: Any, room: float = 0, **options: Any) -> Any:
        given.append((self.model.model_size(), room))
        return loads(self, 0)

    monkeypatch.setattr(LoadedModel, "model_load", model_load)
    monkeypatch.setattr(memory, "vram_state", memory.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(memory, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(memory, "MIN_WEIGHT_MEMORY_RATIO", 0.0)
    monkeypatch.setattr(memory, "EXTRA_RESERVED_VRAM", 0)
    monkeypatch.setattr(memory, "minimum_inference_memory", lambda: 0)
    return given


def test_the_host_keeps_the_room_free_that_a_step_needs(
    loaded: Loaded, asked: list[Any], monkeypatch: pytest.MonkeyPatch
):
    """And what is left for weights goes to the diffusion model first."""
    memory.unload_all_models()
    network, encoders = loaded.model.model_size(), loaded.clip.patcher.model_size()
    took = needed(loaded.model, loaded.clip, 1, (4, 8, 8))
    free = network + encoders // 2 + took.lean
    monkeypatch.setattr(memory, "get_free_memory", lambda device, **_: free - held())

    def held() -> int:
        return sum(one.model_loaded_memory() for one in memory.current_loaded_models)

    lent = BorrowSettings(1, checkpointing="on")
    with borrowed(loaded.model, loaded.clip, word(loaded.clip), (4, 8, 8), lent) as frozen:
        assert frozen.plan.streamed == pytest.approx(encoders / 2, rel=0.01)
    (first, first_room), (second, second_room) = asked[:2]
    assert (first, second) == (network, encoders)
    assert first_room >= network
    assert second_room == pytest.approx(encoders / 2, rel=0.01)


def test_a_step_that_took_less_gives_the_rest_to_the_weights(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
):
    made = word(loaded.clip)
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        loads: list[int] = []
        load = frozen.load
        monkeypatch.setattr(frozen, "load", lambda room: (loads.append(room), load(room)))
        held = loaded.model.loaded_size() + loaded.clip.patcher.loaded_size()
        planned_for = frozen.plan.activations
        frozen.settle(held + planned_for // 2)
        assert loads == []  # Nothing is streamed.
        frozen.streamed.bytes = 1
        frozen.settle(held + int(0.9 * planned_for))
        assert loads == []
        frozen.settle(held + planned_for // 2)
        assert loads == [frozen.plan.activations]
        assert loads[0] == pytest.approx(0.55 * planned_for, rel=0.01)
        loss_and_gradient(frozen, leaves(made), 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_a_step_on_a_card_stays_within_its_plan(demo_models: Loaded, checkpointing: Any):
    model, clip, _ = demo_models
    made, lent = word(clip), BorrowSettings(2, checkpointing=checkpointing)
    with borrowed(model, clip, made, (4, 8, 8), lent) as frozen:
        loss_and_gradient(frozen, leaves(made), 4)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss_and_gradient(frozen, leaves(made), 4)
        assert torch.cuda.max_memory_allocated() - before <= frozen.plan.activations + 2**27
