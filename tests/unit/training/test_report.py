from typing import Any

import torch
from toy import concept, plain_concept, word

from ti_core.training.loop import TrainingSettings
from ti_core.training.optimisers import SphericalSettings
from ti_core.training.report import Outcome, training_report
from ti_core.training.run import RunState, begun
from ti_core.training.schedule import schedule
from ti_core.training.stopping import Validation
from ti_core.word.vocabulary import Neighbour, Vocabulary

KNOWN = {"clip_l": Vocabulary(2.0, [[Neighbour("cat", 0.9), Neighbour("fur", 0.5)]] * 2)}


def state(after: float) -> RunState:
    made = begun(word().vectors, 1.0)
    made.losses, made.seconds, made.initialiser_loss = [0.5] * 10, 5.0, 0.2
    made.validations = [Validation(0, 0.2), Validation(10, after)]
    return made


def outcome(after: float, **changes: Any) -> Outcome:
    settings = TrainingSettings(schedule("0.2", 10), SphericalSettings())
    made = Outcome(state(after), settings, "best", "All 10 steps are done.", 0, KNOWN)
    return made._replace(**changes)


def test_the_report_tells_what_was_explained_and_how():
    text = training_report(concept()[0], word(), outcome(0.15, peak=3 << 30, stored="here"))
    assert "10 steps in 5.0 s (0.50 s per step)" in text
    assert "(best vectors, step 10)" in text
    assert "the learned word explains 25.0 % more than 'cat' does" in text
    assert "All 10 steps are done." in text
    assert "(vocabulary: 2.000), turned by 0 degrees from 'cat'; nearest words: cat, fur." in text
    assert "Memory at the peak: 3.00 GiB" in text
    assert "Stored in here" in text


def test_the_report_says_when_nothing_was_learned():
    assert "Nothing was learned" in training_report(concept()[0], word(), outcome(0.2))
    assert "Nothing was learned" not in training_report(concept()[0], word(), outcome(0.19))


def test_the_report_says_what_was_done_before():
    text = training_report(concept()[0], word(), outcome(0.1, before=4))
    assert "The first 4 of them were done in an earlier run." in text
    text = training_report(concept()[0], word(), outcome(0.1, before=10))
    assert "nothing had to be trained" in text


def test_warnings_and_notes_come_last():
    recovered = state(0.1)
    recovered.rollbacks, recovered.trouble = 2, "The loss of step 5 is nan."
    changes = {"state": recovered, "notes": ["The disk is full."]}
    lines = training_report(concept()[0], word(), outcome(0.1, **changes)).splitlines()
    assert lines[-2] == "The disk is full."
    assert "halved the learning rate 2 times. The last time: The loss of step 5" in lines[-1]


def test_the_report_names_captions_without_the_placeholder():
    captioned = plain_concept([torch.zeros(8, 8, 3)] * 2, ["a {}", "b"])
    text = training_report(captioned, word(), outcome(0.1))
    assert "missing from the captions of 1 pictures and was put in front: 1.png" in text
