"""A word is really learned on a flow model that reads a language model."""

from collections.abc import Mapping
from typing import Any

import pytest
from comfy.ldm.flux.model import Flux
from comfy.model_base import ModelType
from torch import Tensor

from toyworld import assembly
from toyworld.worlds import FLOWWORLD

pytestmark = pytest.mark.slow  # a minute on a CPU core, and as long to assemble the model once

# Of the way from the initializer's loss to the true description's, on fresh images.
STEPS, LEARNED = 60, 0.4


@pytest.fixture(scope="module")
def exam() -> Any:
    """The questions about a green dotted heart."""
    from examination import Exam, Models, questions

    from toyworld import gate

    models = Models(*gate.loaded(assembly.assembled("flowworld")))
    return Exam(models, FLOWWORLD, FLOWWORLD.held_out[1], questions(FLOWWORLD, 1, False))


def closed(exam: Any, vectors: Mapping[str, Tensor]) -> float:
    """How much of the gap a word closes."""
    from examination import PLACEHOLDER, Spoken

    (loss,) = exam.losses([Spoken(PLACEHOLDER, vectors)])
    return exam.gap(loss)


def test_the_files_load_as_a_users_files_do(exam: Any):
    model, clip, vae = exam.models
    assert isinstance(model.model.diffusion_model, Flux)
    assert model.model.model_type == ModelType.FLOW
    assert clip.tokenizer.clip_name == "qwen3_4b"
    assert vae.latent_channels == model.model.latent_format.latent_channels == 16


def test_a_short_training_closes_a_good_part_of_the_gap(exam: Any):
    from trainers import Subject, node_inputs, our_training

    inputs = node_inputs({"steps": str(STEPS), "batch_size": "4", "auto_stop": "False"})
    learned = our_training(exam.models, Subject(exam, 0), exam.initializer, inputs)[-1].vectors
    assert closed(exam, learned) > LEARNED


def test_an_untrained_word_does_not(exam: Any):
    from examination import PLACEHOLDER

    from ti_core.host.models.text import create_embedding

    for word in (exam.initializer, "thing", FLOWWORLD.held_out[0].shape):
        untrained = create_embedding(exam.models.clip, PLACEHOLDER, word, 1)
        assert closed(exam, untrained.vectors) < LEARNED / 2
