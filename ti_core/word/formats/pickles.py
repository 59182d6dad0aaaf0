"""Reads the pickles that torch.save writes, as data: nothing is imported and nothing is called.

The instructions of the pickle are followed by hand. Names of functions and classes stay names; the
few by which torch describes tensors and dicts are understood, any other is an error.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

MAX_INSTRUCTIONS = 300_000
LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
LITERALS |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
LITERALS |= {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
NEW = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


class Name(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    attribute: str

    @property
    def is_storage(self) -> bool:
        """Whether it is one of torch's types of stored values."""
        return self.module == "torch" and self.attribute.endswith("Storage")


class PickleReader:
    """Follows one pickle. `storage` makes a storage of a persistent id, `tensor` a tensor of the
    arguments of torch's rebuild function.
    """

    def __init__(self, storage: Callable[..., Any], tensor: Callable[..., Any]):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storage = storage
        self.calls: dict[Name, Callable[..., Any]] = {
            Name("torch._utils", "_rebuild_tensor"): tensor,
            Name("torch._utils", "_rebuild_tensor_v2"): tensor,
            Name("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            Name("torch", "Size"): tuple,
            Name("__builtin__", "set"): lambda *_: None,  # Modules keep sets beside parameters.
            Name("collections", "OrderedDict"): lambda *_: {},
            Name("torch.nn.modules.container", "ParameterDict"): lambda *_: {},
        }

    def read(self, file: BinaryIO) -> Any:
        """The object that the pickle describes; the file is left behind the pickle."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count >= MAX_INSTRUCTIONS:
                    raise ValueError("its pickle is longer than an embedding's could be")
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
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.name(str(argument).partition(" ") if name == "GLOBAL" else None)
        elif name in ("REDUCE", "NEWOBJ", "BUILD"):
            above, below = self.stack.pop(), self.stack.pop()
            self.stack.append(
                with_state(below, above) if name == "BUILD" else self.called(below, above)
            )
        elif name == "BINPERSID":
            kind, *fields = self.stack.pop()
            # Before torch 1.6 a module's class came with its source text, which is left unread.
            self.stack.append(fields[0] if kind == "module" else self.storage(*fields))
        elif name not in ("PROTO", "FRAME", "STOP"):
            self.arrange(name, argument)

    def arrange(self, name: str, argument: Any) -> None:
        """Do an instruction that fills a collection or remembers an object."""
        if name == "MARK":
            self.stack.append(MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            put_items(self.stack[-1], [key, value])
        elif name == "SETITEMS":
            items = self.marked()
            put_items(self.stack[-1], items)
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
        return taken[::-1]

    def name(self, written: tuple[str, str, str] | None) -> None:
        """Put a name on the stack; what it names is neither imported nor called."""
        attribute, module = (written[2], written[0]) if written else (self.pop_text(), "")
        name = Name(module or self.pop_text(), attribute)
        if name not in self.calls and not name.is_storage:
            raise ValueError(
                f"it asks to run '{name.module[:40]}.{name.attribute[:40]}', which no embedding "
                f"needs; nothing of it was run"
            )
        self.stack.append(name)

    def pop_text(self) -> str:
        """Take a text off the stack."""
        return str.__str__(self.stack.pop())

    def called(self, name: Any, arguments: Any) -> Any:
        """What a known function or class makes of its arguments."""
        if type(name) is not Name or name not in self.calls:
            raise ValueError("its pickle calls something that is not a function")
        return self.calls[name](*arguments)


def with_state(made: Any, state: Any) -> Any:
    """An object with its state; torch's ParameterDict keeps its entries there, other dicts nothing
    that matters.
    """
    if isinstance(made, dict) and isinstance(state, dict):
        put_items(made, [part for item in state.get("_parameters", {}).items() for part in item])
    return made


def put_items(made: Any, items: list[Any]) -> None:
    """Put keys and values into a dict. Other keys than text and numbers are refused: the hash of a
    deeply nested tuple would exhaust the interpreter's stack.
    """
    if type(made) is not dict or not all(type(key) in (str, int) for key in items[::2]):
        raise ValueError("its pickle is damaged (a dict with other keys than names and numbers)")
    made.update(zip(items[::2], items[1::2], strict=True))
