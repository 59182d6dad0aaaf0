"""A word is really learned: on toyworld, where the right answer is known."""

from collections.abc import Mapping
from typing import Any

import pytest
from small import Loaded
from torch import Tensor

from ti_core.training import batches
from toyworld.world import Thing
from toyworld.worlds import TOYWORLD

pytestmark = pytest.mark.slow  # a minute on a CPU core

THING, ANOTHER = TOYWORLD.held_out[:2]
SHORT, SHORTER = 40, 15  # steps of two images; after 40 a right training has closed 0.8
# Of the way from the initializer's loss to the true description's, on fresh images.
LEARNED, UNTRAINED = 0.4, 0.25


@pytest.fixture(scope="module")
def exam(demo_models: Loaded) -> Any:
    """The questions about a purple striped star."""
    return exam_of(demo_models, THING)


def exam_of(demo_models: Loaded, thing: Thing) -> Any:
    from examination import Exam, Models, questions

    return Exam(Models(*demo_models[:3]), TOYWORLD, thing, questions(TOYWORLD, 1, False))


def learned(exam: Any, steps: int) -> Mapping[str, Tensor]:
    """What a short training makes of images of the exam's thing."""
    from trainers import Subject, node_inputs, our_training

    inputs = node_inputs({"steps": str(steps), "batch_size": "2", "auto_stop": "False"})
    return our_training(exam.models, Subject(exam, 0), exam.initializer, inputs)[-1].vectors


def closed(exam: Any, vectors: Mapping[str, Tensor]) -> float:
    """How much of the gap a word closes."""
    from examination import PLACEHOLDER, Spoken

    (loss,) = exam.losses([Spoken(PLACEHOLDER, vectors)])
    return exam.gap(loss)


def test_a_short_training_closes_most_of_the_gap(exam: Any):
    assert closed(exam, learned(exam, SHORT)) > LEARNED


def test_captions_of_other_images_do_not(demo_models: Loaded, exam: Any):
    """The word is said of images of something else, and is soon worse than it was untrained."""
    assert closed(exam, learned(exam_of(demo_models, ANOTHER), SHORTER)) < 0


def test_a_wrong_objective_does_not(exam: Any, monkeypatch: pytest.MonkeyPatch):
    """Each sample is compared with the latents of the next one in its batch; this, too, is soon
    worse than nothing.
    """
    right = batches.native_loss

    def wrong(x0: Tensor, latents: Tensor, *rest: Any) -> Tensor:
        return right(x0, latents.roll(1, 0), *rest)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "native_loss", wrong)
        vectors = learned(exam, SHORTER)
    assert closed(exam, vectors) < 0


def test_an_untrained_word_does_not(exam: Any):
    from examination import PLACEHOLDER

    from ti_core.host.models.text import create_embedding

    for word in (exam.initializer, "thing", ANOTHER.shape):
        untrained = create_embedding(exam.models.clip, PLACEHOLDER, word, 1)
        assert closed(exam, untrained.vectors) < UNTRAINED
