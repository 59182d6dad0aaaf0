"""Files are written whole or not at all, never over another unasked, and as readable as any."""

import errno
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_disks import save_by_two
from sample_embeddings import embedding

from ti_core.word.formats import FORMATS, Export, write_files
from ti_core.word.formats.storage import ABANDONED, written

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
    with written(tmp_path / "a.pt", b"data") as part:
        assert re.fullmatch(r"\.a\.pt\.[0-9a-f]{8}\.part", part.name)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))
    with written(tmp_path / "a.pt", b"of another process") as part:
        with pytest.raises(FileExistsError), written(tmp_path / "a.pt", b"data"):
            pass
        assert part.read_bytes() == b"of another process"
    assert names(tmp_path) == []


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
# What a pair of files is saved with: two temporary files that are synced, and two names that they
# are given.
SAVING = ["fsync", "fsync", "link", "link"]
OVERWRITING = ["fsync", "fsync", "replace", "replace"]
WITHOUT_LINKS = ["fsync", "fsync", "link", "replace", "link", "replace"]


class Failing:
    """The system's calls on files, of which one fails; hard links may be unknown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int | None, links: bool = True):
        self.seen: list[str] = []
        self.fails_at, self.links = fails_at, links
        for name in ("fsync", "link", "replace"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(first: Any, *rest: Any) -> Any:
            if not os.path.isdir(first):
                self.seen.append(name)
                if len(self.seen) - 1 == self.fails_at:
                    raise OSError(errno.ENOSPC, "No space left on device")
                if name == "link" and not self.links:
                    raise OSError(errno.EPERM, "Operation not permitted")
            return call(first, *rest)

        return counting


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("fails_at", "links"),
    [(call, True) for call in range(len(SAVING))]
    + [(call, False) for call in range(len(WITHOUT_LINKS))],
)
def test_a_full_disk_at_any_call_leaves_nothing_of_a_save(
    fails_at: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        Failing(patch, fails_at, links)
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


# What a killed process leaves


class Killed:
    """A process that is killed before or after one of the system's calls."""

    def __init__(self, at: int, links: bool):
        self.left, self.links = at, links
        for name in ("fsync", "link", "replace", "unlink"):
            setattr(os, name, self.killing(name, getattr(os, name)))

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.count()
            if name == "link" and not self.links:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            found = real(*given, **named)
            self.count()
            return found

        return call


def killed_at(at: int, folder: Path, links: bool, overwrite: bool) -> bool:
    """Whether a process that saves a pair of files was killed."""
    child = os.fork()
    if child == 0:
        try:
            Killed(at, links)
            write_files(folder / "a", PAIR, overwrite)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over"])
def test_a_process_killed_at_any_call_leaves_whole_files_and_the_next_save_no_rest(
    links: bool, overwrite: bool, tmp_path: Path
):
    whole = {b"first", b"second", b"old"}
    for at in range(1, 40):
        folder = tmp_path / str(at)
        folder.mkdir()
        if overwrite:
            write_files(folder / "a", dict.fromkeys(PAIR, b"old"))
        if not killed_at(at, folder, links, overwrite):
            break
        named = [path for path in folder.iterdir() if not path.name.startswith(".")]
        assert {path.read_bytes() for path in named} <= whole
        write_files(folder / "other", PAIR)
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], at
    assert at > 8


def test_only_our_leftovers_are_removed_and_none_that_is_being_written(tmp_path: Path):
    ours = tmp_path / ".cat.pt.0123abcd.part"
    others = [tmp_path / name for name in ("cat.part", ".cat.part", ".cat.pt.0123ABCD.part", ".x")]
    for path in (ours, *others):
        path.write_bytes(b"half")
    (tmp_path / ".folder.pt.0123abcd.part").mkdir()
    (tmp_path / ".link.pt.0123abcd.part").symlink_to(others[0])
    with written(tmp_path / "b.pt", b"data") as part:
        write_files(tmp_path / "a", {".pt": b"data"})
        assert part.read_bytes() == b"data"
    assert not ours.exists()
    assert all(path.exists() for path in others)
    assert len(names(tmp_path)) == len(others) + 3


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_where_files_cannot_be_locked_old_leftovers_are_removed_and_young_ones_stay(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse_lock(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("fcntl.flock", refuse_lock)
    old, young = tmp_path / ".a.pt.00000001.part", tmp_path / ".a.pt.00000002.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, old.stat().st_mtime - ABANDONED - 1))
    assert write_files(tmp_path / "a", {".pt": b"data"}) == [tmp_path / "a.pt"]
    assert names(tmp_path) == [young.name, "a.pt"]


def test_a_name_that_appears_while_it_is_given_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By a program that asks nobody."""
    real = os.path.lexists

    def appearing(path: Path) -> bool:
        found = real(path)
        (tmp_path / "a.pt").write_bytes(b"of somebody else")
        return found

    monkeypatch.setattr(os.path, "lexists", appearing)
    assert write_files(tmp_path / "a", {".pt": b"data"}) == [tmp_path / "a-2.pt"]
    assert (tmp_path / "a.pt").read_bytes() == b"of somebody else"
