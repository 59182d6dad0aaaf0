"""The settings of a run as JSON: read back as they were, and refused by name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ti_core.training.objective import Objective
from ti_core.training.optimizers import AdamWSettings, SphericalSettings
from ti_core.training.schedule import Schedule, schedule
from ti_core.training.settings import TrainingSettings
from ti_core.training.settings_json import as_json, settings_of
from ti_core.training.stopping import StoppingRule

PLAIN = TrainingSettings(schedule("0.4", 400, "auto"), SphericalSettings())
ALL_CHANGED = TrainingSettings(
    schedule("0.005:100, 1e-3:1000, 1e-5", 2000, "constant", 20),
    AdamWSettings(0.8, 0.99, 0.01, 0.0),
    batch_size=4,
    accumulation=2,
    seed=0xFFFFFFFFFFFFFFFF,
    hold_out=True,
    rule=None,
    objective=Objective("logit-normal", 0.1, 0.9, "min-SNR", 4.5, 0.05, 3.5),
    precision="bf16",
    checkpointing="on",
    keep="last",
    resume="continue",
)


@pytest.mark.parametrize("chosen", [PLAIN, ALL_CHANGED])
def test_settings_are_read_back_as_they_were(chosen: TrainingSettings):
    assert settings_of(json.loads(json.dumps(as_json(chosen), allow_nan=False))) == chosen


def test_settings_are_written_by_their_names_with_that_of_the_method():
    written = as_json(ALL_CHANGED)
    assert written["method"]["name"] == "adamw"
    assert written["method"]["beta2"] == 0.99
    assert written["schedule"]["pieces"] == [[0.005, 100], [1e-3, 1000], [1e-5, None]]
    assert written["rule"] is None and as_json(PLAIN)["rule"] == as_json(StoppingRule())


def test_what_is_left_out_is_as_usual():
    least = {
        "schedule": {"pieces": [[0.4, None]], "steps": 400, "shape": "inverse sqrt"},
        "method": {"name": "spherical"},
    }
    assert settings_of(least) == PLAIN


def changed(path: str, value: Any) -> Any:
    """The usual settings, with one value changed, or added."""
    written = as_json(PLAIN)
    *above, last = path.split(".")
    inner = written
    for name in above:
        inner = inner[name]
    inner[last] = value
    return written


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("bach_size", 2, "no setting 'bach_size'. Known are: schedule, method, batch_size,"),
        ("method.beta1", 0.9, r"no setting 'method.beta1'. Known are: prior\."),
        ("objective.to", 0.9, "no setting 'objective.to'"),
        ("batch_size", 0, "'batch_size' is 0, not a whole number from 1 to"),
        ("batch_size", 1.5, "'batch_size' is 1.5, not a whole number"),
        ("batch_size", True, "'batch_size' is True, not a whole number"),
        ("seed", -1, "'seed' is -1, not a whole number from 0 to"),
        ("seed", 2**64, "'seed' is 18446744073709551616, not a whole number from 0 to"),
        ("seed", "7", "'seed' is '7', not a whole number"),
        ("hold_out", 1, "'hold_out' is 1, not true or false"),
        ("keep", "first", "'keep' is 'first', not one of 'best', 'last'"),
        ("precision", ["fp32"], "'precision' is .*, not one of 'auto', 'fp32'"),
        ("method", "adamw", "'method.name' is None, not one of 'spherical', 'adamw'"),
        ("method.name", "lion", "'method.name' is 'lion', not one of 'spherical', 'adamw'"),
        ("method.prior", float("nan"), "'method.prior' is nan, not a number from 0 to"),
        ("method.prior", float("inf"), "'method.prior' is inf, not a number"),
        ("rule.patience", None, "'rule.patience' is None, not a number"),
        ("rule", True, "'rule' is True, not an object with names"),
        ("schedule.steps", 0, "'schedule.steps' is 0, not a whole number from 1 to"),
        ("schedule.pieces", 0.4, "'schedule.pieces' is 0.4, not a list"),
        ("schedule.pieces", [[0.4]], r"'schedule.pieces\[0\]' is .*, not a list of 2"),
        ("schedule.pieces", [[-0.4, None]], r"'schedule.pieces\[0\]\[0\]' is -0.4, not a number"),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_by_its_name(path: str, value: Any, says: str):
    with pytest.raises(ValueError, match=says):
        settings_of(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schedule.pieces", [], "learning rate '' is empty"),
        ("schedule.pieces", [[0.4, 100]], "ends at step 100, but the training has 400"),
        ("schedule.pieces", [[0.4, 100], [0.3, 50], [0.2, None]], "must increase"),
        ("schedule.pieces", [[0.001, None]], "too low for the method 'spherical'"),
        ("schedule.warmup", 400, "warm-up .400. must be shorter"),
        ("objective.start", 1.0, "there are none to train on"),
    ],
)
def test_what_does_not_fit_together_is_refused_as_where_it_is_typed(
    path: str, value: Any, says: str
):
    with pytest.raises(ValueError, match=says):
        settings_of(changed(path, value))


def test_what_is_missing_is_named():
    for written, says in (
        ({}, "setting 'schedule' is missing"),
        ({**as_json(PLAIN), "schedule": {"pieces": [[0.4, None]]}}, "'schedule.steps' is missing"),
        ([], r"The settings are .*, not an object with names"),
    ):
        with pytest.raises(ValueError, match=says):
            settings_of(written)


def test_any_rate_is_read_back_to_its_last_digit():
    for rate in (0.1 + 0.2, 1 / 3, 12345.678901234567, 1e-22):
        chosen = TrainingSettings(Schedule(((rate, None),), 10), AdamWSettings())
        assert settings_of(json.loads(json.dumps(as_json(chosen)))) == chosen


def places(written: Any) -> list[tuple[Any, Any]]:
    """The objects and lists in JSON, with each of their names or numbers."""
    inner = written.items() if isinstance(written, dict) else enumerate(written)
    here = [(written, name) for name, _ in inner]
    below = list(written.values()) if isinstance(written, dict) else written
    return here + [at for one in below if isinstance(one, dict | list) for at in places(one)]


PLAIN_JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
ANY_JSON = st.recursive(
    PLAIN_JSON, lambda one: st.lists(one) | st.dictionaries(st.text(max_size=9), one), max_leaves=9
)


def contains(whole: Any, part: Any) -> bool:
    """Whether JSON has all that some other has; what a part leaves out is as usual."""
    if isinstance(part, dict):
        return all(name in whole and contains(whole[name], one) for name, one in part.items())
    return whole == part


@given(st.sampled_from([PLAIN, ALL_CHANGED]), st.data())
def test_of_any_json_come_settings_that_are_written_alike_or_a_value_error(
    chosen: TrainingSettings, data: Any
):
    written = as_json(chosen)
    inner, name = data.draw(st.sampled_from(places(written)))
    inner[name] = data.draw(ANY_JSON)
    try:
        found = settings_of(written)
    except ValueError:
        return
    assert contains(as_json(found), written)
    assert settings_of(as_json(found)) == found
