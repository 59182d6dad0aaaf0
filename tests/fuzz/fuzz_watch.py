"""Watches what one input costs: processor seconds, memory, exceptions that are not ours."""

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 1.0  # of the processor, for one input
MEGABYTES = 64.0  # above the input's own size
LONGEST_MESSAGE = 700  # characters: the reader's 500, and what the caller puts around them
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Target(NamedTuple):
    """Something that reads a stranger's bytes. `seeds` are good inputs, `mutate` makes another one
    of some of them and a seed, `read` takes a folder to write into and the bytes; it may raise
    ValueError, and nothing else. `megabytes` is what it may take above an input's size.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[Sequence[bytes], int], bytes]
    read: Callable[[Path, bytes], None]
    megabytes: float = MEGABYTES


class Cost(NamedTuple):
    """What reading an input took, the kind of what was wrong with that, and more of it; both are
    empty if nothing was.
    """

    seconds: float
    megabytes: float
    kind: str = ""
    fault: str = ""


class Verdict(NamedTuple):
    """How many inputs were read, and the faults that were found."""

    inputs: int
    faults: list[str]


def fuzzed(target: Target, folder: Path, inputs: int) -> Verdict:
    """Read the good inputs, and then bent ones, always the same."""
    samples = target.seeds()
    for sample in samples:  # What is made once, such as fonts and tables, is not counted.
        watched(target, folder, sample)
    found = []
    for seed in range(inputs):
        cost = watched(target, folder, target.mutate(samples, seed))
        if cost.kind:
            found.append(f"seed {seed}: {cost.kind} {cost.fault}")
    return Verdict(inputs, found)


def watched(target: Target, folder: Path, data: bytes) -> Cost:
    """Read an input once."""
    gc.disable()  # A collection that falls into a reading would be counted as its time.
    before, started = mark_memory(), time.process_time()
    kind, fault = fault_of(target, folder, data)
    seconds, megabytes = time.process_time() - started, peak_memory() - before
    gc.enable()
    if not kind and seconds > SECONDS:
        kind, fault = "too slow", f"{seconds:.2f} s"
    if not kind and megabytes > target.megabytes + len(data) / (1 << 20):
        kind, fault = "too large", f"{megabytes:.0f} MB"
    return Cost(seconds, megabytes, kind, fault)


def fault_of(target: Target, folder: Path, data: bytes) -> tuple[str, str]:
    """What a reading did that it may not do: its kind, and more of it."""
    try:
        target.read(folder, data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        text = str(error)
        if type(error) is not ValueError:
            return f"{type(error).__name__} {place(error)}", ascii(text[:LONGEST_MESSAGE])
        if len(text) > LONGEST_MESSAGE:
            return f"long message {place(error)}", f"{len(text)} characters: {text[:80]!a}"
        if not printable(text):
            return f"unprintable message {place(error)}", ascii(text)
    return "", ""


def printable(text: str) -> bool:
    """Whether a message can be shown anywhere: no control characters, no halves of characters."""
    return all(character.isprintable() or character == "\n" for character in text)


def place(error: BaseException) -> str:
    """The innermost line of ours that an exception came through."""
    where, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "ti_core" in code.co_filename:
            where = f"at {Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return where


def mark_memory() -> float:
    """The memory held now, in MB; where the system allows it, the peak starts anew from here, and
    what was freed is given back before, so that no input finds memory that another left.
    """
    if RESET.exists():
        give_back()
        RESET.write_text("5")
        return held("VmRSS")
    return peak_memory()


def give_back() -> None:
    """Return freed memory to the system; only glibc can be asked to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def peak_memory() -> float:
    """The most memory held since the last mark, in MB (on systems without marks: ever)."""
    if RESET.exists():
        return held("VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20) if sys.platform == "darwin" else most / 1024


def held(what: str) -> float:
    """A figure of this process in MB."""
    text = STATUS.read_text()
    return int(text[text.index(f"{what}:") :].split(maxsplit=2)[1]) / 1024
