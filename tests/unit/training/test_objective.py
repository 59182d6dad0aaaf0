from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from ti_core.training.objective import Objective, Prediction, Weighting, loss_weight, native_loss


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_the_loss_is_the_familys_own(prediction: Prediction):
    """Against the textbook: the network predicts noise, alpha*noise - s*x0, or noise - x0."""
    x0, noise = (
        torch.randn(4, 3, 8, 8, dtype=torch.double),
        torch.randn(4, 3, 8, 8, dtype=torch.double),
    )
    sigma = torch.tensor([0.05, 0.4, 0.8, 0.95] if prediction == "flow" else [0.05, 0.7, 3.0, 14.0])
    s = sigma.double().view(-1, 1, 1, 1)
    error = torch.randn(4, 3, 8, 8, dtype=torch.double)
    if prediction == "flow":
        noisy, target = (1 - s) * x0 + s * noise, noise - x0
        predicted_x0 = noisy - s * (target + error)
    else:
        noisy = x0 + s * noise
        if prediction == "eps":
            predicted_x0 = noisy - s * (noise + error)
        else:
            velocity = (noise - s * x0) / (1 + s**2) ** 0.5
            predicted_x0 = noisy / (1 + s**2) - s / (1 + s**2) ** 0.5 * (velocity + error)
    loss = native_loss(predicted_x0.float(), x0.float(), sigma, prediction)
    torch.testing.assert_close(loss, error.square().flatten(1).mean(1).float(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.0])
def test_the_v_loss_follows_the_data_that_the_schedule_assumes(sigma_data: float):
    """Karras et al., table 1: the network's output is (x0 - c_skip * noisy) / c_out."""
    x0, error = torch.randn(3, 4, dtype=torch.double), torch.randn(3, 4, dtype=torch.double)
    sigma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.double)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    loss = native_loss(x0 + c_out[:, None] * error, x0, sigma, "v", sigma_data)
    torch.testing.assert_close(loss, error.square().mean(1).float(), rtol=1e-4, atol=0)


def test_weights_say_where_the_loss_looks():
    x0, predicted = torch.zeros(2, 3, 4, 8), torch.zeros(2, 3, 4, 8)
    predicted[..., :4] = 1.0
    weights = torch.zeros(2, 1, 4, 8)
    weights[0, ..., :4] = 1.0
    weights[1, ..., 4:] = 1.0
    sigma = torch.ones(2)
    assert native_loss(predicted, x0, sigma, "eps").tolist() == [0.5, 0.5]
    assert native_loss(predicted, x0, sigma, "eps", weights=weights).tolist() == [0.5, 0.0]
    same = native_loss(predicted, x0, sigma, "eps", weights=torch.ones(2, 1, 4, 8))
    assert same.equal(native_loss(predicted, x0, sigma, "eps"))


def images(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, noise, and what a network gets wrong, in double precision."""
    draws = torch.Generator().manual_seed(6)
    made = torch.randn(3, count, 3, 8, 8, dtype=torch.double, generator=draws)
    return made[0], made[1], made[2]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("zsnr", [False, True])
def test_the_loss_is_that_of_diffusers_trainers(kind: Any, zsnr: bool):
    """Their schedulers' noisy latents and targets, ours from x0; but for the last step of zero
    terminal SNR, where the image is all noise and says nothing of x0.
    """
    made: Any = diffusers.DDPMScheduler(  # type: ignore[attr-defined]
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=kind,
        rescale_betas_zero_snr=zsnr,
    )
    steps = torch.tensor([0, 100, 500, 900, 998])
    x0, noise, error = images(len(steps))
    noisy = made.add_noise(x0, noise, steps)
    velocity = kind == "v_prediction"
    target = made.get_velocity(x0, noise, steps) if velocity else noise
    alpha = made.alphas_cumprod[steps].double().view(-1, 1, 1, 1)
    output, s = target + error, (1 - alpha).sqrt()
    found = alpha.sqrt() * noisy - s * output if velocity else (noisy - s * output) / alpha.sqrt()
    sigma = ((1 - alpha) / alpha).sqrt().flatten()
    theirs = (output - target).square().flatten(1).mean(1)
    ours = native_loss(Exact(found), Exact(x0), Exact(sigma), "v" if velocity else "eps")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_the_loss_of_a_flow_is_that_of_diffusers_trainers():
    """FlowMatchEulerDiscreteScheduler with SD 3's shift; not below sigma 0.002."""
    made: Any = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)  # type: ignore[attr-defined]
    places = torch.tensor([0, 100, 500, 900, 996])
    x0, noise, error = images(len(places))
    noisy = made.scale_noise(x0, made.timesteps[places], noise)
    sigma = made.sigmas[places].double()
    output = noise - x0 + error
    found = noisy - sigma.view(-1, 1, 1, 1) * output
    ours = native_loss(Exact(found), Exact(x0), Exact(sigma), "flow")
    torch.testing.assert_close(ours, error.square().flatten(1).mean(1), rtol=1e-5, atol=0)


class Exact(Tensor):
    """Double precision that stays so: what single precision loses is no matter of the formula."""

    def float(self) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)


WEIGHTINGS: list[Weighting] = ["min-SNR", "soft min-SNR", "debiased"]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weightings_are_those_of_the_papers(weighting: Weighting):
    """For noise prediction with SNR 1 / sigma^2, written out."""
    sigma = torch.tensor([0.1, 0.5, 2.0, 10.0], dtype=torch.double)
    snr = 1 / sigma**2
    expected = {
        "min-SNR": torch.minimum(snr, torch.tensor(5.0)) / snr,
        "soft min-SNR": 5 / (snr + 5),
        "debiased": 1 / snr.sqrt(),
    }[weighting]
    torch.testing.assert_close(loss_weight(sigma, "eps", 1.0, weighting, 5.0), expected)
    if weighting == "min-SNR":
        v = torch.minimum(snr, torch.tensor(5.0)) / (snr + 1)
        torch.testing.assert_close(loss_weight(sigma, "v", 1.0, weighting, 5.0), v)


def test_a_weighting_asks_the_same_of_the_image_whatever_the_network_predicts():
    """The weight on the squared error of x0, for the same mixture of image and noise."""
    sigma = torch.tensor([0.1, 1.0, 4.0], dtype=torch.double)
    mixed = sigma / (1 + sigma)  # the same SNR in a flow
    error = torch.full((3, 1), 1.0)
    kinds: list[tuple[Tensor, Prediction]] = [(sigma, "eps"), (sigma, "v"), (mixed, "flow")]
    for weighting in WEIGHTINGS:
        found = [
            loss_weight(at, kind, 1.0, weighting, 5.0) * native_loss(error, 0 * error, at, kind)
            for at, kind in kinds
        ]
        torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0)
        torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=0)


def test_a_range_without_noise_levels_is_an_error():
    with pytest.raises(ValueError, match="Set max timestep higher than min timestep"):
        Objective(start=0.6, end=0.6)
