"""A learning rate that belongs to the other method is refused, with what to write instead."""

import pytest
import torch

from ti_core.training.health_checks import check_move
from ti_core.training.optimizers import AdamWSettings, SphericalSettings
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings, check_rate

CLIP = {"clip_l": torch.ones(1, 768)}
CLIP_NORM = {"clip_l": 0.4}
GEMMA = {"gemma2_2b": torch.ones(1, 2304)}
GEMMA_NORM = {"gemma2_2b": 19.2}


@pytest.mark.parametrize("rate", ["0.0005", "0.005", "5e-3:50, 1e-3", "0.0099", "0.005:100, 0.4"])
def test_a_rate_of_adamw_is_no_angle(rate: str):
    with pytest.raises(ValueError, match="it is an angle") as error:
        TrainingSettings(schedule(rate, 100), SphericalSettings())
    assert "Write 0.4" in str(error.value) and "0.0005 to 0.01" in str(error.value)


@pytest.mark.parametrize(
    ("rate", "steps"),
    [
        ("0.05:10, 0.02:20, 0.01:60, 0.005:200, 0.002:500, 0.001:3000, 0.0005", 3000),
        ("0.05:10, 0.02:20, 0.01:60, 0.005:200, 0.002:500, 0.001:3000, 0.0005", 500),
        ("0.1:5, 0.005:100, 1e-3", 1000),
        ("0.02:20, 0.005", 200),
    ],
)
def test_a_list_for_adamw_that_begins_high_is_no_list_of_angles(rate: str, steps: int):
    with pytest.raises(ValueError, match="it is an angle"):
        check_rate(schedule(rate, steps), SphericalSettings())
    check_rate(schedule(f"0.4:{steps // 2}, 0.1:{steps - 20}, 0.005", steps), SphericalSettings())


@pytest.mark.parametrize("rate", ["0.01", "0.4", "0.4:50, 0.001", "0.001:50, 0.02"])
def test_angles_that_turn_a_word_are_taken(rate: str):
    check_rate(schedule(rate, 100), SphericalSettings())
    check_rate(schedule("0.0005", 100), AdamWSettings())


@pytest.mark.parametrize("rate", ["0.4", "0.2:50, 0.001", "0.005:50, 0.5"])
def test_an_angle_is_no_rate_of_adamw(rate: str):
    with pytest.raises(ValueError, match="is too high for the method 'adamw'") as error:
        check_move(TrainingSettings(schedule(rate, 100), AdamWSettings()), CLIP, CLIP_NORM)
    assert "Write 0.005" in str(error.value) and "'spherical'" in str(error.value)


def test_where_words_are_long_a_high_rate_of_adamw_is_right():
    check_move(TrainingSettings(schedule("0.4", 100), AdamWSettings()), GEMMA, GEMMA_NORM)
    check_move(TrainingSettings(schedule("0.1", 100), AdamWSettings()), CLIP, CLIP_NORM)
