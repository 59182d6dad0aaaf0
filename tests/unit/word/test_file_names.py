"""Names of embedding files: what may be written, and what lies in a folder with links."""

from pathlib import Path

import pytest

from ti_core.word.formats.file_names import embedding_below, embeddings_below, name_to_write


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("a.safetensors", "a"),
        ("a.PNG", "a"),
        ("style.v2", "style.v2"),
        ("pets/a", "pets/a"),
        ("pets\\a", "pets/a"),
        ("console", "console"),
        ("com", "com"),
        ("com10", "com10"),
        ("my-con/a.nul", "my-con/a.nul"),
    ],
)
def test_a_name_is_a_path_below_the_folder_and_its_ending_is_not_doubled(name: str, path: str):
    assert name_to_write(name).as_posix() == path


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "C:/a", "C:a", "~/a", "a\0"),
        *(".a", "a.", "a./b", "a..pt", "pets./a", ".pt", "a b", "a\nb", "a\udc80"),
        *("x" * 129, "/".join("x" * 101), "x" * 4000, "a/" * 2000 + "a"),
    ],
)
def test_a_name_that_leads_outside_or_cannot_be_stored_is_refused(name: str):
    with pytest.raises(ValueError, match="is not allowed for an embedding file. Use letters") as no:
        name_to_write(name)
    assert len(str(no.value)) < 500


@pytest.mark.parametrize(
    "name",
    [
        *("CON", "con", "Nul", "PRN", "aux", "COM1", "lpt9", "con.txt", "nul.v2.safetensors"),
        *("CON.safetensors", "pets/aux", "aux/cat", "com1.d/cat"),
    ],
)
def test_a_name_that_is_a_device_on_windows_is_refused_on_every_system(name: str):
    with pytest.raises(ValueError, match="is a device on Windows. Choose another name"):
        name_to_write(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An embeddings folder with a file and a sub-folder, beside a library with a file."""
    (tmp_path / "library" / "deep").mkdir(parents=True)
    (tmp_path / "library" / "deep" / "dog.pt").touch()
    (tmp_path / "embeddings" / "pets").mkdir(parents=True)
    (tmp_path / "embeddings" / "pets" / "cat.safetensors").touch()
    return tmp_path / "embeddings"


def listed(root: Path) -> list[str]:
    return sorted(embeddings_below(str(root)))


def test_linked_folders_and_files_are_listed_and_found(folder: Path):
    (folder / "library").symlink_to(folder.parent / "library")
    (folder / "one.pt").symlink_to(folder.parent / "library" / "deep" / "dog.pt")
    assert listed(folder) == ["library/deep/dog.pt", "one.pt", "pets/cat.safetensors"]
    for name in listed(folder):
        assert embedding_below(str(folder), name) == folder / name


def test_a_folder_that_is_a_link_itself_is_listed(folder: Path):
    (folder.parent / "link").symlink_to(folder)
    assert listed(folder.parent / "link") == ["pets/cat.safetensors"]


def test_links_in_a_circle_end(folder: Path):
    """Twelve folders, each with links to all: the host's own walk would not end."""
    for number in range(12):
        (folder / f"{number}").mkdir()
        (folder / f"{number}" / "a.pt").touch()
        for other in range(12):
            (folder / f"{number}" / f"to-{other}").symlink_to(folder / f"{other}")
    (folder / "self").symlink_to("self")
    (folder / "self.pt").symlink_to("self.pt")
    (folder / "gone.pt").symlink_to("nowhere")
    assert listed(folder) == sorted([*(f"{n}/a.pt" for n in range(12)), "pets/cat.safetensors"])


def test_what_lies_in_the_folder_is_listed_by_its_own_name_whatever_links_to_it(folder: Path):
    (folder / "a").symlink_to(folder / "pets")
    (folder / "pets" / "up").symlink_to(folder)
    assert listed(folder) == ["pets/cat.safetensors"]
    assert embedding_below(str(folder), "a/cat.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "pets", "/etc/passwd", "a.py", "cat.pt\0", "x" * 5000 + ".pt"),
        *("../outside.pt", "pets/../../outside.pt", "library/../outside.pt"),
    ],
)
def test_no_name_leads_outside_or_to_another_kind_of_file(name: str, folder: Path):
    (folder / "library").symlink_to(folder.parent / "library" / "deep")
    for path in (folder.parent / "outside.pt", folder.parent / "library" / "outside.pt"):
        path.touch()
    (folder / "a.py").touch()
    assert embedding_below(str(folder), name) is None
    assert embedding_below(str(folder), str(folder.parent / "outside.pt")) is None
