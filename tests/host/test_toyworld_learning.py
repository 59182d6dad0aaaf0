"""A word is really learned: on toyworld, where the right answer is known."""

from collections.abc import Mapping
from typing import Any

import pytest
from small import Loaded
from torch import Tensor

from ti_core.training import batches
from toyworld import world

pytestmark = pytest.mark.slow  # under 3 minutes on 2 CPU cores

THING, ANOTHER = world.HELD_OUT[0], world.HELD_OUT[1]
SHORT = {"steps": "60", "batch_size": "4", "auto_stop": "False"}
# Of the way from the initialiser's loss to the true description's, on fresh pictures.
LEARNED, BROKEN = 0.4, 0.25


@pytest.fixture(scope="module")
def exam(demo_models: Loaded) -> Any:
    """The questions about a purple striped star."""
    return exam_of(demo_models, THING)


def exam_of(demo_models: Loaded, thing: world.Thing) -> Any:
    from examination import Exam, Models, questions

    return Exam(Models(*demo_models[:3]), thing, questions(1, False))


def learned(exam: Any) -> Mapping[str, Tensor]:
    """What a short training makes of pictures of the exam's thing."""
    from trainers import Subject, node_inputs, our_training

    points = our_training(exam.models, Subject(exam, 0), exam.initialiser, node_inputs(SHORT))
    return points[-1].vectors


def closed(exam: Any, vectors: Mapping[str, Tensor]) -> float:
    """How much of the gap a word closes."""
    from examination import PLACEHOLDER, Spoken

    (loss,) = exam.losses([Spoken(PLACEHOLDER, vectors)])
    return exam.gap(loss)


def test_a_short_training_closes_most_of_the_gap(exam: Any):
    assert closed(exam, learned(exam)) > LEARNED


def test_captions_of_other_pictures_do_not(demo_models: Loaded, exam: Any):
    """The word is said of pictures of something else."""
    assert closed(exam, learned(exam_of(demo_models, ANOTHER))) < BROKEN


def test_a_wrong_objective_does_not(exam: Any, monkeypatch: pytest.MonkeyPatch):
    """Each sample is compared with the latents of the next one in its batch."""
    right = batches.native_loss

    def wrong(x0: Tensor, latents: Tensor, *rest: Any) -> Tensor:
        return right(x0, latents.roll(1, 0), *rest)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "native_loss", wrong)
        vectors = learned(exam)
    assert closed(exam, vectors) < BROKEN


def test_an_untrained_word_does_not(exam: Any):
    from examination import PLACEHOLDER

    from ti_core.host.models.text import create_embedding

    for word in (exam.initialiser, "thing", ANOTHER.shape):
        untrained = create_embedding(exam.models.clip, PLACEHOLDER, word, 1)
        assert closed(exam, untrained.vectors) < BROKEN
