import math

import pytest
import torch

from ti_core.training.health_checks import embedding_warnings, reach, settings_warnings, turned
from ti_core.training.optimizers import AdamWSettings, SphericalSettings
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings
from ti_core.training.stopping import Validation

VECTORS = {"clip_l": torch.full((2, 768), 0.4 / math.sqrt(768))}
NORMS = {"clip_l": 0.4}
LEARNED = [Validation(0, 1.0), Validation(100, 0.8)]


def chosen(rate: str, steps: int, free: bool = False) -> TrainingSettings:
    how = AdamWSettings() if free else SphericalSettings()
    return TrainingSettings(schedule(rate, steps, "constant"), how)


def test_the_reach_is_learning_rate_times_steps():
    assert reach(chosen("0.02", 100)) == pytest.approx(2.0)
    assert reach(chosen("0.02", 100), 3.0) == pytest.approx(6.0)


def test_the_reach_is_asked_of_every_step():
    """A rate that is high at the end alone moves the word as well."""
    late = TrainingSettings(schedule("0.0001:90, 0.2", 100), SphericalSettings())
    assert settings_warnings(late, VECTORS, NORMS) == []
    short = TrainingSettings(schedule("0.001:18, 0.2", 20), SphericalSettings())
    (text,) = settings_warnings(short, VECTORS, NORMS)
    assert "by 0.42 radians at most; below about 1.0" in text


@pytest.mark.parametrize(
    ("rate", "steps", "free", "says"),
    [
        ("0.2", 400, False, ""),
        ("0.005", 500, True, ""),
        ("0.01", 4, False, "can turn the word by 0.04 radians at most"),
        ("0.6", 400, False, "one step can turn the word by 0.6 radians"),
        ("0.0000001", 400, True, "you will not see an effect"),
        ("0.1", 400, True, "one step can move the word by 6.9 lengths"),
    ],
)
def test_settings_that_cannot_work_are_told_before_the_start(
    rate: str, steps: int, free: bool, says: str
):
    found = settings_warnings(chosen(rate, steps, free), VECTORS, NORMS)
    assert [says in text for text in found] == ([True] if says else [])


def test_the_reach_told_is_that_of_the_encoder_whose_words_are_longest():
    vectors = {**VECTORS, "gemma2_2b": torch.ones(2, 2304)}
    (text,) = settings_warnings(
        chosen("0.0005", 400, free=True), vectors, {**NORMS, "gemma2_2b": 19.2}
    )
    assert "can move the word by 0.5 lengths of an ordinary word at most" in text


def test_a_rate_that_is_recommended_is_not_warned_of():
    (text,) = settings_warnings(chosen("0.1", 400, free=True), VECTORS, NORMS)
    recommended = text.split("rate to ")[1].split(" or less")[0]
    assert settings_warnings(chosen(recommended, 4000, free=True), VECTORS, NORMS) == []


def test_a_word_that_drowns_the_prompt_is_told():
    (text,) = embedding_warnings("my-cat", {"clip_l": VECTORS["clip_l"] * 4}, NORMS, LEARNED)
    assert "4.0 times the norm of an ordinary word's" in text
    assert embedding_warnings("my-cat", VECTORS, NORMS, LEARNED) == []


def test_a_run_that_learned_nothing_or_forgot_is_told():
    (text,) = embedding_warnings("my-cat", VECTORS, NORMS, [Validation(0, 1.0), Validation(9, 1.1)])
    assert text.startswith("Nothing was learned")
    (text,) = embedding_warnings("my-cat", VECTORS, NORMS, [*LEARNED, Validation(200, 0.9)])
    assert text.startswith("After step 100 the word got worse again")
    assert embedding_warnings("my-cat", VECTORS, NORMS, [*LEARNED, Validation(200, 0.84)]) == []


def test_the_angle_is_exact_for_small_and_large_turns():
    one = torch.tensor([[1.0, 0.0]])
    for degrees in (0.0, 0.001, 30.0, 90.0, 180.0):
        angle = math.radians(degrees)
        other = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
        assert turned(one, other) == pytest.approx(degrees, abs=1e-6)
