from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from toy import concept, plain_concept, word

from ti_core.training.loop import begun
from ti_core.training.optimizers import SphericalSettings, make_optimizer
from ti_core.training.report import Outcome, training_report, why_ended
from ti_core.training.run import Ended, RunState
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings
from ti_core.training.stopping import Validation
from ti_core.word.vocabulary import Neighbor, Vocabulary

KNOWN = {"clip_l": Vocabulary(2.0, [[Neighbor("cat", 0.9), Neighbor("fur", 0.5)]] * 2)}


def state(after: float) -> RunState:
    made = begun(make_optimizer(SphericalSettings(), word().vectors, {"clip_l": 2.0}), 1.0)
    made.ended, made.planned = "steps", 10
    made.losses, made.seconds, made.initializer_loss = [0.5] * 10, 5.0, 0.2
    made.validations = [Validation(0, 0.2), Validation(10, after)]
    return made


def outcome(after: float, **changes: Any) -> Outcome:
    settings = TrainingSettings(schedule("0.2", 10), SphericalSettings())
    made = Outcome(state(after), settings, 0, KNOWN)
    return made._replace(**changes)


def test_the_report_tells_what_was_explained_and_how():
    text = training_report(concept()[0], word(), outcome(0.15, peak=3 << 30, stored="here"))
    assert "10 steps in 5.0 s (0.50 s per step)" in text
    assert "(best vectors, step 10)" in text
    assert "25.0 % lower than with 'cat'" in text
    assert "Finished at step 10 of 10." in text
    assert "(vocabulary 2.000), turned by 0 degrees from 'cat'; nearest words: cat, fur." in text
    assert "Peak memory: 3.00 GiB" in text
    assert "Stored in here" in text


def test_a_word_whose_start_is_unknown_is_compared_with_itself_as_it_was_loaded():
    unknown = {key: torch.zeros_like(rows) for key, rows in word().vectors.items()}
    text = training_report(concept()[0], replace(word(), initial=unknown), outcome(0.15))
    assert "trained on from the vectors that were loaded." in text
    assert "25.0 % lower than with the word as it was loaded." in text
    assert "'cat'" not in text


def test_the_report_says_when_nothing_was_learned():
    assert "Nothing was learned" in training_report(concept()[0], word(), outcome(0.2))
    assert "Nothing was learned" not in training_report(concept()[0], word(), outcome(0.19))


def test_a_run_that_was_stopped_before_its_first_step_claims_nothing():
    untouched = state(0.2)
    untouched.losses, untouched.ended = [], "user"
    text = training_report(concept()[0], word(), outcome(0.2, state=untouched, notes=["Full."]))
    assert text == (
        "Nothing was learned for 'my-cat': no step was completed. The nodes after the training are "
        "skipped, and nothing is saved.\nFull."
    )


@pytest.mark.parametrize("ended", [one for one in get_args(Ended) if one])
def test_every_end_has_its_sentence(ended: Ended):
    made = state(0.1)
    made.ended, made.trouble = ended, "The loss is nan."
    text = training_report(concept()[0], word(), outcome(0.1, state=made))
    assert why_ended(made) in text
    assert "{" not in why_ended(made)


def test_one_step_is_one_step():
    made = state(0.1)
    made.losses, made.rollbacks, made.trouble = [0.5], 1, "It was nan."
    made.validations = [Validation(0, 0.2), Validation(1, 0.1)]
    text = training_report(concept(1)[0], word(), outcome(0.1, state=made))
    assert "from 1 image, initialized from 'cat'" in text
    assert "1 step in 5.0 s" in text
    assert "halved the learning rate 1 time." in text


def test_the_report_says_what_was_done_before():
    text = training_report(concept()[0], word(), outcome(0.1, taken_up_at=4))
    assert "Of these, 4 steps came from an earlier run." in text
    text = training_report(concept()[0], word(), outcome(0.1, taken_up_at=10))
    assert "nothing was trained now" in text


def test_warnings_and_notes_come_last():
    recovered = state(0.1)
    recovered.rollbacks, recovered.trouble = 2, "The loss is nan."
    changes = {"state": recovered, "notes": ["The disk is full."]}
    lines = training_report(concept()[0], word(), outcome(0.1, **changes)).splitlines()
    assert lines[-2] == "The disk is full."
    assert "halved the learning rate 2 times. The last cause: The loss is nan." in lines[-1]


def test_the_report_says_that_the_start_was_better():
    overshot = state(0.1)
    overshot.overshoots = 2
    text = training_report(concept()[0], word(), outcome(0.1, state=overshot))
    assert "worse than its start (2 times), so the training went back" in text
    assert "on with 0.0625 of the learning rate" in text


def test_the_report_names_captions_without_the_placeholder():
    captioned = plain_concept([torch.zeros(8, 8, 3)] * 2, ["a {}", "b"])
    text = training_report(captioned, word(), outcome(0.1))
    assert "missing from the captions of 1 image and was put in front: 1.png" in text
