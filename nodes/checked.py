"""The host's own check of choices and ranges, for a node whose `validate_inputs` takes all of its
inputs, by which the host leaves the check to the node (core execution.py:1019).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comfy_api.latest import io


def check_values(inputs: Iterable[Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError for a value that its input does not take; None comes over a wire."""
    for one in inputs:
        value = values.get(one.id)
        if isinstance(one, io.DynamicCombo.Input):
            choices = {option.key: option.inputs for option in one.options}
            chosen = dict(value or {})  # The host leaves out what it does not know.
            check_choice(one.id, chosen.get(one.id), list(choices))
            check_values(choices[chosen[one.id]], chosen)
        elif value is None:
            continue
        elif isinstance(one, io.Combo.Input):
            check_choice(one.id, value, one.options or ())
        elif isinstance(one, io.Int.Input | io.Float.Input) and not one.min <= value <= one.max:
            raise ValueError(f"{one.id} is {value}, but may be {one.min} to {one.max}.")


def check_choice(name: str, value: str | None, choices: Sequence[Any]) -> None:
    """Raise ValueError for a choice that is not offered."""
    if value not in choices:
        found = "" if value is None else f" is {value!r}, but"
        raise ValueError(f"{name}{found} may be {', '.join(map(repr, choices))}.")
