"""Reads the pickles that torch.save writes, as data: nothing is imported and nothing is called.

The instructions of the pickle are followed by hand: those of protocol 2 that torch uses, any other
is an error. Names of functions and classes stay names; the few by which torch describes tensors and
dicts are understood.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from .budget import Budget

LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
NEW = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()
MAX_ARGUMENTS = 16
MAX_AXES = 8
TYPES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")


class Name(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    attribute: str


STORAGES = {Name("torch", f"{kind}Storage") for kind in TYPES}


class PickleReader:
    """Follows pickles. `storage` makes a storage of a persistent id, `tensor` a tensor of the
    arguments of torch's rebuild function.
    """

    def __init__(self, storage: Callable[..., Any], tensor: Callable[..., Any], budget: Budget):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storage = storage
        self.budget = budget
        self.calls: dict[Name, Callable[..., Any]] = {
            Name("torch._utils", "_rebuild_tensor"): tensor,
            Name("torch._utils", "_rebuild_tensor_v2"): tensor,
            Name("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            Name("torch", "Size"): size_of,
            Name("__builtin__", "set"): lambda *_: None,  # Modules keep sets beside parameters.
            Name("collections", "OrderedDict"): lambda *_: {},
            Name("torch.nn.modules.container", "ParameterDict"): lambda *_: {},
        }

    def read(self, file: BinaryIO) -> Any:
        """The object that the next pickle describes; the file is left behind the pickle."""
        self.stack, self.memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                self.budget.spend("parts")
                self.follow(opcode.name, argument)
            return self.stack.pop()
        except (IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise ValueError(f"its pickle is damaged ({type(error).__name__})") from error

    def follow(self, name: str, argument: Any) -> None:
        """Do one instruction."""
        if name in LITERALS:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in NEW:
            self.stack.append(NEW[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.stack.pop() for _ in range(TUPLES[name]))[::-1])
        elif name == "GLOBAL":
            self.stack.append(self.known_name(*argument.split(" ", 1)))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(self.called(function, arguments))
        elif name == "BUILD":
            state = self.stack.pop()
            self.put_items(self.stack[-1], parameters_in(state))
        elif name == "BINPERSID":
            kind, *fields = self.arguments(self.stack.pop())
            # Before torch 1.6 a module's class came with its source text, which is left unread.
            self.stack.append(fields[0] if kind == "module" else self.storage(*fields))
        elif name not in ("PROTO", "STOP"):
            self.arrange(name, argument)

    def arrange(self, name: str, argument: Any) -> None:
        """Do an instruction that fills a collection or remembers an object."""
        if name == "MARK":
            self.stack.append(MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            self.put_items(self.stack[-1], [key, value])
        elif name == "SETITEMS":
            items = self.marked()
            self.put_items(self.stack[-1], items)
        elif name in ("APPEND", "APPENDS"):
            items = self.marked() if name == "APPENDS" else [self.stack.pop()]
            list.extend(self.stack[-1], items)
        elif name == "TUPLE":
            self.stack.append(tuple(self.marked()))
        else:
            raise ValueError(f"its pickle holds the instruction {name}, which no embedding needs")

    def marked(self) -> list[Any]:
        """Take what lies above the topmost mark."""
        taken = []
        while (item := self.stack.pop()) is not MARK:
            taken.append(item)
        self.budget.spend("entries", len(taken))
        return taken[::-1]

    def known_name(self, module: str, attribute: str) -> Name:
        """A name; what it names is neither imported nor called."""
        name = Name(module, attribute)
        if name not in self.calls and name not in STORAGES:
            raise ValueError(
                f"it asks to run '{name.module[:40]}.{name.attribute[:40]}', which no embedding "
                f"needs; nothing of it was run"
            )
        return name

    def called(self, name: Any, arguments: Any) -> Any:
        """What a known function or class makes of its arguments."""
        if type(name) is not Name or name not in self.calls:
            raise ValueError("its pickle calls something that is not a function")
        return self.calls[name](*self.arguments(arguments))

    def arguments(self, given: Any) -> tuple[Any, ...]:
        """The arguments of a call; ValueError where they are none."""
        if type(given) is not tuple or len(given) > MAX_ARGUMENTS:
            raise ValueError(f"its pickle calls something with more than {MAX_ARGUMENTS} arguments")
        return given

    def put_items(self, made: Any, items: list[Any]) -> None:
        """Put keys and values into a dict. Other keys than text are refused: numbers can be chosen
        to share one hash, and hashing a deeply nested tuple would exhaust the stack.
        """
        if type(made) is not dict or not all(type(key) is str for key in items[::2]):
            raise ValueError("its pickle is damaged (a dict with other keys than names)")
        self.budget.spend("entries", len(items))
        made.update(zip(items[::2], items[1::2], strict=True))


def size_of(axes: Any) -> tuple[int, ...]:
    """A torch.Size."""
    if type(axes) is not tuple or len(axes) > MAX_AXES or not all(type(n) is int for n in axes):
        raise ValueError(f"its pickle holds a shape that is not one of at most {MAX_AXES} numbers")
    return axes


def parameters_in(state: Any) -> list[Any]:
    """Keys and values of the entries in the state of torch's ParameterDict, one after the other;
    none in that of other dicts, where nothing matters.
    """
    entries = state.get("_parameters") if isinstance(state, dict) else None
    return [part for item in (entries or {}).items() for part in item]
