"""What Train Textual Inversion hands on."""

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras.nodes_train import LossGraphNode
from small import Loaded, word
from trainers import node_inputs, objective, pack_module

from ti_core.host.learn import Learned
from ti_core.training.objective import Objective

outputs = pack_module("nodes.train").outputs


def test_a_run_of_one_step_can_be_drawn(loaded: Loaded):
    """Core's graph divides by the range that the losses span."""
    _, losses, *_ = outputs(Learned(word(loaded.clip), [0.5], "report"), None, {}).args
    assert losses["loss"] == pytest.approx([0.5, 0.5])
    assert LossGraphNode.execute(losses, "loss", None, None).ui


def test_a_word_of_which_nothing_was_learned_goes_no_further(loaded: Loaded):
    """Stop and keep before the first step must not save the initializer under the word's name."""
    made = outputs(Learned(word(loaded.clip), [], "Nothing was learned."), None, {})
    assert isinstance(made.args[0], ExecutionBlocker)
    assert made.args[2] == "Nothing was learned."
    assert made.ui == {"text": ["Nothing was learned."], "ti_loss": [], "ti_monitor": []}


@pytest.mark.parametrize("images", [None, torch.zeros(2, 8, 8, 3)])
def test_what_was_learned_goes_on_and_images_where_there_are_any(
    loaded: Loaded, images: torch.Tensor | None
):
    made = word(loaded.clip)
    found = outputs(Learned(made, [0.5, 0.4], "report"), images, {}).args
    assert found[:3] == (made, {"loss": [0.5, 0.4]}, "report")
    assert isinstance(found[3], ExecutionBlocker) == (images is None)


def test_the_objective_that_nobody_changed_is_what_training_does_without_the_node():
    assert objective(node_inputs({})) == Objective()
    changed = objective(node_inputs({"from": "0.2", "to": "0.7", "noise_levels": "uniform"}))
    assert changed == Objective("uniform", 0.2, 0.7)
