"""The gradient through the host's own text encoders and diffusion models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy.clip_model import CLIPLayer
from comfy.model_patcher import ModelPatcher
from comfy.ops import manual_cast
from comfy.sd import CLIP
from small import (
    Loaded,
    latents,
    load_checkpoint,
    small_chroma,
    small_flux,
    small_qwen_image,
    small_sd2,
    small_sd3,
    small_sdxl,
    small_zimage,
    word,
)
from torch import Tensor, nn
from torch.autograd.graph import allow_mutation_on_saved_tensors
from torch.utils.checkpoint import checkpoint

from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.gradients import checkpointed, differentiable, out_of_place, weights
from ti_core.host.models.host_model import HostModel
from ti_core.training.batches import Batch, batch_loss
from ti_core.word.embedding import Embedding

CAPTIONS = ("a photo of my-cat", "a (my-cat:1.3) on a table")


def batch(frozen: HostModel, channels: int = 4) -> Batch:
    """Two samples at the middle of the schedule, with different captions."""
    clean = torch.stack(latents(2, channels))
    if frozen.model.latent_format.latent_dimensions == 3:
        clean = clean[:, :, None]  # A film of one frame.
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    count = len(frozen.sigmas)
    return Batch(clean, noise, torch.tensor([count // 3, count // 2]), CAPTIONS)


def leaves(embedding: Embedding) -> dict[str, Tensor]:
    """Live copies of the vectors."""
    return {key: rows.clone().requires_grad_() for key, rows in embedding.vectors.items()}


def loss_and_gradient(frozen: HostModel, vectors: Mapping[str, Tensor], channels: int) -> float:
    """Mean loss of the batch; puts the gradient on the vectors."""
    with frozen.differentiable():
        loss = batch_loss(frozen, batch(frozen, channels), vectors).mean()
        loss.backward()
    return loss.item()


def slope_by_differences(
    frozen: HostModel, vectors: Mapping[str, Tensor], key: str, channels: int, reach: float
) -> tuple[float, float]:
    """Slope of the loss along the gradient of one encoder's vectors: analytic, and by central
    differences of length `reach`.
    """
    gradient = vectors[key].grad
    assert gradient is not None
    direction = gradient / gradient.norm()
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            moved = {**vectors, key: vectors[key] + sign * reach * direction}
            ends.append(batch_loss(frozen, batch(frozen, channels), moved).double().mean())
    return float(gradient.norm()), float((ends[0] - ends[1]) / (2 * reach))


def check_against_differences(
    model: ModelPatcher, clip: CLIP, checkpointing: Any, channels: int = 4, **more: Any
) -> None:
    embedding = word(clip)
    shape = (channels, 8, 8)
    lent = BorrowSettings(2, more.get("precision", "auto"), checkpointing)
    with borrowed(model, clip, embedding, shape, lent) as frozen:
        vectors = leaves(embedding)
        loss_and_gradient(frozen, vectors, channels)
        for key in vectors:
            reach = more.get("reach", 1e-2)
            analytic, measured = slope_by_differences(frozen, vectors, key, channels, reach)
            assert analytic > 0
            assert measured == pytest.approx(analytic, rel=0.01), key


@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gradient_agrees_with_finite_differences(
    checkpoint_file: Path, dtype: torch.dtype, checkpointing: str
):
    """UNet weights in each dtype, computed in fp32 so that differences can be measured; CLIP is
    stored in fp16. The loss of a trained model is curved, so that the differences are short.
    """
    model, clip, _ = load_checkpoint(checkpoint_file, dtype)
    check_against_differences(model, clip, checkpointing, precision="fp32", reach=5e-4)


@pytest.mark.parametrize("checkpointing", ["off", "on"])
@pytest.mark.parametrize("v_prediction", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_gradient_of_sdxl_agrees_with_finite_differences(
    checkpointing: str, v_prediction: bool
):
    check_against_differences(*small_sdxl(v_prediction), checkpointing)


@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_the_gradient_of_sd2_agrees_with_finite_differences(checkpointing: str):
    check_against_differences(*small_sd2(), checkpointing)


@pytest.mark.slow
def test_the_gradient_of_sd3_agrees_with_finite_differences():
    """Three text encoders, and joint blocks that work in place (core mmdit.py)."""
    check_against_differences(*small_sd3(), "auto", channels=16, reach=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", ["off", "on"])
def test_the_gradient_through_a_language_model_agrees_with_finite_differences(checkpointing: str):
    """Z-Image: a chat template around the prompt, a Qwen as text encoder."""
    check_against_differences(*small_zimage(), checkpointing, channels=16, reach=1e-3)


@pytest.mark.slow
def test_the_gradient_of_chroma_agrees_with_finite_differences():
    """Its only text encoder is T5, which the host names otherwise than its tokenizer."""
    check_against_differences(*small_chroma(), "auto", channels=16, reach=1e-3)


@pytest.mark.slow
def test_the_gradient_of_qwen_image_agrees_with_finite_differences():
    """The host looks for an image's token among the tokens, and latents have frames."""
    check_against_differences(*small_qwen_image(), "auto", channels=16, reach=1e-3)


@pytest.mark.slow
def test_the_gradient_of_flux_and_t5_agrees_with_finite_differences():
    """Blocks that work in place (core flux/layers.py, t5.py), always recomputed."""
    check_against_differences(*small_flux(), "auto", channels=16, reach=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gradients_point_where_fp32_points(checkpoint_file: Path, precision: Any):
    loaded = load_checkpoint(checkpoint_file, torch.float32)
    embedding, found = word(loaded.clip), []
    for chosen in ("fp32", precision):
        lent = BorrowSettings(2, chosen, "on")
        with borrowed(loaded.model, loaded.clip, embedding, (4, 8, 8), lent) as frozen:
            vectors = leaves(embedding)
            loss_and_gradient(frozen, vectors, 4)
            found.append(vectors["clip_l"].grad)
    assert torch.cosine_similarity(found[0].flatten(), found[1].flatten(), dim=0) > 0.98


def test_checkpointing_does_not_change_the_gradient(loaded: Loaded):
    embedding, found = word(loaded.clip), []
    for choice in ("off", "on"):
        lent = BorrowSettings(2, "auto", choice)  # type: ignore[arg-type]
        with borrowed(loaded.model, loaded.clip, embedding, (4, 8, 8), lent) as frozen:
            vectors = leaves(embedding)
            loss_and_gradient(frozen, vectors, 4)
            found.append(vectors["clip_l"].grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)


def saved_bytes(frozen: HostModel, embedding: Embedding) -> int:
    """What autograd keeps between forward and backward, weights not counted."""
    owned = {tensor.untyped_storage().data_ptr() for *_, tensor in weights([frozen.model])}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with frozen.differentiable(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        conditioning = frozen.encode(CAPTIONS, leaves(embedding))
        kept.clear()
        noisy = batch(frozen).noise
        frozen.denoise(noisy, torch.ones(2), conditioning)
    return sum(kept.values())


def test_checkpointing_keeps_fewer_activations(loaded: Loaded):
    embedding, found = word(loaded.clip), []
    for choice in ("off", "on"):
        lent = BorrowSettings(2, "auto", choice)  # type: ignore[arg-type]
        with borrowed(loaded.model, loaded.clip, embedding, (4, 8, 8), lent) as frozen:
            found.append(saved_bytes(frozen, embedding))
    assert found[1] < 0.5 * found[0]


def test_no_weight_is_copied_while_it_is_differentiable(loaded: Loaded):
    module = loaded.model.model
    before = [(t, t.untyped_storage().data_ptr(), t.dtype) for *_, t in weights([module])]
    assert any(tensor.is_inference() for tensor, *_ in before)
    with differentiable(module):
        during = [tensor for *_, tensor in weights([module])]
        assert not any(tensor.is_inference() for tensor in during)
        assert [t.untyped_storage().data_ptr() for t in during] == [p for _, p, _ in before]
    after = [tensor for *_, tensor in weights([module])]
    assert all(one is other for one, (other, *_) in zip(after, before, strict=True))


def test_a_weight_that_the_host_replaces_meanwhile_stays_replaced():
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    moved = nn.Parameter(torch.zeros(2, 2))
    with differentiable(layer):
        layer.weight = moved
    assert layer.weight is moved
    assert layer.bias.is_inference()


def test_weights_are_lent_again_after_the_host_has_moved_them():
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    lent = differentiable(layer)
    with lent:
        first = layer.weight
    with torch.inference_mode():
        layer.weight = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    with lent:
        assert layer.weight is not first
        assert not layer.weight.is_inference()
        assert layer.weight.equal(torch.ones(2, 2))
    assert layer.weight.is_inference()


def test_the_out_of_place_layer_is_the_hosts_layer_bit_for_bit():
    layer = CLIPLayer(64, 4, 128, "quick_gelu", torch.float32, "cpu", manual_cast)
    from comfy.ldm.modules.attention import optimized_attention_for_device
    from tiny_checkpoint import randomized

    randomized(layer, torch.Generator().manual_seed(0))
    attention = optimized_attention_for_device(torch.device("cpu"), mask=True, small_input=True)
    x, mask = torch.randn(2, 7, 64), torch.full((7, 7), -1e9).triu_(1)
    assert out_of_place(layer)(x.clone(), mask, attention).equal(layer(x.clone(), mask, attention))


class InPlace(nn.Module):
    """A residual block that overwrites what its norm has saved, like the host's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x += self.linear(self.norm(x)).tanh()
        x += self.linear(self.norm(x)).tanh()
        return x


def test_recomputation_is_right_where_the_stock_one_is_silently_wrong():
    with torch.inference_mode(False), torch.enable_grad():
        block = InPlace()
        x = torch.randn(3, 8, requires_grad=True)
        truth = out_of_place_gradient(block, x)
        with allow_mutation_on_saved_tensors():
            wrong: Any = checkpoint(block, x * 1.0, use_reentrant=False)
            stock = torch.autograd.grad(wrong.square().sum(), x)[0]
        ours = torch.autograd.grad(checkpointed(block, True)(x * 1.0).square().sum(), x)[0]
    torch.testing.assert_close(ours, truth)
    assert not torch.allclose(stock, truth, rtol=1e-3)


def out_of_place_gradient(block: InPlace, x: Tensor) -> Tensor:
    """The same block written without in-place sums."""
    h = x + block.linear(block.norm(x)).tanh()
    h = h + block.linear(block.norm(h)).tanh()
    return torch.autograd.grad(h.square().sum(), x)[0]


def test_recomputation_reaches_tensors_in_nested_arguments_and_results():
    with torch.inference_mode(False), torch.enable_grad():
        a, b, c = (torch.randn(3, requires_grad=True) for _ in range(3))

        def block(x: Tensor, pair: tuple[Tensor, dict[str, Tensor]], scale: float) -> Any:
            return {"out": (x * pair[0], None), "more": pair[1]["c"] * scale}

        made = checkpointed(block, False)(a, (b, {"c": c}), scale=2.0)
        assert made["out"][1] is None
        (made["out"][0].sum() + made["more"].sum()).backward()
    grads = [leaf.grad for leaf in (a, b, c)]
    assert all(grad is not None for grad in grads)
    torch.testing.assert_close(grads, [b.detach(), a.detach(), torch.full((3,), 2.0)])
