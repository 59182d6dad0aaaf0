"""Files are written whole or not at all, never over another unasked, and as readable as any."""

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_disks import save_by_two
from sample_embeddings import embedding

from ti_core.word.formats import FORMATS, Export, write_files
from ti_core.word.formats.storage import temporary

REPO = Path(__file__).resolve().parents[3]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_files(tmp_path / "a", {".safetensors": b"new", "_2.safetensors": None})  # type: ignore[dict-item]
    assert (tmp_path / "a.safetensors").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_files_are_written_into_sub_folders_that_did_not_exist(tmp_path: Path):
    files = {".safetensors": b"first", "_2.safetensors": b"second"}
    written = write_files(tmp_path / "sub" / "a", files)
    assert {path.name: path.read_bytes() for path in written} == {
        "a.safetensors": b"first",
        "a_2.safetensors": b"second",
    }
    assert sorted((tmp_path / "sub").iterdir()) == sorted(written)


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def refuse(*arguments: object) -> None:
    raise PermissionError


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permissions")
def test_files_are_as_readable_as_any_new_file_of_the_process(umask: int, tmp_path: Path):
    (path,) = write_files(tmp_path / "a", {".pt": b"data"})
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_writing_leaves_the_umask_of_the_process_alone_and_needs_no_chmod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Other threads make files meanwhile; some network drives know no permissions."""
    monkeypatch.setattr(os, "umask", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    (path,) = write_files(tmp_path / "a", {".pt": b"data"})
    assert path.read_bytes() == b"data"


def test_a_temporary_file_is_hidden_and_never_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert re.fullmatch(r"\.a\.pt\.[0-9a-f]{8}\.part", temporary(tmp_path / "a.pt").name)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))
    temporary(tmp_path / "a.pt").write_bytes(b"of another process")
    with pytest.raises(FileExistsError):
        temporary(tmp_path / "a.pt")


def test_a_taken_name_counts_up(tmp_path: Path):
    wanted = tmp_path / "style.v2"
    (tmp_path / "style.v2-2.safetensors").symlink_to("nowhere")  # A name, if not a file.
    for name in ("style.v2.safetensors", "style.v2-3.safetensors"):
        assert [path.name for path in write_files(wanted, {".safetensors": b"data"})] == [name]
    assert write_files(wanted, {".png": b"data"}) == [tmp_path / "style.v2.png"]


def test_a_pair_of_files_counts_up_together_and_leaves_no_name_that_it_has_not_got(tmp_path: Path):
    (tmp_path / "a_2.safetensors").touch()
    pair = FORMATS["diffusers"].write(embedding(clip_l=768, clip_g=1280), Export())
    found = [path.name for path in write_files(tmp_path / "a", pair)]
    assert found == ["a-2.safetensors", "a-2_2.safetensors"]
    assert not (tmp_path / "a.safetensors").exists()
    single = FORMATS["diffusers"].write(embedding(clip_l=768), Export())
    assert [path.name for path in write_files(tmp_path / "a", single)] == ["a.safetensors"]


SAVES = 60  # Of two processes, two files each.


def test_two_processes_that_save_one_name_lose_no_file_and_mix_no_pair(tmp_path: Path):
    save_by_two(tmp_path, SAVES, ".safetensors", "_2.safetensors")
    files = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    firsts = {stem: data for stem, data in files.items() if not stem.endswith("_2")}
    assert len(files) == 4 * SAVES
    assert set(firsts.values()) == {f"{own} {n}".encode() for own in "xy" for n in range(SAVES)}
    assert all(files[f"{stem}_2"] == data for stem, data in firsts.items())


PAIR = {".safetensors": b"first", "_2.safetensors": b"second"}
# What a pair of files is saved with: twice a temporary file that is made and synced, two names that
# are taken unless they may be overwritten, and two files that are moved to them.
SAVING = ["open", "fsync", "open", "fsync", "open", "open", "replace", "replace"]
OVERWRITING = ["open", "fsync", "open", "fsync", "replace", "replace"]


class Failing:
    """The system's calls on files, of which one fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int | None):
        self.seen: list[str] = []
        self.fails_at = fails_at
        for name in ("open", "fsync", "replace"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(first: Any, *rest: Any) -> Any:
            if not os.path.isdir(first):
                self.seen.append(name)
                if len(self.seen) - 1 == self.fails_at:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return call(first, *rest)

        return counting


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("fails_at", range(len(SAVING)))
def test_a_full_disk_at_any_call_leaves_nothing_of_a_save(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        Failing(patch, fails_at)
        write_files(tmp_path / "a", PAIR)
    assert names(tmp_path) == []


@pytest.mark.parametrize("fails_at", range(len(OVERWRITING)))
def test_a_full_disk_at_any_call_leaves_whole_files_where_they_may_be_overwritten(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = write_files(tmp_path / "a", dict.fromkeys(PAIR, b"old"))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        Failing(patch, fails_at)
        write_files(tmp_path / "a", PAIR, overwrite=True)
    assert names(tmp_path) == [first.name, second.name]
    replaced = fails_at == len(OVERWRITING) - 1
    assert (first.read_bytes(), second.read_bytes()) == (b"first" if replaced else b"old", b"old")


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs folders by itself")
@pytest.mark.parametrize(("overwrite", "expected"), [(False, SAVING), (True, OVERWRITING)])
def test_files_are_on_disk_before_they_have_their_names(
    overwrite: bool, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        calls = Failing(patch, None)
        write_files(tmp_path / "a", PAIR, overwrite)
    assert calls.seen == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs folders by itself")
def test_a_folder_that_cannot_be_synced_takes_files_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.fsync

    def no_folders(handle: int) -> None:
        if os.path.isdir(handle):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    assert [path.read_bytes() for path in write_files(tmp_path / "a", PAIR)] == [*PAIR.values()]


def test_overwriting_a_link_replaces_the_file_that_it_leads_to(tmp_path: Path):
    library, folder = tmp_path / "library", tmp_path / "embeddings"
    library.mkdir()
    folder.mkdir()
    (library / "real.pt").write_bytes(b"old")
    (folder / "a.pt").symlink_to(library / "real.pt")
    assert write_files(folder / "a", {".pt": b"new"}, overwrite=True) == [folder / "a.pt"]
    assert (library / "real.pt").read_bytes() == b"new"
    assert (folder / "a.pt").is_symlink()
    assert names(folder) + names(library) == ["a.pt", "real.pt"]
