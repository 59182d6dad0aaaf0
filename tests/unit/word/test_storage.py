"""Files are written whole or not at all, never over another unasked, and as readable as any."""

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_embeddings import embedding

from ti_core.word.formats import FORMATS, Export, free_base, write_files
from ti_core.word.formats.storage import temporary


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
    assert free_base(wanted, [".safetensors"]) == wanted
    for name in ("style.v2.safetensors", "style.v2-2.safetensors"):
        (tmp_path / name).touch()
    assert free_base(wanted, [".safetensors"]).name == "style.v2-3"
    assert free_base(wanted, [".png"]) == wanted


def test_a_pair_of_files_counts_up_together(tmp_path: Path):
    (tmp_path / "a_2.safetensors").touch()
    single = FORMATS["diffusers"].write(embedding(clip_l=768), Export())
    assert free_base(tmp_path / "a", single).name == "a"
    pair = FORMATS["diffusers"].write(embedding(clip_l=768, clip_g=1280), Export())
    assert free_base(tmp_path / "a", pair).name == "a-2"
