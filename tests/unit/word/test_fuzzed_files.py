"""A short, always equal part of what `scripts/fuzz.py` does: bent embeddings and checkpoints."""

import mmap
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_readers import TARGETS
from fuzz_watch import MEGABYTES, SECONDS, Target, Verdict, fuzzed, watched

INPUTS = 60


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_bent_files_are_read_or_refused_in_our_words(target: Target, tmp_path: Path):
    assert fuzzed(target, tmp_path, INPUTS) == Verdict(INPUTS, [])


def idle() -> None:
    """Take more of the processor than a reader may."""
    ends = time.process_time() + 1.2 * SECONDS
    while time.process_time() < ends:
        pass


def fill() -> None:
    """Take more memory than a reader may, straight from the system."""
    with mmap.mmap(-1, int(2 * MEGABYTES) << 20) as memory:
        memory.write(b"x" * len(memory))


def call(fault: Callable[[], object]) -> None:
    fault()


def long_message() -> None:
    raise ValueError("x" * 5000)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda: [].pop(), "IndexError"),
        (fill, "too large"),
        (idle, "too slow"),
        (long_message, "long message"),
    ],
)
def test_a_reader_that_breaks_a_limit_is_noticed(
    fault: Callable[[], object], kind: str, tmp_path: Path
):
    target = Target(
        "bad", lambda: [b""], lambda samples, seed: b"", lambda folder, data: call(fault)
    )
    assert watched(target, tmp_path, b"").kind.startswith(kind)


def test_the_same_seed_bends_alike():
    for target in TARGETS:
        seed = random.Random(target.name).randrange(1 << 30)
        assert target.mutate(target.seeds(), seed) == target.mutate(target.seeds(), seed)
