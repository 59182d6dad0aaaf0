"""A short, always equal part of what `scripts/fuzz.py` does: bent images and data sets."""

from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
from fuzz_datasets import TARGETS
from fuzz_watch import Target, Verdict, fuzzed

INPUTS = 40


@pytest.fixture(autouse=True)
def same_inputs() -> Iterator[None]:
    """The host's input folder is what it was."""
    before = folder_paths.get_input_directory()
    yield
    folder_paths.set_input_directory(before)


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_bent_data_sets_are_read_or_refused_in_our_words(target: Target, tmp_path: Path):
    assert fuzzed(target, tmp_path, INPUTS) == Verdict(INPUTS, [])
