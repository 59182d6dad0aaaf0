from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from ti_core.training.optimizers import (
    AdamW,
    AdamWSettings,
    Spherical,
    SphericalSettings,
    make_optimizer,
)

NORMS = {"clip_l": 0.4}


def initial() -> dict[str, torch.Tensor]:
    return {"clip_l": torch.randn(2, 16, generator=torch.Generator().manual_seed(0))}


def moved(gradients: Sequence[torch.Tensor], radians: float, prior: float = 0.0) -> list[float]:
    """Degrees that each row turned by in each step, all rows of all steps in one list."""
    optimizer = Spherical(SphericalSettings(prior=prior), initial(), NORMS)
    rows, found = optimizer.vectors["clip_l"], []
    for gradient in gradients:
        before, rows.grad = rows.detach().clone(), gradient.clone()
        optimizer.step(radians)
        torch.testing.assert_close(rows.detach().norm(dim=-1), torch.full((2,), 0.4))
        cosines = torch.cosine_similarity(rows.detach().double(), before.double())
        found += torch.arccos(cosines.clamp(max=1.0)).tolist()
    return found


def test_a_spherical_step_turns_by_the_angle_where_the_gradients_agree_and_less_where_not():
    draws = torch.Generator().manual_seed(1)
    same = torch.randn(2, 16, generator=draws)
    assert moved([same], 0.01) == pytest.approx([0.01] * 2, rel=0.1)
    agreeing = moved([same] * 5, 0.01)
    others = [torch.randn(2, 16, generator=draws) for _ in range(40)]
    assert max(agreeing) < 0.0101
    assert sum(moved(others, 0.01)[20:]) / 60 < 0.5 * sum(agreeing) / 10


def test_a_spherical_step_ignores_the_size_of_the_gradient():
    gradient = torch.randn(2, 16)
    steps = [moved([gradient * scale] * 3, 0.05) for scale in (1e-9, 1.0, 1e6)]
    assert steps[0] == pytest.approx(steps[1], rel=1e-3)
    assert steps[1] == pytest.approx(steps[2], rel=1e-3)


def test_a_gradient_many_times_as_long_as_the_others_counts_no_more_than_they():
    gradients = [torch.randn(2, 16) for _ in range(5)]
    long = [*gradients[:2], 1000 * gradients[2], *gradients[3:]]
    assert moved(long, 0.05) == pytest.approx(moved(gradients, 0.05), rel=1e-4)


def test_a_spherical_step_sees_nothing_of_the_gradient_along_the_vector():
    """What would change the length alone must not fill the memory."""
    optimizer = Spherical(SphericalSettings(prior=0.0), initial(), NORMS)
    rows = optimizer.vectors["clip_l"]
    rows.grad = 3.0 * rows.detach().clone()
    optimizer.step(0.1)
    assert optimizer.memory()["clip_l.exp_avg"].norm(dim=-1).max() < 1e-3


def test_a_row_without_gradient_rests():
    assert moved([torch.zeros(2, 16)] * 2, 0.1) == pytest.approx([0.0] * 4, abs=1e-3)


def test_spherical_keeps_the_vocabularys_norm_and_finds_the_nearest_direction():
    optimizer = Spherical(SphericalSettings(prior=0.0), initial(), NORMS)
    target = F.normalize(torch.randn(2, 16), dim=-1) * 0.4
    for step in range(300):
        rows = optimizer.vectors["clip_l"]
        rows.grad = None
        (rows - target).square().sum().backward()
        optimizer.step(0.05 * (1 - step / 300))
        torch.testing.assert_close(rows.norm(dim=-1).detach(), torch.full((2,), 0.4))
    assert torch.cosine_similarity(optimizer.vectors["clip_l"], target).min() > 0.999


def test_the_prior_draws_back_to_the_initializer():
    optimizer = Spherical(SphericalSettings(prior=1.0), initial(), NORMS)
    start = optimizer.vectors["clip_l"].detach().clone()
    rows = optimizer.vectors["clip_l"]
    with torch.no_grad():
        rows.copy_(F.normalize(start + 0.2 * torch.randn_like(start), dim=-1) * 0.4)
    before = torch.cosine_similarity(rows.detach(), start)
    rows.grad = torch.full_like(rows, 1e-9)
    optimizer.step(0.05)
    assert (torch.cosine_similarity(rows.detach(), start) > before).all()


def test_vectors_that_a_sample_does_not_reach_stay_where_they_are():
    """The prior would turn them back by a whole step, as nothing speaks against it."""
    optimizer = Spherical(SphericalSettings(), initial(), NORMS)
    rows = optimizer.vectors["clip_l"]
    with torch.no_grad():
        rows.copy_(rows.roll(1, -1))
    before = rows.detach().clone()
    rows.grad = torch.zeros_like(rows)
    rows.grad[0] = torch.randn_like(rows[0])
    optimizer.step(0.05)
    assert not torch.allclose(rows[0], before[0])
    torch.testing.assert_close(rows[1].detach(), before[1])


def test_free_is_adamw_without_weight_decay():
    optimizer = AdamW(AdamWSettings(gradient_clip=0.0), initial(), NORMS)
    reference = initial()["clip_l"].clone().requires_grad_()
    adam = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.0)
    for _ in range(5):
        for rows, optimize in ((optimizer.vectors["clip_l"], None), (reference, adam)):
            rows.grad = None
            (rows.sin()).sum().backward()
            optimizer.step(0.01) if optimize is None else optimize.step()
    assert optimizer.vectors["clip_l"].equal(reference)


def test_free_clips_the_vectors_own_gradient():
    optimizer = AdamW(AdamWSettings(gradient_clip=0.5), initial(), NORMS)
    rows = optimizer.vectors["clip_l"]
    rows.grad = torch.ones_like(rows)
    optimizer.step(0.01)
    assert float(rows.grad.norm()) == pytest.approx(0.5, rel=1e-3)


def test_norm_pull_draws_the_norm_to_the_vocabularys():
    optimizer = AdamW(AdamWSettings(norm_pull=0.5), initial(), NORMS)
    rows = optimizer.vectors["clip_l"]
    before = rows.detach().norm(dim=-1)
    rows.grad = torch.zeros_like(rows)
    optimizer.step(1e-9)
    torch.testing.assert_close(rows.detach().norm(dim=-1), (before + 0.4) / 2)


def test_vectors_are_fp32_copies_whatever_comes_in():
    given = {"clip_l": torch.randn(2, 16).half()}
    for settings in (SphericalSettings(), AdamWSettings()):
        rows = make_optimizer(settings, given, NORMS).vectors["clip_l"]
        assert rows.dtype == torch.float32
        assert rows.requires_grad
    assert given["clip_l"].dtype == torch.float16
