"""Whether what the host keeps of a node still holds: told apart by what the host tells apart."""

from collections.abc import Mapping
from typing import Any

import pytest
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext

from ti_core.host.page import kept_results
from ti_core.host.page.kept_results import holds_while, holds_while_same, times_given_anew

Nodes = Mapping[str, Mapping[str, Any]]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kept_results, "_kept", {})


def graph(seed: int = 1, image: str = "a.png", concept: str = "2") -> dict[str, dict[str, Any]]:
    return {
        concept: {"class_type": "Concept", "inputs": {"image": image}},
        "5": {"class_type": "Train", "inputs": {"seed": seed, "concept": [concept, 0]}},
        "6": {"class_type": "Train", "inputs": {"seed": seed, "concept": [concept, 0]}},
    }


class At:
    """A node of a prompt that the host is at."""

    def __init__(self, nodes: Nodes, node: str = "5", index: int | None = None):
        reset_progress_state("a prompt", DynamicPrompt(dict(nodes)))
        self.context = CurrentNodeContext("a prompt", node, index)

    def __enter__(self) -> None:
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)


def asked(nodes: Nodes, node: str = "5", shared: bool = False) -> int:
    with At(nodes, node):
        return times_given_anew(shared)


def given(over: bool, nodes: Nodes, node: str = "5", index: int = 0, shared: bool = False) -> None:
    with At(nodes, node, index):
        holds_while(lambda: over, shared)


def test_the_fingerprint_changes_until_a_run_has_come_to_its_end():
    assert asked(graph()) == 0
    given(False, graph())
    assert [asked(graph()), asked(graph())] == [1, 1]  # Cancelled: the host has nothing.
    given(False, graph())
    assert asked(graph()) == 2
    given(True, graph())
    assert [asked(graph()), asked(graph())] == [2, 2]


@pytest.mark.parametrize("other", [graph(seed=2), graph(image="b.png"), {"5": graph()["2"]}])
def test_a_node_of_the_same_id_in_another_workflow_is_another(other: Nodes):
    given(False, graph())
    assert asked(other) == 0
    given(True, other)
    assert (asked(graph()), asked(other)) == (1, 0)


def test_two_nodes_of_equal_inputs_are_two_and_share_what_the_host_shares():
    given(False, graph(), "5")
    given(True, graph(), "6")
    assert (asked(graph(), "5"), asked(graph(), "6")) == (1, 0)
    given(False, graph(), "5", shared=True)
    assert (asked(graph(), "6", True), asked(graph(), "5", True)) == (1, 1)


def test_other_ids_of_what_a_node_comes_from_make_no_other_node():
    given(False, graph(concept="2"))
    assert asked(graph(concept="7:2")) == 1


@pytest.mark.parametrize("ends", [(False, True), (True, False), (False, False)])
def test_of_a_list_all_have_to_hold(ends: tuple[bool, bool]):
    for index, over in enumerate(ends):
        given(over, graph(), index=index)
    assert asked(graph()) == 1
    for index in range(2):
        given(True, graph(), index=index)
    assert asked(graph()) == 1


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, ValueError])
def test_what_can_no_longer_be_looked_at_does_not_hold(error: type[Exception]):
    def gone() -> bool:
        raise error("gone")

    with At(graph()):
        holds_while(gone)
    assert asked(graph()) == 1


def test_only_what_comes_over_a_wire_is_looked_at_after_the_node():
    state = ["before"]
    for name, expected in (("seed", 0), ("concept", 1)):
        state[0] = "before"
        with At(graph()):
            holds_while_same(lambda: state[0], name)
        state[0] = "after"
        assert asked(graph(), shared=True) == expected


def test_nothing_is_known_outside_of_a_prompt():
    holds_while(lambda: False)
    assert times_given_anew() == 0
    given(False, graph())
    reset_progress_state("another prompt", DynamicPrompt(graph()))
    with CurrentNodeContext("a prompt", "5"):
        assert times_given_anew() == 0
