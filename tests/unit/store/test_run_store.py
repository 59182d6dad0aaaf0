"""The run store: what is written is there whole, what is damaged is noticed, and no disk ends a
run.
"""

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hostile_disks import largest_file
from toy import concept, ran, settings, word

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.store import run_store
from ti_core.store.checkpoint import (
    METADATA,
    VERSION,
    checkpoint,
    opened,
    packed_state,
    restored,
    sealed,
)
from ti_core.store.digest import digest_of
from ti_core.store.run_store import ANEW, RunStore, checkpoints, step_of, trim
from ti_core.training.optimizers import AdamWSettings, SphericalSettings
from ti_core.training.run import RunState
from ti_core.word.formats import file_locks

LIKE = word().vectors


@pytest.fixture(scope="module")
def state() -> RunState:
    """A run of the free method after ten steps."""
    return ran(settings(10, method=AdamWSettings()))


def store(root: Path, resume: Any = "continue", name: str = "cat-1") -> RunStore:
    return RunStore(root, name, resume)


def saved(root: Path, *states: RunState) -> list[str]:
    """Names of the checkpoints after some states were saved."""
    with store(root) as kept:
        for one in states:
            kept.save(one)
        assert kept.notes == []
    return [path.name for path in checkpoints(root / "cat-1")]


def test_a_state_comes_back_as_it_was(state: RunState):
    again = restored(checkpoint(state), LIKE)
    assert checkpoint(again) == checkpoint(state)
    assert again.validations == state.validations
    assert again.ended == state.ended == "steps"
    assert set(again.memory) == {f"clip_l.{name}" for name in ("step", "exp_avg", "exp_avg_sq")}
    assert again.vectors["clip_l"].equal(state.vectors["clip_l"])


def test_every_flipped_bit_is_noticed(state: RunState):
    """In the length, the header, the metadata and the tensors: every byte, a bit of each. What is
    left are the last digits of a number that mean the same one.
    """
    data, unnoticed = checkpoint(state), []
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 << (place % 8)
        try:
            unnoticed.append(restored(bytes(broken), LIKE))
        except ValueError as error:
            assert re.match("it |its ", str(error))
    assert len(unnoticed) < 5
    assert all(checkpoint(one) == data for one in unnoticed)


def test_every_cut_is_noticed(state: RunState):
    data = checkpoint(state)
    for length in {*range(0, len(data), 97), len(data) - 1}:
        with pytest.raises(ValueError, match="it is not a checkpoint"):
            restored(data[:length], LIKE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 1}, "it has version 1"),
        ({"loss_scale": -1.0}, "loss_scale is -1.0"),
        ({"loss_scale": "1"}, "loss_scale is '1', not a number"),
        ({"rollbacks": 99}, "rollbacks are 99"),
        ({"rollbacks": 0.5}, "rollbacks is 0.5"),
        ({"overshoots": 3}, "overshoots are 3"),
        ({"initializer_loss": True}, "initializer_loss is True"),
        ({"seconds": None}, "seconds is None"),
        ({"ended": "often"}, "it ended by 'often'"),
        ({"ended": None}, "it ended by None"),
        ({"planned": 0.5}, "planned is 0.5"),
        ({"trouble": ["a"]}, "metadata does not describe a run"),
    ],
)
def test_facts_are_checked_even_in_a_sealed_file(state: RunState, change: dict, says: str):
    tensors, facts = packed_state(state)
    with pytest.raises(ValueError, match=says):
        restored(sealed(tensors, {"version": VERSION, **facts, **change}), LIKE)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("vectors/clip_l", torch.zeros(3, 6), "its vectors are"),
        ("best/clip_g", torch.zeros(2, 6), "its best are"),
        ("best/clip_l", torch.full((2, 6), float("nan")), "not finite numbers"),
        ("memory/clip_l.exp_avg", torch.zeros(2, 6, dtype=torch.long), "not finite numbers"),
        ("losses", torch.zeros(9, dtype=torch.float64), "different lengths"),
        ("losses", torch.zeros(10), "no history of losses"),
        ("rates", torch.full((10,), float("inf"), dtype=torch.float64), "rates is not finite"),
        ("validation_steps", torch.tensor([0, 5, 11]), "not those of its steps"),
        ("validation_steps", torch.tensor([0, 0]), "do not fit together"),
        ("validation_steps", torch.tensor([0.0]), "do not fit together"),
    ],
)
def test_tensors_are_checked_even_in_a_sealed_file(
    state: RunState, name: str, value: torch.Tensor, says: str
):
    tensors, facts = packed_state(state)
    with pytest.raises(ValueError, match=says):
        restored(sealed({**tensors, name: value}, {"version": VERSION, **facts}), LIKE)


def test_a_header_that_is_written_otherwise_is_no_damage(state: RunState):
    """Other releases of safetensors may order and space it as they like."""
    data = checkpoint(state)
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), indent=2).encode()
    other = len(header).to_bytes(8, "little") + header + data[8 + size :]
    assert checkpoint(restored(other, LIKE)) == data


def test_files_of_others_are_no_checkpoints():
    for metadata in (
        None,
        {METADATA: "[]"},
        {METADATA: "{"},
        {METADATA: "[" * 100_000},
        {"a": "b"},
    ):
        data = safetensors.torch.save({"a": torch.zeros(1)}, metadata)
        with pytest.raises(ValueError, match="it is not a checkpoint|its metadata|it has version"):
            restored(data, LIKE)


def test_the_last_checkpoints_are_kept_and_the_newest_is_loaded(tmp_path: Path):
    states = [ran(settings(10), until=step) for step in (2, 4, 6, 8)]
    names = saved(tmp_path, *states)
    assert names == [f"step-{step:09d}.safetensors" for step in (4, 6, 8)]
    with store(tmp_path) as kept:
        found = kept.load(LIKE, 10)
    assert found is not None
    assert found.step == 8
    assert not list((tmp_path / "cat-1").glob(".*"))


def test_milestones_stay_and_fewer_steps_take_the_nearest_of_them(tmp_path: Path):
    chosen, shorter = settings(240, shape="constant"), settings(120, shape="constant")
    saved(tmp_path, *(ran(chosen, until=step) for step in range(25, 241, 25)))
    steps = [step_of(path) for path in checkpoints(tmp_path / "cat-1")]
    assert steps == [25, 50, 100, 175, 200, 225]
    with store(tmp_path) as kept:
        found = kept.load(LIKE, 120)
        assert found is not None
        assert found.step == 100
        assert kept.notes == [
            "A longer run of 225 steps is stored; set steps to that number to load its word. "
            "For 120 steps, training continues from step 100 of it."
        ]
        done = ran(shorter, found)
        kept.save(done)
    assert checkpoint(replace(done, seconds=0.0)) == checkpoint(replace(ran(shorter), seconds=0.0))
    with store(tmp_path) as kept:
        longest = kept.load(LIKE, 240)
        assert longest is not None
        assert longest.step == 225
        assert kept.load(LIKE, 10) is None
        assert kept.notes[-1].endswith("For 10 steps, training continues from the beginning.")


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_put_aside(tmp_path: Path):
    states = [ran(settings(10), until=step) for step in (2, 4, 6)]
    saved(tmp_path, *states)
    newest = checkpoints(tmp_path / "cat-1")[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"\7")
    with store(tmp_path) as kept:
        found = kept.load(LIKE, 10)
        assert "content has changed since it was written" in kept.notes[0]
    assert found is not None
    assert found.step == 4
    assert newest.with_suffix(".damaged").is_file()
    assert len(checkpoints(tmp_path / "cat-1")) == 2


def steps_in(root: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(root / "cat-1")]


ENDS = {"kill": None, "cancel": "", "out of memory": "memory", "no numbers": "not finite"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("until", [(), (2,), (2, 4), (2, 4, 6, 8, 9)])
def test_a_run_that_starts_over_and_is_broken_off_leaves_the_one_before(
    end: str, until: tuple[int, ...], tmp_path: Path
):
    before = ran(settings(10))
    saved(tmp_path, ran(settings(10), until=6), before)
    with store(tmp_path, "start over") as kept:
        assert kept.load(LIKE, 10) is None
        kept.probe(LIKE, 10)
        for step in until:
            kept.save(replace(ran(settings(10), until=step), ended=ENDS[end] or ""))
    assert steps_in(tmp_path) == [6, 10]
    with store(tmp_path) as again:
        found = again.load(LIKE, 10)
        assert found is not None
        assert checkpoint(found) == checkpoint(before)
        told = [note for note in again.notes if "that started over was interrupted" in note]
        assert len(told) == bool(until)


@pytest.mark.parametrize("before", [0, 2, 8])
def test_the_list_of_stored_runs_shows_what_the_next_run_goes_on_from(before: int, tmp_path: Path):
    if before:
        saved(tmp_path, ran(settings(10), until=before))
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(10), until=4))
    listed = [state.step for _, state in run_store.last_states(tmp_path, bool, 5)]
    with store(tmp_path) as again:
        found = again.load(LIKE, 10)
    assert found is not None and listed == [found.step] == [max(before, 4)]


def test_a_run_that_starts_over_and_is_shorter_is_not_called_part_of_the_longer_one(tmp_path: Path):
    saved(tmp_path, ran(settings(10)))
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(10), until=4))
    with store(tmp_path) as again:
        assert again.load(LIKE, 5) is not None
    assert again.notes[0].endswith("training continues from step 4 of the other run next to it.")


def test_a_run_that_starts_over_in_another_format_is_left_as_it_is(
    tmp_path: Path,
):
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(10), until=4))
    (path,) = checkpoints(tmp_path / "cat-1" / ANEW)
    tensors, facts = opened(path.read_bytes())
    facts.pop("digest")
    path.write_bytes(sealed(tensors, {**facts, "version": VERSION + 1}))
    before = path.read_bytes()
    with store(tmp_path) as again:
        assert again.load(LIKE, 10) is None
        assert again.folder.name == f"cat-1-v{VERSION}"
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_has_no_leftovers_to_tell_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with store(tmp_path) as kept:
        assert kept.notes == []
    assert caplog.records == []


@pytest.mark.parametrize("ended", ["steps", "rule", "user"])
@pytest.mark.parametrize("steps", [4, 10, 14])
def test_a_run_that_has_started_over_takes_the_place_of_the_one_before_at_its_end(
    steps: int, ended: Any, tmp_path: Path
):
    saved(tmp_path, ran(settings(10), until=6), ran(settings(10)))
    new = replace(ran(settings(steps)), ended=ended, seconds=99.0)
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(steps), until=2))
        assert steps_in(tmp_path) == [6, 10]
        kept.save(new)
        assert kept.newest == steps
    assert steps_in(tmp_path) == [2, steps]
    assert not (tmp_path / "cat-1" / ANEW).exists()
    with store(tmp_path) as again:
        found = again.load(LIKE, 20)
        assert found is not None and checkpoint(found) == checkpoint(new)
        assert again.notes == []


def test_whoever_goes_on_after_a_broken_off_start_goes_on_from_the_furthest(tmp_path: Path):
    saved(tmp_path, ran(settings(10), until=4))
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(10), until=7))
    with store(tmp_path) as again:
        found = again.load(LIKE, 10)
        assert found is not None and found.step == 7
        assert set(again.words(LIKE, 7)) == {7}
        again.save(ran(settings(10), found))
    assert steps_in(tmp_path) == [7, 10]


def test_starting_over_twice_forgets_the_first_attempt_alone(tmp_path: Path):
    saved(tmp_path, ran(settings(10)))
    for step in (8, 3):
        with store(tmp_path, "start over") as kept:
            kept.save(ran(settings(10), until=step))
    assert [step_of(path) for path in checkpoints(tmp_path / "cat-1" / ANEW)] == [3]
    assert steps_in(tmp_path) == [10]


def test_starting_over_where_nothing_was_is_a_run_like_any_other(tmp_path: Path):
    with store(tmp_path, "start over") as kept:
        kept.save(ran(settings(10), until=2))
        kept.save(ran(settings(10)))
    assert steps_in(tmp_path) == [2, 10]


# Whose checkpoint it is


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        ("b" * 64, "step-000000008.safetensors", "it belongs to another run"),
        ("", "step-000000008.safetensors", "it belongs to another run"),
        ("a" * 16, "step-000000008.safetensors", "it belongs to another run"),
        ("a" * 64, "step-000000009.safetensors", "it holds step 8"),
        ("a" * 64, "step-000000001.safetensors", "it holds step 8"),
    ],
)
def test_a_checkpoint_of_another_run_or_step_is_put_aside_and_told(
    key: str, name: str, says: str, tmp_path: Path
):
    own = "a" * 64
    with RunStore(tmp_path, "cat-1", "continue", key=own) as kept:
        kept.save(ran(settings(10), until=5))
        (kept.folder / name).write_bytes(checkpoint(ran(settings(10), until=8), key))
        if step_of(kept.folder / name) < 5:
            (kept.folder / "step-000000005.safetensors").unlink()
    with RunStore(tmp_path, "cat-1", "continue", key=own) as again:
        found = again.load(LIKE, 10)
        assert says in again.notes[0]
        assert (again.folder / name).with_suffix(".damaged").is_file()
    assert (found.step if found else 0) == (5 if step_of(Path(name)) > 5 else 0)


def is_cat(name: str) -> bool:
    return name.startswith("cat-")


def test_the_list_of_stored_runs_leaves_out_what_has_another_step_than_its_name(tmp_path: Path):
    saved(tmp_path, ran(settings(10), until=8))
    assert [state.step for _, state in run_store.last_states(tmp_path, is_cat, 9)] == [8]
    (path,) = checkpoints(tmp_path / "cat-1")
    path.rename(path.with_name("step-000000400.safetensors"))
    assert list(run_store.last_states(tmp_path, is_cat, 9)) == []


# Locks


NO_LOCKS = ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EIO", "EPERM", "EBADF", "ENOTSUP"]


def locks_that_fail(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(file_locks, "ask_for", refuse)


@pytest.mark.parametrize("name", NO_LOCKS)
def test_a_run_is_stored_without_a_lock_where_there_are_none_and_that_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    code = getattr(errno, name)
    locks_that_fail(monkeypatch, code)
    with store(tmp_path) as kept:
        (note,) = kept.notes
        assert f"cannot be locked ({os.strerror(code)})" in note
        assert "do not run the same training twice at the same time" in note
        kept.save(ran(settings(10), until=4))
    with store(tmp_path) as again:
        found = again.load(LIKE, 10)
    assert found is not None and found.step == 4
    assert kept.findings() == kept.notes


@pytest.mark.parametrize("name", ["EAGAIN", "EWOULDBLOCK", "EACCES"])
def test_a_lock_that_somebody_else_has_means_that_the_run_is_running(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    locks_that_fail(monkeypatch, getattr(errno, name))
    with store(tmp_path) as kept:
        assert kept.notes == [run_store.RUNNING_ELSEWHERE]
        assert kept.lock is None


def test_runs_that_nobody_can_lock_are_never_removed_to_make_room(
    tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        with store(tmp_path, name=f"cat-{number}") as kept:
            kept.save(state)
    monkeypatch.setattr(run_store, "MOST_BYTES", 1)
    locks_that_fail(monkeypatch, errno.ENOLCK)
    with store(tmp_path, name="cat-9") as kept:
        kept.save(state)
        assert "Old runs in" in kept.notes[1] and "stored anyway" in kept.notes[1]
    assert len(list(tmp_path.iterdir())) == 4


# A folder that can be read alone


def test_a_stored_run_is_taken_up_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    saved(tmp_path, ran(settings(10), until=4))
    real = Path.open

    def read_only(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", read_only)
    with store(tmp_path) as kept:
        found = kept.load(LIKE, 10)
        assert found is not None and found.step == 4
        assert set(kept.words(LIKE, 4)) == {4}
        kept.save(ran(settings(10), found))
        (note,) = kept.notes
    assert "The run cannot be stored in" in note and "Read-only file system" in note
    assert steps_in(tmp_path) == [4]


def test_off_touches_no_disk(tmp_path: Path, state: RunState):
    with store(tmp_path, "off") as kept:
        assert kept.load(LIKE, 10) is None
        kept.save(state)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_one_key_do_not_share_a_folder(tmp_path: Path, state: RunState):
    with store(tmp_path) as first, store(tmp_path) as second:
        first.save(state)
        assert second.load(LIKE, 10) is None
        second.save(ran(settings(10), until=2))
        assert "this run will not be saved" in second.notes[0]
        assert first.notes == []
        assert len(checkpoints(first.folder)) == 1
    assert first.lock is None
    with store(tmp_path) as third:
        assert third.lock is not None
        assert third.load(LIKE, 10) is not None


HOLDER = """
import sys
from pathlib import Path
from ti_core.store.run_store import RunStore
with RunStore(Path(sys.argv[1]), "cat-1", "continue") as kept:
    print("held" if kept.lock else "refused", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, state: RunState):
    repo = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=repo,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    leftover = tmp_path / "cat-1" / ".step-000000002.safetensors.0abc1234.part"
    leftover.write_bytes(b"half")
    with store(tmp_path) as refused:
        assert refused.lock is None
    process.kill()
    process.wait()
    with store(tmp_path) as taken:
        assert taken.lock is not None
        taken.save(state)
        assert taken.notes == []
    assert not leftover.exists()


def test_a_full_disk_leaves_the_older_checkpoint_and_ends_nothing(tmp_path: Path):
    with store(tmp_path) as kept:
        kept.save(ran(settings(10), until=2))
        with largest_file(1000):
            kept.save(ran(settings(10), until=4))
            kept.save(ran(settings(10), until=6))
        assert len(kept.failed) == 2
        files = sorted(path.name for path in kept.folder.iterdir())
        assert files == ["lock", "step-000000002.safetensors"]
        kept.save(ran(settings(10), until=8))
        assert len(checkpoints(kept.folder)) == 2


def test_a_failure_is_told_once_at_once_and_the_report_has_a_line_for_all(tmp_path: Path):
    told: list[str] = []
    with RunStore(tmp_path, "cat-1", "continue", told.append) as kept:
        kept.save(ran(settings(40), until=1))
        with largest_file(1000):
            kept.save(ran(settings(40), until=2))
            assert len(told) == 1
            for step in range(3, 15):
                kept.save(ran(settings(40), until=step))
        assert told[0].startswith("The checkpoint of step 2 could not be written to")
        assert len(told) == 1
        (line,) = kept.findings()
        assert line == (
            f"13 checkpoints could not be written to {kept.folder} (File too large): steps 2, 3, "
            f"4, 5, 6, 7, 8, 9, 10, 11, ..., 14. The last one is of step 1."
        )
        kept.save(ran(settings(40), until=14))  # Once more, on the way out.
        assert kept.findings()[0].startswith("12 checkpoints")
        assert kept.newest == 14


@pytest.mark.parametrize("method", [SphericalSettings(), AdamWSettings()])
@pytest.mark.parametrize("steps", [10, 400])
def test_the_probe_is_as_large_as_the_last_checkpoint_and_not_much_larger(
    method: Any, steps: int, tmp_path: Path
):
    size = len(checkpoint(ran(settings(steps, method=method))))
    with store(tmp_path) as kept:
        with largest_file(size - 1):
            kept.probe(LIKE, steps)
        assert len(kept.notes) == 1 and "The run cannot be stored in" in kept.notes[0]
        with largest_file(2 * size + (16 << 10)):
            kept.probe(LIKE, steps)
        assert len(kept.notes) == 1
        assert [path.name for path in kept.folder.iterdir()] == ["lock"]


def test_a_run_whose_folder_another_has_made_again_is_stored_no_more(
    tmp_path: Path, state: RunState
):
    with store(tmp_path) as first:
        shutil.rmtree(first.folder)
        with store(tmp_path) as second:
            first.save(state)
            assert "already running elsewhere" in first.notes[0]
            assert first.lock is None
            assert checkpoints(second.folder) == []


def test_starting_over_leaves_checkpoints_of_another_version(tmp_path: Path, state: RunState):
    tensors, facts = packed_state(state)
    theirs = tmp_path / "cat-1" / "step-000000010.safetensors"
    theirs.parent.mkdir()
    theirs.write_bytes(sealed(tensors, {**facts, "version": 2}))
    with store(tmp_path, "start over") as kept:
        kept.save(state)
        assert "another version of this pack (format 2; this one has 5)" in kept.notes[0]
    assert theirs.is_file()
    assert checkpoints(tmp_path / "cat-1-v5") == [tmp_path / "cat-1-v5" / theirs.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_lock_that_is_no_file_does_not_hold_up_the_start(tmp_path: Path):
    (tmp_path / "cat-1").mkdir()
    os.mkfifo(tmp_path / "cat-1" / "lock")
    with store(tmp_path) as kept:
        assert "lock is not a regular file" in kept.notes[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user without all rights")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, state: RunState):
    tmp_path.chmod(0o500)
    cannot_be_stored(tmp_path, state)
    tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, state: RunState):
    file = tmp_path / "file"
    file.write_bytes(b"")
    cannot_be_stored(file, state)


def cannot_be_stored(root: Path, state: RunState) -> None:
    with store(root) as kept:
        assert kept.load(LIKE, 10) is None
        kept.save(state)
        assert "The run cannot be stored" in kept.notes[0]
        assert "Free disk space, or allow ComfyUI" in kept.notes[0]


def test_all_runs_together_stay_below_the_limit(
    tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
):
    for number in range(5):
        with store(tmp_path, name=f"cat-{number}") as kept:
            kept.save(state)
        padding = tmp_path / f"cat-{number}" / f"step-{number:09d}.safetensors"
        padding.write_bytes(b"\0" * (1 << 20))
        for path in padding.parent.iterdir():
            os.utime(path, (number, number))
    with store(tmp_path, name="cat-1"):
        monkeypatch.setattr(run_store, "MOST_BYTES", 3 << 20)
        with store(tmp_path, name="cat-9"):
            pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cat-1", "cat-4", "cat-9"}


def test_old_runs_that_cannot_be_looked_at_leave_this_one_stored(
    tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_store, "trim", refuse)
    with store(tmp_path) as kept:
        kept.save(state)
        (note,) = kept.notes
        assert note.startswith("Old runs in") and "Permission denied" in note
        assert len(checkpoints(kept.folder)) == 1


class Calls:
    """What the store asks of the system, in order: a real call each, and its file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.seen: list[str] = []
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self.recorded(name, getattr(os, name)))

    def recorded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recording(first: Any, *rest: Any) -> Any:
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(first).st_mode)
            self.seen.append("fsync of the folder" if folder else name)
            return call(first, *rest)

        return recording


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs folders by itself")
def test_a_checkpoint_is_on_disk_before_it_has_its_name_and_its_name_before_the_run_goes_on(
    tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
):
    calls = Calls(monkeypatch)
    saved(tmp_path, state)
    assert calls.seen == ["fsync", "replace", "fsync of the folder"]


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs folders by itself")
def test_a_file_system_that_syncs_no_folders_stores_runs_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.fsync

    def no_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    states = [ran(settings(10), until=step) for step in (2, 4, 6, 8)]
    assert len(saved(tmp_path, *states)) == 3  # `saved` asserts that nothing was noted.


def test_equal_values_have_equal_digests_and_others_do_not():
    images, _ = concept()
    values: list[object] = [
        None,
        0,
        0.0,
        False,
        "",
        "0",
        b"0",
        [],
        [[]],
        {},
        {"a": 1},
        {"a": 1, "b": 1},
        ["ab", "c"],
        ["a", "bc"],
        torch.zeros(2, 3),
        torch.zeros(3, 2),
        torch.zeros(2, 3, dtype=torch.float16),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.zeros(2, 3, dtype=torch.int32),
        torch.zeros(0),
        CaptionSettings(),
        CaptionSettings(shuffle=True),
        settings(),
        settings(seed=6),
        images.crops,
    ]
    digests = [digest_of(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digest_of({"b": 1, "a": 1}) == digest_of({"a": 1, "b": 1})
    assert digest_of(settings()) == digest_of(settings())
    with pytest.raises(TypeError):
        digest_of(object())


def test_a_digest_is_the_same_in_another_process():
    script = "from ti_core.store.digest import digest_of; print(digest_of({'a': [1.5, 'x']}, b'y'))"
    repo = Path(__file__).resolve().parents[3]
    found = subprocess.run([sys.executable, "-c", script], cwd=repo, capture_output=True, text=True)
    assert found.stdout.strip() == digest_of({"a": [1.5, "x"]}, b"y")


def test_a_checkpoint_has_some_kilobytes_and_plain_facts(state: RunState):
    data = checkpoint(state)
    assert len(data) < 8192
    _, facts = opened(data)
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("hours", [1, 24, 10_000])
def test_runs_are_ordered_by_when_they_were_stored_also_after_the_clock_was_set_back(
    tmp_path: Path, state: RunState, hours: int
):
    """The folder of a run that was stored before has the time of a clock that was ahead."""
    for name in ("cat-1", "cat-2"):
        with store(tmp_path, name=name) as kept:
            kept.save(state)
        for path in (tmp_path / name).iterdir():
            late = path.stat().st_mtime + 3600 * hours
            os.utime(path, (late, late))
    for name in ("cat-3", "cat-1"):
        with store(tmp_path, name=name) as kept:
            kept.save(state)
    assert [name for name, _ in run_store.last_states(tmp_path, is_cat, 9)] == [
        "cat-1",
        "cat-3",
        "cat-2",
    ]
    trim(tmp_path, 0, tmp_path / "cat-1")
    assert [path.name for path in tmp_path.iterdir()] == ["cat-1"]
