"""Every value of every node is checked, whatever an API client sends."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from comfy_api.internal import first_real_override
from comfy_api.latest import io
from trainers import pack_module

NAN, INF = float("nan"), float("inf")
LONG = "x" * 20_000_000
ANYTHING: list[Any] = [[5], [[1, [2]]], {"a": 1}, ("x",), 10**400, LONG, "half \ud83d character"]
WRONG: dict[type, list[Any]] = {
    io.Int.Input: ["x", "5", 1.5, NAN, INF, -INF, True, -(10**30), *ANYTHING],
    io.Float.Input: ["x", "0.5", NAN, INF, -INF, True, -(10**30), *ANYTHING],
    io.Boolean.Input: ["true", "false", 0, 1, 0.5, NAN, *ANYTHING],
    io.String.Input: [5, 0.5, True, NAN, *ANYTHING],
    io.Combo.Input: [5, True, NAN, "no such choice", *ANYTHING],
}
SOCKET: list[Any] = ["x", 5, True, NAN, *ANYTHING]
UNKNOWN_FILES = ("file", "folder")  # What is right of these, only the disk knows.


class Case(NamedTuple):
    """A node's input, by its path, with values that it does not take."""

    node: type[io.ComfyNode]
    path: tuple[str, ...]
    wrong: list[Any]

    def __str__(self) -> str:
        return f"{self.node.__name__}-{'.'.join(self.path)}"


def all_nodes() -> list[type[io.ComfyNode]]:
    extension = pack_module("nodes").TextualInversionExtension()
    return asyncio.run(extension.get_node_list())


def places(
    inputs: list[Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each input of a schema with its path, through the choices of dynamic ones."""
    for one in inputs:
        if isinstance(one, io.DynamicCombo.Input):
            for option in one.options:
                yield from places(option.inputs, (*before, one.id, option.key))
        elif isinstance(one, io.Autogrow.Input):
            yield (*before, one.id, "concept0"), one.template.input
        else:
            yield (*before, one.id), one


TYPED = {"initializer": "cat", "noun": "cat"}  # Empty on a new node, and refused so.


def usual(inputs: list[Any]) -> dict[str, Any]:
    """What a new node on the page sends once its empty inputs are typed, everything that can be
    connected linked."""
    found: dict[str, Any] = {}
    for one in inputs:
        if isinstance(one, io.DynamicCombo.Input):
            option = one.options[0]
            found[one.id] = {one.id: option.key, **usual(option.inputs)}
        elif isinstance(one, io.Autogrow.Input):
            found[one.id] = {"concept0": None, "concept1": None}
        else:
            found[one.id] = None if one.id in UNKNOWN_FILES else getattr(one, "default", None)
    return {**found, **{name: value for name, value in TYPED.items() if name in found}}


def with_value(values: dict[str, Any], path: tuple[str, ...], value: Any, inputs: Any) -> Any:
    """The values with another one at a path."""
    name, *more = path
    if not more:
        return {**values, name: value}
    if name == "concepts":
        return {**values, name: {**values[name], more[0]: value}}
    (dynamic,) = (one for one in inputs if one.id == name)
    (option,) = (option for option in dynamic.options if option.key == more[0])
    chosen = {name: option.key, **usual(option.inputs), more[1]: value}
    return {**values, name: chosen}


def checked(node: type[io.ComfyNode], values: dict[str, Any]) -> Any:
    schema = node.define_schema()
    lists = {name: [value] for name, value in values.items()}
    return node.validate_inputs(**(lists if schema.is_input_list else values))


def cases() -> Iterator[Case]:
    for node in all_nodes():
        for path, one in places(node.define_schema().inputs):
            yield Case(node, path, WRONG.get(type(one), SOCKET))


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_a_value_that_no_widget_gives_is_refused_in_few_words(case: Case):
    inputs = case.node.define_schema().inputs
    for value in case.wrong:
        values = with_value(usual(inputs), case.path, value, inputs)
        with pytest.raises(ValueError) as caught:
            checked(case.node, values)
        assert len(str(caught.value)) < 2_100


@pytest.mark.parametrize("node", all_nodes(), ids=lambda one: one.__name__)
def test_what_a_new_node_sends_is_taken(node: type[io.ComfyNode]):
    assert checked(node, usual(node.define_schema().inputs)) is True


@pytest.mark.parametrize("node", all_nodes(), ids=lambda one: one.__name__)
def test_whatever_is_linked_is_neither_refused_nor_breaks_the_fingerprint(
    node: type[io.ComfyNode],
):
    inputs = node.define_schema().inputs
    plain = usual(inputs)
    linkable = [
        one.id for one in inputs if not isinstance(one, io.DynamicCombo.Input | io.Autogrow.Input)
    ]
    for linked in [[], *([name] for name in linkable), linkable]:
        values = {**plain, **dict.fromkeys(linked)}
        assert checked(node, values) is True
        if first_real_override(node, "fingerprint_inputs"):
            lists = {name: [value] for name, value in values.items()}
            node.fingerprint_inputs(**(lists if node.define_schema().is_input_list else values))


@pytest.mark.parametrize("node", all_nodes(), ids=lambda one: one.__name__)
def test_every_number_has_bounds(node: type[io.ComfyNode]):
    for _, one in places(node.define_schema().inputs):
        if isinstance(one, io.Int.Input | io.Float.Input):
            assert one.min is not None and one.max is not None, one.id


def test_an_empty_noun_is_refused():
    node = next(one for one in all_nodes() if one.__name__ == "ConceptInitWord")
    given = {**usual(node.define_schema().inputs), "noun": " "}
    with pytest.raises(ValueError, match="The noun is empty. Write what the subject is"):
        checked(node, given)
