"""Checks every value of a node against its schema: when a prompt is queued, before anything is
loaded, and when the node runs, for values that come over wires. The host leaves choices and ranges
to a node whose `validate_inputs` takes all of its inputs (core execution.py:1019), lets NaN through
ranges, and does not check sockets.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from comfy_api.latest import io

from ..ti_core.host.page.queued_prompt import sent_inputs
from ..ti_core.quoted import quoted

LONGEST_LINE = 10_000  # characters
LONGEST_TEXT = 1 << 20  # characters of an input of several lines
LONGEST_MESSAGE = 2_000
MOST_LISTED = 20  # choices in a message


class CheckedNode(io.ComfyNode):
    """A node that checks all of its values. `found_by_node` names the choices that the node looks
    up itself, because it allows more than it offers.
    """

    found_by_node: ClassVar[Collection[str]] = ()

    @classmethod
    def validate_inputs(cls, **values: Any) -> bool:
        """Refuse values that cannot work when the prompt is queued; those that come over a wire are
        None here. Raises ValueError, which the host shows once; it would repeat a returned text for
        every input.
        """
        schema, sent = cls.SCHEMA or cls.define_schema(), sent_inputs()
        given = {
            name: value[0] if schema.is_input_list else value
            for name, value in values.items()
            if sent.get(name, "linked or typed") is not None
        }
        try:
            check_sent(schema.inputs, sent)
            check_values(schema.inputs, given, cls.found_by_node)
            cls.check_together(given)
        except ValueError as error:
            raise ValueError(cut(str(error), LONGEST_MESSAGE)) from error
        return True

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        """Raise ValueError for values that do not fit together, as far as they are known: what
        comes over a wire is None, what is not connected is missing.
        """


def checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """An `execute` that first refuses values from wires that no widget would accept."""

    @functools.wraps(execute)
    def checking(cls: type[CheckedNode], **values: Any) -> io.NodeOutput:
        schema = cls.SCHEMA or cls.define_schema()
        for given in each(values) if schema.is_input_list else [values]:
            check_arrived(schema.inputs, given)
            check_values(schema.inputs, given, cls.found_by_node, at_run=False)
        return execute(cls, **{name: value for name, value in values.items() if arrived(value)})

    return checking


def arrived(value: Any) -> bool:
    """Whether there is a value; null, which the host passes on, does not count."""
    return value is not None and not (
        isinstance(value, list) and len(value) == 1 and value[0] is None
    )


def each(lists: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The first values of all lists, then the second ones, and so on; shorter lists drop out."""
    longest = max(map(len, lists.values()), default=0)
    for number in range(longest):
        yield {name: some[number] for name, some in lists.items() if number < len(some)}


def check_values(
    inputs: Iterable[Any],
    values: Mapping[str, Any],
    found_by_node: Collection[str] = (),
    at_run: bool = True,
) -> None:
    """Raise ValueError for a value that its input does not take; None comes over a wire."""
    for one in inputs:
        value = values.get(one.id)
        if isinstance(one, io.DynamicCombo.Input):
            choices = {option.key: option.inputs for option in one.options}
            chosen = dict(value) if isinstance(value, Mapping) else {}
            # The host leaves out the inputs of other choices.
            check_choice(shown(one), chosen.get(one.id), list(choices))
            check_values(choices[chosen[one.id]], chosen, (), at_run)
        elif isinstance(one, io.Autogrow.Input):
            check_sockets(value or {}, at_run)
        elif value is not None:
            check_value(one, value, one.id in found_by_node, at_run)


def shown(one: Any) -> str:
    """An input's name on the node."""
    return one.display_name or one.id


def check_sockets(values: Mapping[str, Any], at_run: bool) -> None:
    """Raise ValueError for a value given to an input that only accepts a connection."""
    for name, value in values.items() if at_run else ():
        if value is not None:
            raise ValueError(
                f"{name} is {quoted(value)}, but only accepts a connection. Connect a node to it."
            )


def check_value(one: Any, value: Any, found_by_node: bool, at_run: bool) -> None:
    """Raise ValueError for a value that is of another type or out of bounds."""
    if isinstance(one, io.Combo.Input) and not found_by_node:
        check_choice(shown(one), value, one.options or ())
    elif isinstance(one, io.String.Input | io.Combo.Input):
        check_text(
            shown(one), value, LONGEST_TEXT if getattr(one, "multiline", 0) else LONGEST_LINE
        )
    elif isinstance(one, io.Boolean.Input) and not isinstance(value, bool):
        raise ValueError(f"{shown(one)} is {quoted(value)}, but must be true or false.")
    elif isinstance(one, io.Int.Input | io.Float.Input):
        check_number(one, value)
    elif not isinstance(one, io.Boolean.Input):
        check_sockets({shown(one): value}, at_run)


def check_number(one: Any, value: Any) -> None:
    """Raise ValueError for a value that is not a number, or not one that the input accepts."""
    kinds = int if isinstance(one, io.Int.Input) else int | float
    a_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not (a_number and one.min <= value <= one.max):  # NaN is neither below nor above.
        whole = "" if a_number else "a whole number from " if kinds is int else "a number from "
        raise ValueError(
            f"{shown(one)} is {quoted(value)}, but must be {whole}{one.min} to {one.max}."
        )


def check_text(name: str, value: Any, most: int) -> None:
    """Raise ValueError for a value that is not text, is too long, or contains lone surrogates,
    which no file or message can hold.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is {quoted(value)}, but must be text.")
    if len(value) > most:
        raise ValueError(
            f"{name} has {len(value)} characters ({quoted(value[:40])} ...), but at most {most} "
            f"are allowed. Shorten it."
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(
            f"{name} is {quoted(value)}, which contains half a character and cannot be saved. "
            f"Type it again."
        )


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise ValueError for a choice that is not offered."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        found = "" if value is None else f" is {quoted(value)}, but"
        more = f" and {len(choices) - MOST_LISTED} more" if choices[MOST_LISTED:] else ""
        offered = ", ".join(map(repr, choices[:MOST_LISTED]))
        raise ValueError(f"{name}{found} must be one of {offered}{more}.")


def check_arrived(inputs: Iterable[Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError for a required input that received nothing."""
    for one in inputs:
        if not one.optional and one.id in values and values[one.id] is None:
            raise ValueError(
                f"Nothing has reached {shown(one)}. Connect it to a node that provides it."
            )


class Place(NamedTuple):
    """An input of a schema, and the name by which a prompt gives it its value."""

    name: str
    one: Any


def places(inputs: Iterable[Any], sent: Mapping[str, Any], before: str = "") -> Iterator[Place]:
    """The inputs of a schema with those of the chosen options."""
    for one in inputs:
        name = f"{before}{one.id}"
        yield Place(name, one)
        if isinstance(one, io.DynamicCombo.Input):
            chosen = [option.inputs for option in one.options if option.key == sent.get(name)]
            yield from places(chosen[0] if chosen else (), sent, f"{name}.")


def check_sent(inputs: Iterable[Any], sent: Mapping[str, Any]) -> None:
    """Raise ValueError for values that the host converts before a node sees them: it takes any text
    for true, and turns null into the text 'None' or takes it for a connection.
    """
    for name, one in places(inputs, sent):
        value = sent.get(name, "not sent")
        if value is None and not (one.optional and is_socket(one)):
            raise ValueError(f"{shown(one)} is null, {in_place_of_null(one)}")
        if isinstance(one, io.Boolean.Input) and isinstance(value, str | float) and name in sent:
            raise ValueError(f"{shown(one)} is {quoted(value)}, but must be true or false.")


def in_place_of_null(one: Any) -> str:
    """What to give instead; a page sends null also for a field in which no number is left."""
    if isinstance(one, io.Int.Input | io.Float.Input):
        return f"so its field holds no number: write one from {one.min} to {one.max}."
    if is_socket(one):
        return "but needs a connection: connect it."
    return f"but needs a value. Set one{', or leave the input out' if one.optional else ''}."


def is_socket(one: Any) -> bool:
    """Whether an input only accepts a connection."""
    return not isinstance(one, io.WidgetInput | io.DynamicCombo.Input | io.Autogrow.Input)


def cut(text: str, most: int) -> str:
    """A text cut to `most` characters."""
    return text if len(text) <= most else f"{text[:most]} ..."
