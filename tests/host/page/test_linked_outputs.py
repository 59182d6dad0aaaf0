"""An output is made only where the prompt uses it."""

from typing import Any

import pytest
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext

from ti_core.host.page.linked_outputs import is_linked


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "X", "inputs": inputs}


@pytest.mark.parametrize(
    ("user", "linked"),
    [
        (node(images=["concept", 1]), True),
        (node(**{"images.image0": ["concept", 1]}), True),
        (node(images=["concept", 0]), False),
        (node(images=["other", 1]), False),
        (node(text="concept", number=1, several=["concept"]), False),
    ],
)
def test_an_output_is_linked_where_another_node_takes_it(user: dict[str, Any], linked: bool):
    reset_progress_state("a prompt", DynamicPrompt({"concept": node(), "user": user}))
    with CurrentNodeContext("a prompt", "concept"):
        assert is_linked(1) == linked


def test_an_output_counts_as_linked_where_the_host_does_not_tell():
    reset_progress_state("a prompt", DynamicPrompt({"concept": node()}))
    assert is_linked(1)
    with CurrentNodeContext("another prompt", "concept"):
        assert is_linked(1)
