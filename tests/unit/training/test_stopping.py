import math

import pytest

from ti_core.training.stopping import StoppingRule, Validation, best_of, has_converged

RULE = StoppingRule(patience=0.25, improvement=0.05, minimum=150)


def curve(scale: float, until: int, every: int = 10, rise: float = 0.0) -> list[Validation]:
    """A loss that falls from 2 to 1 in some `scale` steps, and rises again."""
    return [
        Validation(step, 1.0 + math.exp(-step / scale) + rise * step)
        for step in range(0, until + 1, every)
    ]


def stops_at(history: list[Validation], rule: StoppingRule = RULE) -> int | None:
    """The step at which the rule stops a run."""
    for count in range(1, len(history) + 1):
        if has_converged(history[:count], rule):
            return history[count - 1].step
    return None


@pytest.mark.parametrize("scale", [20, 50, 100, 200])
def test_a_falling_loss_is_followed_until_its_last_quarter_brings_little(scale: int):
    def lately(step: int) -> float:
        now, earlier = math.exp(-step / scale), math.exp(-0.75 * step / scale)
        return (earlier - now) / (1 - now)

    stop = stops_at(curve(scale, 3000))
    assert stop is not None
    assert stop >= RULE.minimum
    assert lately(stop) <= RULE.improvement
    assert stop == RULE.minimum or lately(stop - 30) > RULE.improvement


@pytest.mark.parametrize("every", [17, 67])
def test_a_line_is_never_stopped(every: int):
    assert (
        stops_at([Validation(step, 2.0 - step / 1e5) for step in range(0, 20_000, every)]) is None
    )


def test_a_loss_that_only_rises_stops_as_soon_as_allowed():
    assert stops_at(curve(1e9, 1000, rise=0.001)) == RULE.minimum


def test_a_loss_that_rises_again_stops_soon_after_its_best():
    history = curve(100, 1000, rise=0.001)
    stop, best = stops_at(history), best_of(history).step
    assert stop is not None
    assert 0.9 * best <= stop <= best / (1 - RULE.patience) + 10


def test_nothing_stops_without_anything_to_compare_or_too_early():
    assert not has_converged([Validation(160, 1.0)], RULE)
    assert not has_converged([Validation(0, 1.0), Validation(140, 1.0)], RULE)
    assert has_converged([Validation(0, 1.0), Validation(150, 1.0)], RULE)


def test_the_rule_is_not_asked_before_160_steps():
    flat = [Validation(step, 1.0) for step in (0, 5, 10, 20, 40, 80)]
    assert not has_converged(flat, StoppingRule())
    assert not has_converged([*flat, Validation(159, 1.0)], StoppingRule())
    assert has_converged([*flat, Validation(160, 1.0)], StoppingRule())


def test_the_best_is_the_first_of_equals():
    assert best_of([Validation(0, 2.0), Validation(5, 1.0), Validation(9, 1.0)]).step == 5
