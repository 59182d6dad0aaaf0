"""The settings of a run as JSON, and back; what is unknown or wrong is refused by its name."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..quoted import quoted
from .optimizers import METHODS
from .schedule import Schedule, schedule
from .settings import TrainingSettings

METHOD = "name"  # of a method, among its settings
NAMES = {method: name for name, method in METHODS.items()}
COUNTS = ("batch_size", "accumulation", "steps")  # at least 1
MOST = 2**64 - 1  # the largest seed; no other number comes near


def as_json(settings: object) -> Any:
    """Settings, or a part of them, as `json` writes them: a dict for each dataclass, a list for
    each tuple; in that of a method also its name.
    """
    if isinstance(settings, tuple):
        return [as_json(one) for one in settings]
    if not is_dataclass(settings):
        return settings
    named = {METHOD: NAMES[type(settings)]} if type(settings) in NAMES else {}
    return {**named, **{f.name: as_json(getattr(settings, f.name)) for f in fields(settings)}}


def settings_of(given: object) -> TrainingSettings:
    """The settings that `as_json` has written; what is left out is as usual. ValueError with the
    name of what is missing, unknown or wrong.
    """
    return read(TrainingSettings, given, "")


def read(kind: Any, given: object, name: str) -> Any:
    """The value of that name, of a type that settings have."""
    options = get_args(kind)
    if NoneType in options:
        return None if given is None else read(options[0], given, name)
    if options and set(options) <= {*METHODS.values()}:
        return read_method(given, name)
    if is_dataclass(kind):
        found = read_fields(kind, given, name)
        return checked(found) if isinstance(found, Schedule) else found
    if get_origin(kind) is tuple:
        return read_tuple(options, given, name)
    if get_origin(kind) is Literal:
        if given not in options:
            raise wrong(name, given, f"one of {', '.join(map(repr, options))}")
        return given
    return read_plain(kind, given, name)


def read_fields(kind: Any, given: object, name: str) -> Any:
    """A dataclass from its fields; those that have a usual value may be missing."""
    if not isinstance(given, Mapping):
        raise wrong(name, given, "an object with names")
    known = {field.name: field for field in fields(kind)}
    for other in given:
        if other not in known:
            raise ValueError(
                f"There is no setting {quoted(below(name, other))}. Known are: {', '.join(known)}."
            )
    for field in known.values():
        if field.default is MISSING and field.name not in given:
            raise ValueError(f"The setting {below(name, field.name)!r} is missing.")
    hints = get_type_hints(kind)
    return kind(**{one: read(hints[one], given[one], below(name, one)) for one in given})


def checked(rates: Schedule) -> Schedule:
    """The schedule; ValueError for one that could not be typed."""
    pieces = (f"{rate}" if until is None else f"{rate}:{until}" for rate, until in rates.pieces)
    schedule(", ".join(pieces), rates.steps, rates.shape, rates.warmup)
    return rates


def read_method(given: object, name: str) -> Any:
    """The settings of the method that they name."""
    method = given.get(METHOD) if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(method, str) or method not in METHODS:
        raise wrong(below(name, METHOD), method, f"one of {', '.join(map(repr, METHODS))}")
    rest = {key: value for key, value in given.items() if key != METHOD}
    return read_fields(METHODS[method], rest, name)


def read_tuple(kinds: tuple[Any, ...], given: object, name: str) -> tuple[Any, ...]:
    """A list of values of these types, or of any number of one type."""
    if not isinstance(given, list):
        raise wrong(name, given, "a list")
    kinds = kinds[:1] * len(given) if kinds[-1] is Ellipsis else kinds
    if len(given) != len(kinds):
        raise wrong(name, given, f"a list of {len(kinds)}")
    pairs = zip(kinds, given, strict=True)
    return tuple(read(kind, one, f"{name}[{at}]") for at, (kind, one) in enumerate(pairs))


def read_plain(kind: type, given: object, name: str) -> bool | int | float:
    """A switch, or a number, of which none is negative."""
    if kind is bool:
        if not isinstance(given, bool):
            raise wrong(name, given, "true or false")
        return given
    least = 1 if name.rpartition(".")[2] in COUNTS else 0
    allowed = (int,) if kind is int else (int, float)
    if isinstance(given, bool) or not isinstance(given, allowed) or not least <= given <= MOST:
        number = "a whole number" if kind is int else "a number"
        raise wrong(name, given, f"{number} from {least} to {MOST}")
    return given


def below(name: str, one: object) -> str:
    """The full name of a setting among those of a name."""
    return f"{name}.{one}" if name else str(one)


def wrong(name: str, given: object, wanted: str) -> ValueError:
    """The error for a value."""
    where = f"The setting {name!r} is" if name else "The settings are"
    return ValueError(f"{where} {quoted(given)}, not {wanted}.")
