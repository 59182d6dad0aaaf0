"""The loss that can be compared: what it is measured on."""

import torch
from toy import ToyModel, concept, plain_concept, settings, word

from ti_core.training.batches import Batch
from ti_core.training.validation import fixed_samples, validation_batches, validation_loss


def drawn(model: ToyModel, samples: int = 16, batch: int = 4, seed: int = 0) -> list[Batch]:
    images, latents = concept(4)
    return validation_batches(model, images, latents, "my-cat", samples, batch, seed=seed)


def positions(found: list[Batch]) -> list[int]:
    return torch.cat([batch.positions for batch in found]).tolist()


def test_noise_levels_are_the_middles_of_equal_strata_of_the_schedule():
    model = ToyModel()
    model.sigmas = torch.linspace(0.1, 10, 1000)
    assert sorted(positions(drawn(model, 8))) == [62, 187, 312, 437, 562, 687, 812, 937]


def test_no_image_has_the_low_noise_and_another_the_high():
    """In their own order, neighbors in the schedule would fall to the same images."""
    model = ToyModel()
    model.sigmas = torch.linspace(0.1, 10, 1000)
    found = positions(drawn(model))
    assert found != sorted(found)
    each = [sum(found[image::4]) / 4 for image in range(4)]
    assert max(each) - min(each) < 500


def test_every_run_is_measured_on_the_same_samples_whatever_its_seed():
    images, latents = concept(4)
    one, other = (
        fixed_samples(ToyModel(), images, latents, "my-cat", settings(seed=seed)) for seed in (1, 2)
    )
    for first, second in zip(one, other, strict=True):
        assert first.noise.equal(second.noise)
        assert first.positions.equal(second.positions)


def test_others_can_be_asked_for():
    one, other = drawn(ToyModel()), drawn(ToyModel(), seed=1)
    assert not one[0].noise.equal(other[0].noise)


def test_what_a_mask_leaves_out_does_not_count():
    """A latent is wrong in its right half alone, which the mask leaves out."""
    weights = torch.zeros(32, 64)
    weights[:, :32] = 2.0
    crops = [torch.zeros(32, 64, 3)] * 2
    masked = plain_concept(crops, weights=(weights,))
    right = torch.zeros(3, 4, 8)
    right[..., 4:] = 500.0
    model, losses = ToyModel(), []
    for latent in (torch.zeros(3, 4, 8), right):
        found = validation_batches(model, masked, [latent] * 2, "my-cat", 4, 2)
        losses.append(validation_loss(model, found, word().vectors))
    assert losses[0] == losses[1]
    plain = validation_batches(model, plain_concept(crops), [right] * 2, "my-cat", 4, 2)
    assert validation_loss(model, plain, word().vectors) > 1.5 * losses[0]
