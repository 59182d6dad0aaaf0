"""The gradient through weights that the host streams is the gradient through loaded ones."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import comfy.model_management as memory
import comfy.model_prefetch as prefetch
import comfy.ops as ops
import comfy.supported_models as families
import pytest
import torch
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
from comfy.sd import CLIP
from comfy.text_encoders.sd3_clip import SD3Tokenizer, sd3_clip
from comfy.weight_adapter.bypass import BypassInjectionManager
from comfy.weight_adapter.lora import LoRAAdapter
from small import small_sd1, small_sdxl, word
from small_families import WIDTH, small_model, small_text
from small_models import SMALL_FLUX, SMALL_SD3, SMALL_UNET, SMALL_ZIMAGE, patcher, text_encoders
from streamed_worlds import CARD, Card, dynamic, dynamic_vram, partly_loaded
from test_gradients import batch, leaves, loss_and_gradient
from tiny_checkpoint import randomized
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ti_core.host.models import host_model, streamed_weights
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.gradients import differentiable, replacing_forwards
from ti_core.host.models.streamed_weights import private_casts, streaming_forwards, with_streaming
from ti_core.training.batches import batch_loss

Pair = tuple[ModelPatcher, CLIP]
Gradient = tuple[float, dict[str, Tensor]]


def sd3() -> Pair:
    """Without T5, as people run it on small cards."""
    model = patcher(families.SD3(dict(SMALL_SD3)), {})
    model.model.diffusion_model.pos_embed.zero_()
    target: Any = families.supported_models_base.ClipTarget(SD3Tokenizer, sd3_clip(t5=False))
    return model, text_encoders(target)


def flux() -> Pair:
    layout = {**SMALL_FLUX, "context_in_dim": WIDTH}
    return patcher(families.Flux(layout), {}), small_text("Flux")


def zimage() -> Pair:
    layout = {**SMALL_ZIMAGE, "cap_feat_dim": WIDTH}
    return patcher(families.ZImage(layout), {}), small_text("Z-Image")


FAMILIES: dict[str, tuple[Callable[[], Pair], int]] = {
    "SD 1": (lambda: small_sd1()[:2], 4),
    "SDXL": (small_sdxl, 4),
    "SD 3": (sd3, 16),
    "Flux": (flux, 16),
    "Z-Image": (zimage, 16),
    "Lumina 2": (lambda: (small_model("Lumina 2"), small_text("Lumina 2")), 16),
}
WORLDS = {
    "evicts at once": Card(evicts=1.0),
    "evicts at random": Card(evicts=0.3),
    "is small": Card(evicts=0.02, capacity=2 * 2**20),
    "takes nothing": Card(capacity=0, streams=0),
}
EVERYWHERE = [(family, "evicts at once") for family in FAMILIES]
EVERYWHERE += [("SD 1", world) for world in list(WORLDS)[1:]]


@functools.cache
def models(family: str) -> Pair:
    """A small MODEL and CLIP of a family, once."""
    with torch.inference_mode():
        return FAMILIES[family][0]()


def gradient(pair: Pair, channels: int = 4, checkpointing: Any = "off") -> Gradient:
    """Loss and gradient of one batch, computed in fp32."""
    model, clip = pair
    made, lent = word(clip), BorrowSettings(2, "fp32", checkpointing)
    with borrowed(model, clip, made, (channels, 8, 8), lent) as frozen:
        vectors = leaves(made)
        loss = loss_and_gradient(frozen, vectors, channels)
    return loss, {key: rows.grad for key, rows in vectors.items() if rows.grad is not None}


@functools.cache
def whole(family: str, checkpointing: str) -> Gradient:
    """With all weights loaded."""
    with torch.inference_mode():
        return gradient(models(family), FAMILIES[family][1], checkpointing)


def check_same(found: Gradient, expected: Gradient, tolerance: float = 0.0) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance, abs=0)
    assert found[1].keys() == expected[1].keys()
    for key, rows in found[1].items():
        wanted = expected[1][key]
        assert bool(wanted.any())
        assert (rows - wanted).norm() <= tolerance * wanted.norm(), key


@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize("family", FAMILIES)
def test_partly_loaded_models_give_the_same_gradient(family: str, checkpointing: str):
    for share in (0.0, 0.5) if checkpointing == "off" else (0.0,):
        with partly_loaded(share):
            found = gradient(models(family), FAMILIES[family][1], checkpointing)
        check_same(found, whole(family, checkpointing))


@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize(("family", "world"), EVERYWHERE)
def test_dynamic_vram_gives_the_same_gradient(family: str, world: str, checkpointing: str):
    expected = whole(family, checkpointing)
    with dynamic_vram(WORLDS[world]) as card:
        found = gradient(dynamic(*models(family)), FAMILIES[family][1], checkpointing)
        assert card.pinned == 0
    check_same(found, expected)


@pytest.fixture()
def aliases_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pack did before it fetched weights again."""
    monkeypatch.setattr(host_model, "streaming_forwards", lambda root: ())
    monkeypatch.setattr(host_model, "private_casts", nullcontext)


@pytest.mark.usefixtures("aliases_only")
@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_the_worlds_spoil_a_gradient_that_keeps_what_was_lent(checkpointing: str):
    expected = whole("SD 1", "off")
    with partly_loaded():
        partly = gradient(models("SD 1"), 4, checkpointing)
    with dynamic_vram(Card(evicts=1.0)):
        moved = gradient(dynamic(*models("SD 1")), 4, checkpointing)
    for loss, found in (partly, moved):
        assert loss == expected[0]  # Nothing but the gradient tells.
        assert not found["clip_l"].isfinite().all()


def with_lora() -> Pair:
    """An SD 1.x with a LoRA on every linear of both, stored in fp32: the host rounds what it loads
    to the dtype that it is stored in, and not what it streams.
    """
    model, clip = FAMILIES["SD 1"][0]()
    clip.cond_stage_model.float()
    for part in (model, clip.patcher):
        draws = torch.Generator().manual_seed(8)
        found = {
            f"{name}.weight": LoRAAdapter(set(), lora(module, draws))
            for name, module in part.model.named_modules()
            if isinstance(module, nn.Linear)
        }
        part.add_patches(found, 0.7)
    return model, clip


def lora(module: Any, draws: torch.Generator) -> tuple[Any, ...]:
    """The weights of a LoRA of rank 2, as the host's adapter takes them."""
    shape = module.weight.shape
    up, down = (torch.randn(size, generator=draws) / 8 for size in ((shape[0], 2), (2, shape[1])))
    return up, down, 2.0, None, None, None


def everywhere(pair: Pair, expected: Gradient, tolerance: float = 0.0) -> None:
    """Check the gradient under partial loading and under dynamic VRAM."""
    with partly_loaded():
        check_same(gradient(pair), expected, tolerance)
    with dynamic_vram(Card(evicts=0.5)) as card:
        check_same(gradient(dynamic(*pair)), expected, tolerance)
        assert card.pinned == 0


def test_a_lora_in_force_takes_part():
    """The host adds it to each weight as it hands it out."""
    pair = with_lora()
    expected = gradient(pair)
    assert expected[0] != whole("SD 1", "off")[0]
    everywhere(pair, expected)


def with_bypass(model: ModelPatcher) -> ModelPatcher:
    """With a LoRA that the host computes beside every linear."""
    model, manager = model.clone(), BypassInjectionManager()
    draws = torch.Generator().manual_seed(8)
    for name, module in model.model.named_modules():
        if isinstance(module, nn.Linear):
            manager.add_adapter(name, LoRAAdapter(set(), lora(module, draws)))
    model.set_injections("bypass_lora", manager.create_injections(model.model))
    return model


def test_a_lora_beside_the_weights_takes_part():
    """The host's bypass injects another forward into each module."""
    model, clip = models("SD 1")
    model = with_bypass(model)
    expected = gradient((model, clip))
    assert expected[0] != whole("SD 1", "off")[0]
    with partly_loaded():
        check_same(gradient((model, clip)), expected, 1e-6)


def stored(
    state: dict[str, Tensor],
    dtype: torch.dtype,
    operations: Any = None,
    cast: torch.dtype | None = torch.float32,
) -> ModelPatcher:
    """An SD 1.x with weights of a state, stored in a dtype; the host computes in `cast`, None for
    the dtype that it is stored in.
    """
    family: Any = families.SD15({**SMALL_UNET, "context_dim": 768, "dtype": dtype})
    family.set_inference_dtype(dtype, None if dtype == cast else cast)
    family.custom_operations = operations
    model = family.get_model({}, "")
    model.diffusion_model.load_state_dict(state, strict=False)
    like, _ = models("SD 1")
    return ModelPatcher(model, like.load_device, like.offload_device)


def rounded(change: Callable[[Tensor], Tensor], linears: bool = False) -> ModelPatcher:
    """An SD 1.x, all loaded in fp32, whose weights a change has rounded."""
    network = models("SD 1")[0].model.diffusion_model
    chosen = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    state = {
        key: change(value) if key in chosen or not linears else value
        for key, value in network.state_dict().items()
    }
    return stored(state, torch.float32)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16], ids=str
)
def test_weights_stored_in_fewer_bits_give_the_gradient_of_what_they_stand_for(dtype: Any):
    clip = models("SD 1")[1]
    expected = gradient((rounded(lambda weight: weight.to(dtype).float()), clip))
    model = stored(models("SD 1")[0].model.diffusion_model.state_dict(), dtype)
    check_same(gradient((model, clip)), expected, 1e-6)
    everywhere((model, clip), expected, 1e-6)


def test_another_precision_than_the_hosts_is_computed_in_wherever_the_weights_lie():
    clip = models("SD 1")[1]
    expected = gradient((rounded(lambda weight: weight.bfloat16().float()), clip))
    state = models("SD 1")[0].model.diffusion_model.state_dict()
    model = stored(state, torch.bfloat16, cast=None)
    assert model.model.get_dtype_inference() == torch.bfloat16
    check_same(gradient((model, clip)), expected, 1e-6)
    everywhere((model, clip), expected, 1e-6)
    assert model.model.get_dtype_inference() == torch.bfloat16


def quantized(layout: str, full_precision: bool) -> ModelPatcher:
    """An SD 1.x whose linears hold QuantizedTensors, as files of the host's formats bring them."""
    made = ops.mixed_precision_ops({}, torch.float32, full_precision_mm=full_precision)
    plain = models("SD 1")[0].model.diffusion_model
    model = stored(plain.state_dict(), torch.float32, made)
    modules: dict[str, Any] = dict(model.model.diffusion_model.named_modules())
    for name, module in modules.items():
        if type(module).__qualname__ == made.Linear.__qualname__:
            weight = plain.get_submodule(name).weight.detach()
            module.quant_format, module.layout_type = (
                layout,
                QUANT_ALGOS[layout]["comfy_tensor_layout"],
            )
            held: Any = QuantizedTensor.from_float(weight, module.layout_type, scale="recalculate")
            module.weight = nn.Parameter(held, requires_grad=False)
    return model


def dequantized(layout: str) -> ModelPatcher:
    """The same in plain numbers."""
    kind = QUANT_ALGOS[layout]["comfy_tensor_layout"]
    return rounded(
        lambda weight: QuantizedTensor.from_float(weight, kind, scale="recalculate").dequantize(),
        linears=True,
    )


@pytest.mark.parametrize("layout", ["float8_e4m3fn", "nvfp4"])
def test_quantized_weights_give_the_gradient_of_what_they_stand_for(layout: str):
    clip = models("SD 1")[1]
    expected = gradient((dequantized(layout), clip))
    pair = quantized(layout, full_precision=True), clip
    check_same(gradient(pair), expected, 1e-6)
    with partly_loaded():
        check_same(gradient(pair), expected, 1e-6)


@pytest.mark.parametrize("layout", ["float8_e4m3fn", "int8_tensorwise"])
def test_fast_kernels_of_quantized_weights_train(layout: str):
    """They round what goes through them, so that the gradient is near the dequantized one's only;
    it is the same wherever the weights lie.
    """
    clip = models("SD 1")[1]
    pair = quantized(layout, full_precision=False), clip
    found = gradient(pair)
    _, exact = gradient((dequantized(layout), clip))
    assert torch.cosine_similarity(found[1]["clip_l"], exact["clip_l"]).min() > 0.99
    everywhere(pair, found)


def test_the_fast_linear_for_fp8_trains_and_leaves_its_input_alone():
    """The host clamps the input in place, which autograd would not notice (core fp8_linear)."""
    clip = models("SD 1")[1]
    exact = gradient((rounded(lambda weight: weight.to(torch.float8_e4m3fn).float()), clip))
    state = models("SD 1")[0].model.diffusion_model.state_dict()
    pair = stored(state, torch.float8_e4m3fn, ops.fp8_ops), clip
    found = gradient(pair)
    assert found[0] != exact[0]  # What goes through is rounded to fp8.
    assert torch.cosine_similarity(found[1]["clip_l"], exact[1]["clip_l"]).min() > 0.99
    everywhere(pair, found)
    layer: Any = ops.fp8_ops.Linear(16, 16, dtype=torch.float8_e4m3fn)
    layer.weight = nn.Parameter(torch.ones(16, 16).to(torch.float8_e4m3fn), requires_grad=False)
    layer.bias = nn.Parameter(torch.zeros(16), requires_grad=False)
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.full((2, 16), 500.0).requires_grad_()
        with_streaming(layer, layer.forward)(x).sum().backward()
    assert x.eq(500.0).all()
    assert x.grad is not None and x.grad.eq(16.0).all()


class OwnFormat(ops.manual_cast):
    """The operations of a loader with a format of its own, like GGUF's."""

    class Linear(ops.manual_cast.Linear):
        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            scale = torch.tensor(1.5, dtype=input.dtype)
            weight, bias, lent = ops.cast_bias_weight(self, input, offloadable=True)
            out = nn.functional.linear(input, scale * weight, bias)
            ops.uncast_bias_weight(self, weight, bias, lent)
            return out


def test_operations_of_other_loaders_train_without_keeping_their_weights():
    clip = models("SD 1")[1]
    expected = gradient((rounded(lambda weight: 1.5 * weight, linears=True), clip))
    state = models("SD 1")[0].model.diffusion_model.state_dict()
    pair = stored(state, torch.float32, OwnFormat), clip
    check_same(gradient(pair), expected, 1e-6)
    everywhere(pair, expected, 1e-6)


def kept_copies(pair: Pair) -> list[Tensor]:
    """What autograd keeps of a forward pass and has the shape of a linear's weight, either way
    round, but is none.
    """
    modules = (pair[0].model, pair[1].cond_stage_model)
    weights = [m.weight for one in modules for m in one.modules() if isinstance(m, nn.Linear)]
    shapes = {shape for one in weights for shape in (tuple(one.shape), tuple(one.shape)[::-1])}
    owned = {weight.untyped_storage().data_ptr() for weight in weights}
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape) in shapes and tensor.untyped_storage().data_ptr() not in owned:
            found.append(tensor)
        return tensor

    made = word(pair[1])
    with borrowed(*pair, made, (4, 8, 8), BorrowSettings(2, "fp32", "off")) as frozen:
        with frozen.differentiable(), saved_tensors_hooks(keep, lambda tensor: tensor):
            batch_loss(frozen, batch(frozen), leaves(made))
    return found


@pytest.mark.parametrize("kind", ["fp16 text encoder", "fp8", "own format"])
def test_no_copy_of_a_weight_in_another_storage_is_kept_for_the_backward_pass(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Without recomputation, which would keep none of anything; and it stays as it is stored."""
    monkeypatch.setattr(streamed_weights, "SMALL", 0)  # All weights of this model are small.
    model, clip = FAMILIES["SD 1"][0]() if kind == "fp16 text encoder" else models("SD 1")
    state = model.model.diffusion_model.state_dict()
    if kind == "fp16 text encoder":
        clip.cond_stage_model.half()
    elif kind == "fp8":
        model = stored(state, torch.float8_e4m3fn)
    else:
        model = stored(state, torch.float32, OwnFormat)
    before = [one.dtype for one in clip.cond_stage_model.parameters()]
    assert not kept_copies((model, clip))
    assert [one.dtype for one in clip.cond_stage_model.parameters()] == before


def test_a_file_of_another_dtype_than_the_model_trains_under_dynamic_vram():
    """The host casts as it copies, into room that it has measured for the model's dtype."""
    clip = models("SD 1")[1]
    expected = gradient((rounded(lambda weight: weight.bfloat16().float()), clip))
    model = stored(models("SD 1")[0].model.diffusion_model.state_dict(), torch.float32)
    for module in model.model.diffusion_model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(value.bfloat16(), requires_grad=False))
    with dynamic_vram(Card(evicts=0.5)):
        check_same(gradient(dynamic(model, clip)), expected, 1e-6)


@pytest.mark.parametrize("kind", ["fp8 stored", "fp8 fast", "int8 fast", "bypass", "own format"])
def test_the_check_before_the_first_step_lets_right_gradients_pass(kind: str):
    """Of what rounds on its way, and of what is not known."""
    model, clip = models("SD 1")
    state = model.model.diffusion_model.state_dict()
    made: dict[str, Callable[[], ModelPatcher]] = {
        "fp8 stored": lambda: stored(state, torch.float8_e4m3fn),
        "fp8 fast": lambda: stored(state, torch.float8_e4m3fn, ops.fp8_ops),
        "int8 fast": lambda: quantized("int8_tensorwise", full_precision=False),
        "bypass": lambda: with_bypass(model),
        "own format": lambda: stored(state, torch.float32, OwnFormat),
    }
    with partly_loaded():
        with borrowed(made[kind](), clip, word(clip), (4, 8, 8), BorrowSettings(2)) as frozen:
            frozen.watch_streaming()
            loss_and_gradient(frozen, leaves(word(clip)), 4)
            frozen.check_streaming()


class Prefetched(nn.Module):
    """Blocks that are fetched ahead, as the host does it in video models (core ldm/lightricks)."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ops.manual_cast.Linear(128, 128) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        queue = prefetch.make_prefetch_queue(
            list(self.blocks), CARD, {"prefetch_dynamic_vbars": True}
        )
        for block in self.blocks:
            prefetch.prefetch_queue_pop(queue, CARD, block)
            x = block(x).tanh()
        prefetch.prefetch_queue_pop(queue, CARD, None)
        return x


def test_blocks_that_the_host_fetches_ahead_train(monkeypatch: pytest.MonkeyPatch):
    network = Prefetched()
    randomized(network, torch.Generator().manual_seed(0))
    monkeypatch.setattr(memory, "NUM_STREAMS", 2)
    found = []
    with dynamic_vram(Card(evicts=1.0)) as card:
        for plain in (True, False):
            if not plain:
                patcher = ModelPatcherDynamic(network, CARD, torch.device("cpu"))
                memory.load_models_gpu([patcher])
                assert all(hasattr(block, "_v") for block in network.blocks)
            with torch.inference_mode(False), torch.enable_grad():
                x = torch.linspace(-1, 1, 256).view(2, 128).requires_grad_()
                lent = differentiable(network)
                with lent, replacing_forwards(streaming_forwards(network)), private_casts():
                    network(x).sum().backward()
            found.append(x.grad)
        assert card.pinned == 0
        prefetch.cleanup_prefetch_queues()
    assert found[0].equal(found[1])
