"""Ways to bend an input: bytes, pickles, JSON and lines of text. The same seed bends alike."""

import io
import json
import pickletools
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

Draws = random.Random
LARGEST = 1 << 20  # bytes of a bent input
NUMBERS = (0, 1, -1, 2, 7, 255, 768, 65535, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 32, (1 << 63) - 1)
TEXTS = (
    "", " ", "a", "x" * 5000, "embedding:other", "(cat:1e9)", "((((", "\\(", "\ud800", "\0", "\n",
    "{}", "{a|b}", "[filewords]", "nan", "inf", "-1", "1e999", "../../etc/passwd", "CON", "a" * 300,
    "\u202e", "\u00e9" * 50, "cat, dog, ", "%s%n", "__proto__", "0" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None] * 50, {"a": {"b": []}}, 1e308, -1e308, 1e-320, 1 << 70,
    float("nan"), float("inf"), *NUMBERS, *TEXTS,
)  # fmt: skip


def bent_bytes(samples: Sequence[bytes], seed: int, words: Sequence[bytes] = ()) -> bytes:
    """A sample with a few changes of its bytes."""
    draws = Draws(seed)
    data = bytearray(draws.choice(samples))
    for _ in range(draws.choice((1, 1, 2, 4, 8))):
        draws.choice(CHANGES)(data, draws, [*samples, *words])
    return bytes(data[:LARGEST])


def flip(data: bytearray, draws: Draws, others: Sequence[bytes]) -> None:
    """One bit."""
    if data:
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)


def overwrite(data: bytearray, draws: Draws, others: Sequence[bytes]) -> None:
    """A number of some size, in either order of bytes."""
    code = draws.choice("bhiqBHIQ")
    size = struct.calcsize(code)
    if len(data) >= size:
        at = draws.randrange(len(data) - size + 1)
        value = draws.choice(NUMBERS) & ((1 << (8 * size)) - 1)
        data[at : at + size] = value.to_bytes(size, draws.choice(("little", "big")))


def cut(data: bytearray, draws: Draws, others: Sequence[bytes]) -> None:
    """A piece taken out."""
    start, stop = piece(data, draws)
    del data[start:stop]


def repeat(data: bytearray, draws: Draws, others: Sequence[bytes]) -> None:
    """A piece, many times."""
    start, stop = piece(data, draws)
    times = draws.choice((2, 2, 8, 100, 3000))
    data[start:start] = (bytes(data[start:stop]) * times)[: LARGEST // 4]


def splice(data: bytearray, draws: Draws, others: Sequence[bytes]) -> None:
    """A piece of another sample, or a word, put in."""
    other = draws.choice(others)
    start, stop = piece(other, draws) if len(other) > 16 else (0, len(other))
    at = draws.randrange(len(data) + 1)
    data[at : at + draws.choice((0, stop - start))] = other[start:stop]


def piece(data: bytes | bytearray, draws: Draws) -> tuple[int, int]:
    """Where a piece begins and ends, mostly a short one."""
    start = draws.randrange(len(data) + 1)
    return start, min(len(data), start + draws.choice((1, 2, 4, 16, 64, 1000)))


CHANGES: tuple[Callable[[bytearray, Draws, Sequence[bytes]], None], ...] = (
    flip, overwrite, cut, repeat, splice,
)  # fmt: skip


def bent_pickle(samples: Sequence[bytes], seed: int) -> bytes:
    """A pickle whose instructions were left out, repeated, exchanged or mixed with another's."""
    draws = Draws(seed)
    lists = [instructions(sample) for sample in samples]
    program = list(draws.choice(lists))
    foreign = [*draws.choice(lists), *INSTRUCTIONS]
    for _ in range(draws.choice((1, 1, 2, 4))):
        at = draws.randrange(len(program) + 1)
        end = min(len(program), at + draws.choice((1, 1, 2, 6, 20)))
        kind = draws.randrange(5)
        if kind == 0:
            del program[at:end]
        elif kind == 1:
            program[at:at] = program[at:end] * draws.choice((1, 2, 50, 3000))
        elif kind == 2:
            program.insert(at, draws.choice(foreign))
        elif kind == 3 and program:
            other = draws.randrange(len(program))
            at = min(at, len(program) - 1)
            program[at], program[other] = program[other], program[at]
        elif program:
            at = min(at, len(program) - 1)
            program[at] = bent_bytes([program[at]], draws.randrange(1 << 30))
    return b"".join(program)[:LARGEST]


def instructions(data: bytes) -> list[bytes]:
    """The instructions of a pickle, each with its argument."""
    starts = [at for _, _, at in pickletools.genops(io.BytesIO(data)) if at is not None]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


INSTRUCTIONS = (
    b"(", b")", b"]", b"}", b"t", b"\x85", b"\x86", b"\x87", b"e", b"a", b"s", b"u", b"R", b"b",
    b"\x81", b"N", b"\x88", b"Q", b"q\0", b"h\0", b"q\1", b"h\1", b"0", b"2", b"K\1", b"M\0\3",
    b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"X\3\0\0\0cat", b"\x94",
    b"G\x7f\xf0\0\0\0\0\0\0", b"ctorch\nSize\n", b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
    b"X\xff\xff\0\0" + b"y" * 65535,
    b"cbuiltins\neval\n", b"\x93", b"\x8f", b"\x90", b"X\2\0\0\0\xed\xa0",
)  # fmt: skip


def bent_json(value: Any, draws: Draws) -> Any:
    """A value of JSON with one or some of its parts exchanged, left out or repeated."""
    for _ in range(draws.choice((1, 1, 2, 4))):
        value = bent_part(value, draws)
    return value


def bent_part(value: Any, draws: Draws) -> Any:
    """A value with one part changed."""
    if isinstance(value, dict) and value and draws.random() < 0.9:
        key = draws.choice(list(value))
        kind = draws.randrange(8)
        rest = {name: one for name, one in value.items() if name != key}
        if kind == 0:
            return rest
        if kind == 1:
            return {**rest, draws.choice(TEXTS): value[key]}
        if kind == 2:
            return {**value, **{f"{key}{n}": value[key] for n in range(draws.choice((1, 40, 900)))}}
        return {**value, key: bent_part(value[key], draws)}
    if isinstance(value, list) and value and draws.random() < 0.8:
        at = draws.randrange(len(value))
        kind = draws.randrange(4)
        if kind == 0:
            return value[:at] + value[at + 1 :]
        if kind == 1:
            return value[:at] + [value[at]] * draws.choice((2, 100, 2000)) + value[at:]
        return value[:at] + [bent_part(value[at], draws)] + value[at + 1 :]
    return draws.choice(VALUES)


def json_bytes(value: Any) -> bytes:
    """JSON as a careless program writes it."""
    return json.dumps(value).encode()


def bent_lines(samples: Sequence[bytes], seed: int, words: Sequence[str]) -> bytes:
    """Text whose words were exchanged, lines repeated, bytes bent now and then."""
    draws = Draws(seed)
    lines = draws.choice(samples).decode("utf-8", "surrogateescape").split("\n")
    for _ in range(draws.choice((1, 2, 4))):
        at = draws.randrange(len(lines))
        parts = lines[at].split(" ")
        parts[draws.randrange(len(parts))] = draws.choice((*words, *TEXTS))
        lines[at] = " ".join(parts)
        if draws.random() < 0.3:
            lines[at:at] = [draws.choice(lines)] * draws.choice((1, 20, 2000))
    data = "\n".join(lines).encode("utf-8", "surrogatepass")[:LARGEST]
    return bent_bytes([data], draws.randrange(1 << 30)) if draws.random() < 0.2 else data
