"""Buckets, crops and views."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.fit import (
    FitSettings,
    View,
    bucket_for,
    fitted_image,
    fitted_mask,
    lost,
    random_view,
    recolored,
)

SIDES = st.integers(16, 6000)
AREAS = st.sampled_from([256, 512, 768, 1024])
STEPS = st.sampled_from([8, 32, 64])


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, AREAS, STEPS)
def test_every_size_has_a_bucket_within_area_and_bounds(w: int, h: int, side: int, step: int):
    settings = FitSettings(side, side, buckets=True, step=step)
    width, height = bucket_for(w, h, settings)
    assert width % step == height % step == 0
    assert width * height <= side * side
    assert side / 2 <= min(width, height) <= max(width, height) <= 2 * side
    assert width * height > 0.7 * side * side


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, AREAS, STEPS)
def test_buckets_do_not_enlarge_where_that_is_forbidden(w: int, h: int, side: int, step: int):
    settings = FitSettings(side, side, buckets=True, step=step, upscale=False)
    if min(w, h) < step:
        with pytest.raises(ValueError, match="No bucket lies between"):
            bucket_for(w, h, settings)
        return
    width, height = bucket_for(w, h, settings)
    assert width % step == height % step == 0
    assert step <= width <= w
    assert step <= height <= h
    assert width * height <= side * side


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, AREAS)
def test_a_bucket_loses_less_than_a_square(w: int, h: int, side: int):
    settings = FitSettings(side, side, buckets=True)
    bucket = bucket_for(w, h, settings)
    assert lost(w, h, bucket, settings) <= lost(w, h, (side, side), settings) + 1e-9


def test_buckets_are_kohyas_for_common_shapes():
    settings = FitSettings(512, 512, buckets=True, smallest=256, largest=1024)
    assert bucket_for(4000, 3000, settings) == (576, 448)
    assert bucket_for(3000, 4000, settings) == (448, 576)
    assert bucket_for(1000, 1000, settings) == (512, 512)
    assert bucket_for(1920, 1080, settings) == (640, 384)
    assert bucket_for(100, 3000, settings) == (256, 1024)


def test_a_small_image_gets_a_small_bucket_without_enlarging():
    settings = FitSettings(512, 512, buckets=True, upscale=False)
    assert bucket_for(300, 200, settings) == (256, 192)
    assert bucket_for(5000, 64, settings) == (1024, 64)


def test_bounds_that_leave_nothing_are_explained():
    with pytest.raises(ValueError, match="No bucket lies between 900 and 950"):
        bucket_for(500, 500, FitSettings(512, 512, buckets=True, smallest=900, largest=950))


def ramp(width: int, height: int) -> torch.Tensor:
    """Brighter to the right in red, to the bottom in green."""
    across = torch.linspace(0, 1, width).expand(height, width)
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    return torch.stack((across, down, torch.full((height, width), 0.3)), -1)


@pytest.mark.parametrize("method", ["crop", "pad", "squash"])
@settings(max_examples=15, deadline=None)
@given(w=st.integers(16, 400), h=st.integers(16, 400))
def test_every_method_fills_the_size(method: str, w: int, h: int):
    settings = FitSettings(method=method)  # type: ignore[arg-type]
    crop = fitted_image(ramp(w, h), (96, 64), View(), settings)
    assert crop.shape == (64, 96, 3)
    assert 0 <= crop.min() <= crop.max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (200, 100), (100, 200), (33, 70), (1000, 64)])
def test_crops_have_the_size_and_the_middle(size: tuple[int, int]):
    height, width = size
    whole = torch.linspace(0, 1, width).expand(3, height, width).movedim(0, -1)
    crop = fitted_image(whole, (64, 64), View(), FitSettings())
    assert crop.shape == (64, 64, 3)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)
    assert 0 <= crop.min() <= crop.max() <= 1


def test_crops_lie_where_the_view_looks():
    tall = ramp(64, 256)
    reds = {}
    for position, down in (("top", 0.0), ("center", 0.5)):
        view = random_view(FitSettings(position=position), torch.Generator())  # type: ignore[arg-type]
        assert view == View(down=down)
        reds[position] = fitted_image(tall, (64, 64), view, FitSettings())[..., 1].mean()
    assert reds["top"] == pytest.approx(0.125, abs=0.01)
    assert reds["center"] == pytest.approx(0.5, abs=0.01)


def test_a_closer_view_shows_less():
    near = fitted_image(ramp(64, 64), (64, 64), View(zoom=2.0), FitSettings())
    assert near[0, 0, 0] == pytest.approx(0.25, abs=0.02)
    assert near[0, -1, 0] == pytest.approx(0.75, abs=0.02)
    corner = View(across=1.0, down=0.0, zoom=2.0)
    right = fitted_image(ramp(64, 64), (64, 64), corner, FitSettings())
    assert right[0, 0, :2].tolist() == pytest.approx([0.5, 0.0], abs=0.02)


def test_colors_are_shifted_as_the_view_says():
    """Brightness multiplies, contrast stretches around the mean, saturation around the gray of
    the same brightness.
    """
    image = torch.tensor([[[0.2, 0.2, 0.2], [0.6, 0.4, 0.4]]])

    def seen(**factors: float) -> torch.Tensor:
        return recolored(image, View(**factors))  # type: ignore[arg-type]

    assert torch.allclose(seen(), image)
    assert torch.allclose(seen(brightness=1.5), image * 1.5)
    assert torch.allclose(seen(contrast=0.5), (image + image.mean()) / 2)
    gray = seen(saturation=0.0)
    assert gray[0, 0].tolist() == pytest.approx([0.2] * 3)
    assert gray[0, 1].tolist() == pytest.approx([0.299 * 0.6 + 0.701 * 0.4] * 3)
    jittered = fitted_image(image, (2, 1), View(brightness=1.5), FitSettings(color=0.5))
    assert torch.allclose(jittered, image * 1.5, atol=1e-6)


def test_squashing_keeps_everything_and_padding_adds_its_color():
    wide = ramp(256, 64)
    squashed = fitted_image(wide, (64, 64), View(), FitSettings(method="squash"))
    assert squashed[:, 0, 0].max() < 0.05
    assert squashed[:, -1, 0].min() > 0.95
    padded = fitted_image(wide, (64, 64), View(), FitSettings(method="pad", pad_color=(1, 0, 0)))
    assert padded[0].tolist() == [[1.0, 0.0, 0.0]] * 64
    assert padded[32, -1, 0] > 0.9


def test_a_mirrored_view_mirrors_image_and_mask_alike():
    mask = torch.zeros(64, 64)
    mask[:, :16] = 1
    view = View(flipped=True)
    assert fitted_image(ramp(64, 64), (64, 64), view, FitSettings())[0, 0, 0] == 1
    assert fitted_mask(mask, (64, 64), view, FitSettings())[:, -16:].min() == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99))
def test_views_stay_within_the_settings_and_repeat(seed: int):
    settings = FitSettings(position="random", flip=0.5, zoom=0.2, color=0.1)
    one, two = (random_view(settings, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert one == two
    assert 1 <= one.zoom <= 1.2
    assert all(0.9 <= value <= 1.1 for value in one[4:])
    crop = fitted_image(ramp(100, 80), (64, 64), one, settings)
    assert crop.shape == (64, 64, 3)
    assert 0 <= crop.min() <= crop.max() <= 1


def test_flips_happen_as_often_as_asked():
    stream = torch.Generator().manual_seed(0)
    flips = [random_view(FitSettings(flip=0.25), stream).flipped for _ in range(400)]
    assert 70 < sum(flips) < 130
