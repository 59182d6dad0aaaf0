"""Data sets of strangers: each is read, or refused in our words."""

from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
from hostile_data import Case, cases

CHEAP = [case for case in cases() if not case.name.startswith("64 MP")]  # See test_image_files.


@pytest.fixture(autouse=True)
def same_inputs() -> Iterator[None]:
    """The host's input folder is what it was."""
    before = folder_paths.get_input_directory()
    yield
    folder_paths.set_input_directory(before)


@pytest.mark.parametrize("case", CHEAP, ids=[case.name for case in CHEAP])
def test_a_strangers_data_set_is_read_or_refused_in_our_words(tmp_path: Path, case: Case):
    try:
        case.run(tmp_path)
    except ValueError as error:
        assert type(error) is ValueError
        assert len(str(error)) <= 500
        assert str(error)[0].isupper()
        assert str(error).endswith((".", "?"))
