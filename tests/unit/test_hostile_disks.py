"""Full, removed, shared and foreign disks and folders: what is said, what is kept."""

import os
from pathlib import Path

import pytest
from hostile_disks import Case, can_mount, cases, outcome


@pytest.mark.skipif(os.name == "nt", reason="the cases are those of a POSIX system")
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_what_a_disk_does_ends_as_it_should(case: Case, tmp_path: Path):
    if "disk" in case.what and not can_mount():
        pytest.skip("this user may not mount a small disk")
    assert outcome(case, tmp_path) == case.ideal
