import math

import pytest
import torch
import torch.nn.functional as F

from ti_core.optimisers import (
    Free,
    FreeSettings,
    Spherical,
    SphericalSettings,
    method,
    spherical_step,
)

NORMS = {"clip_l": 0.4}


def initial() -> dict[str, torch.Tensor]:
    return {"clip_l": torch.randn(2, 16, generator=torch.Generator().manual_seed(0))}


def test_a_spherical_step_stays_on_the_sphere_and_turns_by_the_angle():
    direction = F.normalize(torch.randn(3, 16), dim=-1)
    moved = spherical_step(direction, torch.randn(3, 16), 0.01)
    torch.testing.assert_close(moved.norm(dim=-1), torch.ones(3))
    cosine = (moved * direction).sum(-1).double()
    assert torch.arccos(cosine).tolist() == pytest.approx([math.atan(0.01)] * 3, rel=0.05)


def test_a_spherical_step_ignores_the_size_of_the_gradient():
    direction, gradient = F.normalize(torch.randn(3, 16), dim=-1), torch.randn(3, 16)
    steps = [spherical_step(direction, gradient * scale, 0.05) for scale in (1e-9, 1.0, 1e6)]
    torch.testing.assert_close(steps[0], steps[1])
    torch.testing.assert_close(steps[1], steps[2])


def test_a_row_without_gradient_rests():
    direction = F.normalize(torch.randn(2, 16), dim=-1)
    torch.testing.assert_close(spherical_step(direction, torch.zeros(2, 16), 0.1), direction)


def test_spherical_keeps_the_vocabularys_norm_and_finds_the_nearest_direction():
    mover = Spherical(SphericalSettings(prior=0.0), initial(), NORMS)
    target = F.normalize(torch.randn(2, 16), dim=-1) * 0.4
    for step in range(300):
        rows = mover.vectors["clip_l"]
        rows.grad = None
        (rows - target).square().sum().backward()
        mover.step(0.05 * (1 - step / 300))
        torch.testing.assert_close(rows.norm(dim=-1).detach(), torch.full((2,), 0.4))
    assert torch.cosine_similarity(mover.vectors["clip_l"], target).min() > 0.999


def test_the_prior_draws_back_to_the_initialiser():
    mover = Spherical(SphericalSettings(prior=1.0), initial(), NORMS)
    start = mover.vectors["clip_l"].detach().clone()
    rows = mover.vectors["clip_l"]
    with torch.no_grad():
        rows.copy_(F.normalize(start + 0.2 * torch.randn_like(start), dim=-1) * 0.4)
    before = torch.cosine_similarity(rows.detach(), start)
    rows.grad = torch.zeros_like(rows)
    mover.step(0.05)
    assert (torch.cosine_similarity(rows.detach(), start) > before).all()


def test_free_is_adamw_without_weight_decay():
    mover = Free(FreeSettings(gradient_clip=0.0), initial(), NORMS)
    reference = initial()["clip_l"].clone().requires_grad_()
    adam = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.0)
    for _ in range(5):
        for rows, optimise in ((mover.vectors["clip_l"], None), (reference, adam)):
            rows.grad = None
            (rows.sin()).sum().backward()
            mover.step(0.01) if optimise is None else optimise.step()
    assert mover.vectors["clip_l"].equal(reference)


def test_free_clips_the_vectors_own_gradient():
    mover = Free(FreeSettings(gradient_clip=0.5), initial(), NORMS)
    rows = mover.vectors["clip_l"]
    rows.grad = torch.ones_like(rows)
    mover.step(0.01)
    assert float(rows.grad.norm()) == pytest.approx(0.5, rel=1e-3)


def test_norm_pull_draws_the_norm_to_the_vocabularys():
    mover = Free(FreeSettings(norm_pull=0.5), initial(), NORMS)
    rows = mover.vectors["clip_l"]
    before = rows.detach().norm(dim=-1)
    rows.grad = torch.zeros_like(rows)
    mover.step(1e-9)
    torch.testing.assert_close(rows.detach().norm(dim=-1), (before + 0.4) / 2)


def test_vectors_are_fp32_copies_whatever_comes_in():
    given = {"clip_l": torch.randn(2, 16).half()}
    for settings in (SphericalSettings(), FreeSettings()):
        rows = method(settings, given, NORMS).vectors["clip_l"]
        assert rows.dtype == torch.float32
        assert rows.requires_grad
    assert given["clip_l"].dtype == torch.float16
