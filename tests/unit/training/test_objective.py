import pytest
import torch

from ti_core.training.objective import Prediction, native_loss, stratified


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


def test_positions_fall_one_into_each_stratum():
    drawn = stratified(8, 1000, torch.Generator().manual_seed(3))
    assert sorted(int(position) // 125 for position in drawn) == list(range(8))


def test_positions_are_uniform_over_the_schedule():
    generator = torch.Generator().manual_seed(4)
    drawn = torch.cat([stratified(1, 10, generator) for _ in range(5000)])
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10
    assert counts.min() > 400
    assert counts.max() < 600


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
