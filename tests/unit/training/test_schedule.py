import math
from dataclasses import replace
from typing import get_args

import pytest

from ti_core.training.schedule import Shape, parse_learning_rate, schedule


def test_a_single_rate_is_constant():
    rate = schedule("5e-3", 10)
    assert [rate(step) for step in range(10)] == [5e-3] * 10


def test_a_list_of_rates_changes_at_exclusive_steps():
    rate = schedule(" 0.005:2, 1e-3:4 ,1e-5", 6)
    assert [rate(step) for step in range(6)] == [0.005, 0.005, 1e-3, 1e-3, 1e-5, 1e-5]


def test_a_list_may_go_on_beyond_the_training():
    rate = schedule("0.05:10, 0.02:5000, 0.001", 20)
    assert rate(19) == 0.02


def test_cosine_falls_from_the_rate_to_nearly_zero():
    rate = schedule("1.0", 100, "cosine")
    assert rate(0) == 1.0
    assert rate(50) == pytest.approx(0.5)
    assert 0 < rate(99) < 1e-3


def test_a_cool_down_is_constant_and_falls_over_the_last_half():
    rate = schedule("1.0", 100, "cool-down")
    assert rate.cools_from == 50
    assert [rate(step) for step in range(51)] == [1.0] * 51
    assert [rate(51), rate(60), rate(75), rate(99)] == pytest.approx([0.98, 0.8, 0.5, 0.02])


@pytest.mark.parametrize(("told", "warmup", "ends"), [(75, 0, 150), (60, 0, 120), (60, 30, 90)])
def test_a_cool_down_that_is_told_to_end_begins_there(told: int, warmup: int, ends: int):
    rate = schedule("1.0", 1000, "cool-down", warmup)
    assert rate.end_after(told) == ends
    ended = replace(rate, steps=ends)
    assert ended.cools_from == told
    assert [ended(told - 1), ended(told)] == [1.0, 1.0]
    assert ended(told + 1) < 1.0
    assert 0.0 < ended(ends - 1) <= 1.5 / (ends - told)


@pytest.mark.parametrize("shape", ["cool-down", "cosine", "constant"])
def test_an_end_is_never_later_than_the_last_step_nor_earlier_than_now(shape: Shape):
    rate = schedule("1.0", 100, shape, 10)
    assert [rate.end_after(step) for step in (90, 100)] == [
        100 if shape == "cool-down" else 90,
        100,
    ]
    assert rate.end_after(5) == (10 if shape == "cool-down" else 5)
    assert (rate.cools_from is None) == (shape != "cool-down")


def test_auto_cools_a_single_rate_down_and_takes_a_list_as_it_is():
    assert schedule("0.2", 100, "auto") == schedule("0.2", 100, "cool-down")
    assert schedule("0.2:50, 0.1", 100, "auto") == schedule("0.2:50, 0.1", 100, "constant")


def test_linear_and_warm_up():
    rate = schedule("1.0", 14, "linear", warmup=4)
    assert [rate(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rate(4) == pytest.approx(1.0)
    assert rate(9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "RATE or RATE:STEP"),
        ("fast", "'fast'"),
        ("0.01:10:20", "'0.01:10:20'"),
        ("0.01,,0.02", "RATE or RATE:STEP"),
        ("0.01, 0.02", "never be used"),
        ("0.01, 0.02:50, 0.03", "never be used"),
        ("0.01:50, 0.02:30, 0.03", "must increase"),
        ("0.01:30, 0.02:30, 0.03", "must increase"),
        ("0.01:10, 0.02:50", "ends at step 50, but the training has 100 steps"),
        ("0.01:-1", "1 or more"),
        ("0.01:0, 1", "1 or more"),
        ("-0.01", "positive"),
        ("0", "positive"),
        ("nan", "positive"),
        ("inf", "positive"),
    ],
)
def test_what_other_tools_silently_drop_is_an_error_with_a_remedy(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        parse_learning_rate(text, 100)


def test_a_list_and_a_shape_exclude_each_other():
    with pytest.raises(ValueError, match="schedule to 'auto'"):
        schedule("0.01:10, 0.02", 100, "cosine")


def test_a_warm_up_longer_than_the_training_is_an_error():
    with pytest.raises(ValueError, match="must be shorter than the training"):
        schedule("0.01", 10, "constant", warmup=10)


def test_rates_are_finite_and_positive_at_every_step():
    for shape in get_args(Shape):
        rate = schedule("0.1", 7, shape, warmup=2)
        assert all(math.isfinite(rate(step)) and rate(step) > 0 for step in range(7))
