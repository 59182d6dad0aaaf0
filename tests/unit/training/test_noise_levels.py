"""Which noise levels are trained on."""

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from toy import ToyModel, batches, concept, settings

from ti_core.training.noise_levels import NoiseLevels, quantiles, stratified
from ti_core.training.objective import Objective
from ti_core.training.validation import validation_batches

LEVELS = [
    NoiseLevels(),
    NoiseLevels("logit-normal", 0.7, 1.3),
    NoiseLevels("normal", 0.5, 0.11),
    NoiseLevels("logit-normal", start=0.4, end=0.9),
    NoiseLevels("normal", 0.2, 0.3, start=0.1),
]


def below(levels: NoiseLevels, place: float) -> float:
    """The closed form of the distribution function of what is drawn."""

    def whole(at: float) -> float:
        if levels.shape == "uniform":
            return at
        value = at if levels.shape == "normal" else math.log(at / (1 - at)) if 0 < at < 1 else at
        if levels.shape == "logit-normal" and at in (0.0, 1.0):
            return at
        return NormalDist(levels.mean, levels.spread).cdf(value)

    first, last = whole(levels.start), whole(levels.end)
    return (whole(place) - first) / (last - first)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_the_places_that_are_drawn_follow_the_closed_form(levels: NoiseLevels):
    shares = quantiles(1000)
    places = levels.places(shares)
    assert bool((places.diff() > 0).all())
    assert levels.start <= float(places[0]) < float(places[-1]) <= levels.end
    for share, place in zip(shares[::100].tolist(), places[::100].tolist(), strict=True):
        assert below(levels, place) == pytest.approx(share, abs=1e-6)


def test_a_logit_normal_through_a_shift_is_one_with_another_mean():
    """shift t / (1 + (shift - 1) t), as flow models are shifted, adds log(shift) to the logit."""
    plain, shares = NoiseLevels("logit-normal").places(quantiles(50)), quantiles(50)
    shifted = 3 * plain / (1 + 2 * plain)
    torch.testing.assert_close(
        NoiseLevels("logit-normal", math.log(3)).places(shares), shifted, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_a_step_draws_one_from_each_part_of_the_distribution(levels: NoiseLevels):
    drawn = stratified(8, torch.Generator().manual_seed(3))
    assert sorted(int(share * 8) for share in drawn) == list(range(8))
    positions = levels.positions(drawn.sort().values, 1000)
    bounds = levels.positions(torch.arange(1, 8) / 8, 1000)
    assert bool((positions[:-1] <= bounds).all() and (positions[1:] >= bounds).all())


def test_by_default_what_the_family_is_trained_on_is_drawn_and_validated():
    """Validated at equal quantiles of the same distribution."""
    usual = NoiseLevels("logit-normal", 1.0, 0.5)
    model, (images, latents) = ToyModel(), concept()
    model.sigmas = torch.linspace(0.01, 1, 1000)
    model.usual_levels = lambda shape: usual  # type: ignore[method-assign]
    for chosen, levels in ((Objective(), usual), (Objective("uniform"), NoiseLevels())):
        drawn = validation_batches(model, images, latents, "my-cat", 12, 4, objective=chosen)
        found = torch.cat([batch.positions for batch in drawn]).sort().values
        assert found.equal(levels.positions(quantiles(12), 1000))
        run = batches(model, images, latents, "my-cat", settings(objective=chosen))
        places = torch.cat([next(run).positions for _ in range(300)]) / 1000
        middle = float(levels.places(torch.tensor([0.5])))
        assert float(places.median()) == pytest.approx(middle, abs=0.03)


def test_a_range_keeps_the_shape_of_what_lies_in_it():
    model, (images, latents) = ToyModel(), concept()
    model.sigmas = torch.linspace(0.01, 1, 1000)
    chosen = settings(objective=Objective("logit-normal", start=0.5, end=0.75))
    run = batches(model, images, latents, "my-cat", chosen)
    places = torch.cat([next(run).positions for _ in range(200)])
    assert int(places.min()) >= 500
    assert int(places.max()) < 750


def test_offset_noise_shifts_whole_channels_and_no_other_draw():
    model, (images, latents) = ToyModel(), concept()
    plain = next(batches(model, images, latents, "my-cat", settings()))
    shifted = next(
        batches(model, images, latents, "my-cat", settings(objective=Objective(offset_noise=0.1)))
    )
    apart = shifted.noise - plain.noise
    assert float(apart.flatten(2).std(-1).max()) < 1e-6
    assert float(apart.flatten(2).mean(-1).abs().max()) > 0.01
    assert shifted.positions.equal(plain.positions)
    assert shifted.captions == plain.captions


def test_a_weighting_weighs_each_sample_of_a_batch_beside_its_mask():
    model, (images, latents) = ToyModel(), concept()
    chosen = settings(objective=Objective(weighting="min-SNR"))
    batch = next(batches(model, images, latents, "my-cat", chosen))
    assert batch.weights is not None
    sigma = model.sigmas[batch.positions]
    expected = (sigma**-2).clamp_max(5) * sigma**2
    torch.testing.assert_close(batch.weights.flatten(), expected)
    mask = torch.zeros(4, 4)
    mask[:, :2] = 2.0
    masked = replace(images, images=tuple(replace(one, weights=(mask,)) for one in images.images))
    both = next(batches(model, masked, latents, "my-cat", chosen))
    assert both.weights is not None
    torch.testing.assert_close(both.weights[:, 0, :, 0], 2 * expected[:, None].expand(-1, 4))
