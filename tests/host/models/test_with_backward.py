"""What the host computes without a backward pass is given one, or named."""

import threading
from collections.abc import Callable
from typing import Any

import comfy_kitchen as ck
import pytest
import torch
from comfy.ldm.cosmos.predict2 import Attention
from comfy.ops import manual_cast
from tiny_checkpoint import randomized
from torch import Tensor, nn

from ti_core.host.models.gradients import checkpointed
from ti_core.host.models.with_backward import with_backward

TOKENS, HEADS, WIDTH = 5, 2, 8


@pytest.fixture(autouse=True)
def gradients(inference_mode: None):
    """As while training: the nodes' inference mode is set aside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def rotating_attention() -> tuple[Attention, Tensor]:
    """An attention of Cosmos-Predict 2 and Anima, whose rotation is a kernel of comfy_kitchen, and
    its rotations.
    """
    module = Attention(
        HEADS * WIDTH,
        n_heads=HEADS,
        head_dim=WIDTH,
        device="cpu",
        dtype=torch.float32,
        operations=manual_cast,
    )
    randomized(module, torch.Generator().manual_seed(0))
    angle = torch.arange(TOKENS)[:, None] / (1 + torch.arange(WIDTH // 2))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1)
    return module.requires_grad_(False), turn.reshape(1, TOKENS, 1, WIDTH // 2, 2, 2)


def loss(forward: Callable[..., Any], x: Tensor, turn: Tensor) -> Tensor:
    with with_backward():
        return forward(x, rope_emb=turn).square().sum()


@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_the_gradient_through_a_kernel_without_backward_agrees_with_differences(again: bool):
    module, turn = rotating_attention()
    x = torch.randn(1, TOKENS, HEADS * WIDTH, generator=torch.Generator().manual_seed(1))
    forward = checkpointed(module.forward, in_place=True) if again else module.forward
    leaf = x.clone().requires_grad_()
    # Autograd runs the backward passes of a GPU in a thread of its own, where no mode is entered.
    backward = threading.Thread(target=loss(forward, leaf, turn).backward)
    backward.start()
    backward.join()
    assert leaf.grad is not None
    direction = leaf.grad / leaf.grad.norm()
    with torch.no_grad():
        ends = [loss(module.forward, x + step * direction, turn).double() for step in (1e-2, -1e-2)]
    assert float((ends[0] - ends[1]) / 2e-2) == pytest.approx(float(leaf.grad.norm()), rel=0.01)


@pytest.mark.parametrize(
    ("kernel", "scales"),
    [
        ("apply_rope", 0),
        ("apply_rope_split_half", 0),
        ("rms_rope", 2),
        ("rms_rope_split_half", 2),
    ],
)
def test_every_rotation_has_a_gradient(kernel: str, scales: int):
    """Of those that some version of the host calls without asking whether it is training."""
    _, turn = rotating_attention()
    draws = torch.Generator().manual_seed(2)
    query, key, scale = (
        torch.randn(shape, generator=draws, dtype=torch.float64, requires_grad=True)
        for shape in ((1, TOKENS, HEADS, WIDTH), (1, TOKENS, HEADS, WIDTH), (WIDTH,))
    )

    def rotated(*inputs: Tensor) -> Tensor:
        query, key, scale = inputs
        return torch.cat(getattr(ck, kernel)(query, key, turn.double(), *[scale] * scales))

    with with_backward():
        assert torch.autograd.gradcheck(rotated, (query, key, scale))


def test_the_kernel_stays_where_no_gradient_is_asked_for():
    module, turn = rotating_attention()
    x = torch.randn(1, TOKENS, HEADS * WIDTH)
    plain = module(x, rope_emb=turn)
    with with_backward():
        assert module(x, rope_emb=turn).equal(plain)


@pytest.mark.parametrize("answer", ["returned", "given"])
def test_what_is_written_into_a_given_tensor_has_a_gradient(answer: str):
    """The last sum of a language model's layer, core text_encoders/llama.py:686 of 0.33."""
    x, more = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    place = torch.empty(3)
    with with_backward():
        returned = torch.add(x.square(), more, out=place)
    assert returned is place
    {"returned": returned, "given": place}[answer].sum().backward()
    torch.testing.assert_close((x.grad, more.grad), (2 * x.detach(), torch.ones(3)))


@torch.library.custom_op("ti_tests::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    return x * 2


@torch.library.custom_op("ti_tests::tripled", mutates_args=())
def tripled(x: Tensor) -> Tensor:
    return x * 3


tripled.register_autograd(lambda _, gradient: gradient * 3)


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.ti_tests.doubled(x)


def test_an_operator_without_backward_is_named_with_its_module():
    with (
        with_backward(),
        pytest.raises(RuntimeError, match=r"Doubling calls the operator ti_tests\.doubled, which"),
    ):
        Doubling()(torch.randn(3, requires_grad=True))


def test_an_operator_that_would_end_the_gradient_silently_is_named():
    library = torch.library.Library("ti_tests_silent", "DEF")
    library.define("cut(Tensor x) -> Tensor")
    library.impl("cut", lambda x: x.detach() * 2, "CPU")
    with with_backward(), pytest.raises(RuntimeError, match=r"operator ti_tests_silent\.cut"):
        torch.ops.ti_tests_silent.cut(torch.randn(3, requires_grad=True))


def test_an_operator_with_its_own_backward_is_called():
    x = torch.randn(3, requires_grad=True)
    with with_backward():
        torch.ops.ti_tests.tripled(x).sum().backward()
    assert x.grad is not None
    assert x.grad.equal(torch.full((3,), 3.0))
