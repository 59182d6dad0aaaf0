import math
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
    assert [rate(step) for step in range(51)] == [1.0] * 51
    assert [rate(51), rate(60), rate(75), rate(99)] == pytest.approx([0.98, 0.8, 0.5, 0.02])


def test_auto_lets_a_single_rate_fall_and_takes_a_list_as_it_is():
    assert schedule("0.2", 100, "auto") == schedule("0.2", 100, "inverse sqrt")
    assert schedule("0.2:50, 0.1", 100, "auto") == schedule("0.2:50, 0.1", 100, "constant")


def test_a_falling_rate_falls_with_the_root_of_the_steps_however_many_are_planned():
    rate = schedule("0.4", 1000, "inverse sqrt")
    assert [rate(step) for step in (0, 30, 990)] == pytest.approx([0.4, 0.2, 0.04])
    assert schedule("0.4", 20, "inverse sqrt", warmup=4)(14) == pytest.approx(0.4 / 2**0.5)


@pytest.mark.parametrize("shape", get_args(Shape))
def test_a_schedule_says_whether_its_rates_depend_on_its_length(shape: Shape):
    """Where they do not, a run of 40 steps is the beginning of one of 80."""
    short, long = schedule("0.1", 40, shape, 3), schedule("0.1", 80, shape, 3)
    same = [short(step) for step in range(40)] == [long(step) for step in range(40)]
    assert (short.length is None) == same
    assert short.length in (None, 40)


def test_linear_and_warm_up():
    rate = schedule("1.0", 14, "linear", warmup=4)
    assert [rate(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rate(4) == pytest.approx(1.0)
    assert rate(9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "RATE or RATE:STEP"),
        (" , ,", "RATE or RATE:STEP"),
        ("0.02:-1, 0.01", "Write 0.02:STEP"),
        ("fast", "'fast'"),
        ("0.01:10:20", "'0.01:10:20'"),
        ("0.01, 0.02", "never be used"),
        ("0.01, 0.02:50, 0.03", "never be used"),
        ("0.01:50, 0.02:30, 0.03", "must increase"),
        ("0.01:30, 0.02:30, 0.03", "must increase"),
        ("0.01:10, 0.02:50", "ends at step 50, but the training has 100 steps"),
        ("0.01:-2", "1 or more"),
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


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0.005:100, 1e-3,", "0.005:100, 1e-3"),
        (",0.005:50,,1e-3 ,", "0.005:50, 1e-3"),
        ("0.005 : 50 , 1e-3:-1", "0.005:50, 1e-3"),
        ("0.3:-1", "0.3"),
        ("0.005:200,", "0.005:200"),
        ("0.3：50，0.1", "0.3:50, 0.1"),
        ("0.3:50、0.1,", "0.3:50, 0.1"),
    ],
)
def test_a_list_is_read_as_automatic1111_reads_it(text: str, same: str):
    assert parse_learning_rate(text, 100) == parse_learning_rate(same, 100)


@pytest.mark.parametrize("text", ["", " , ", "fast", "0.4:", "0.4:x"])
def test_the_examples_are_of_each_method(text: str):
    with pytest.raises(ValueError, match="0.4:100 with the method 'spherical', 0.005 or"):
        parse_learning_rate(text, 100)


@pytest.mark.parametrize("text", ["0,4", "0,005:50", "0\uff0c3"])
def test_a_decimal_comma_is_told(text: str):
    with pytest.raises(ValueError, match="write a decimal point"):
        parse_learning_rate(text, 100)
    with pytest.raises(ValueError, match="positive number.$"):
        parse_learning_rate("0", 100)


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
