"""What the pack takes from ComfyUI is there, in this one and in the recorded ones."""

import json
from itertools import pairwise
from pathlib import Path

import host_contract
import pytest

from ti_core.host.models.compatibility import CHANGED, host_version, numbered

FOLDER = Path(__file__).resolve().parents[1] / "contracts"
RECORDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*.json"), key=lambda path: numbered(path.stem))
}
Record = dict[str, str]


def differing(one: Record, other: Record) -> set[str]:
    """The names that two records do not say the same of."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def nearest(version: str) -> Record:
    """The record of the newest version that is not newer than this one, or else the oldest."""
    older = [one for one in RECORDS if numbered(one) <= numbered(version)]
    return RECORDS[older[-1] if older else min(RECORDS, key=numbered)]


@pytest.fixture(scope="module")
def here(comfyui: Path) -> Record:
    """What the ComfyUI of this process offers; its `nodes` goes before ours, whatever other tests
    have put in front of the path.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(comfyui))
        return host_contract.contract()


def test_the_host_has_every_name_that_the_pack_uses(here: Record):
    assert "missing" not in here.values()
    assert {"comfy.sd.CLIP.clone", "comfy_api.latest.io.Schema"} <= here.keys()


def test_the_host_is_as_recorded(here: Record):
    """A name that the pack uses anew is recorded by `python scripts/host_contract.py`, for each
    version in tests/contracts/.
    """
    version = host_version()
    known = set() if version in RECORDS else set(CHANGED)
    assert differing(here, nearest(version)) <= known


def test_the_hosts_differ_only_in_what_has_been_looked_at():
    changed = [differing(one, other) for one, other in pairwise(RECORDS.values())]
    assert set().union(*changed) == set(CHANGED)
