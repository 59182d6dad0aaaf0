"""The one table of who reads what: it says what the tools' own code did, and the papers say what it
does.
"""

import json
import re
import subprocess
from pathlib import Path

import other_readers
import pytest
from environment import SetupFailure
from foreign import papers
from sample_embeddings import FAMILIES, embedding

from ti_core.word.formats import FORMATS
from ti_core.word.formats.other_tools import (
    KINDS,
    READ,
    TOOLS,
    Row,
    everywhere,
    kind_of,
    row_for,
    tools_for,
)

FOUND = json.loads(papers.RESULTS.read_text(encoding="utf-8"))
FILES = {one.name: (*one.files, *filter(None, one.version[:1])) for one in other_readers.TOOLS}


def test_the_table_says_what_the_tools_own_code_did():
    assert papers.otherwise(FOUND) == []
    assert papers.versions(FOUND) == TOOLS


@pytest.mark.parametrize(
    ("label", "format", "kind", "outcome"),
    [
        ("OneTrainer", "automatic1111", "SD 1.x", "="),
        ("diffusers 0.42.1", "standard", "SD 2.x", "="),
        ("ComfyUI 0.30.0", "onetrainer", "Z-Image", "clip_l only"),
    ],
)
def test_what_it_says_otherwise_is_named(label: str, format: str, kind: str, outcome: str):
    (complaint,) = papers.otherwise({label: {"reads": {format: {kind: outcome}}}})
    assert complaint.startswith(f"{label}, {format}, {kind}: '{outcome}'")


def test_every_file_that_can_be_written_was_given_to_every_tool():
    written = {
        (name, kind) for name in FORMATS for kind in KINDS if row_for(name, kind) is not None
    }
    for tool in FOUND.values():
        assert {(name, kind) for name, kinds in tool["reads"].items() for kind in kinds} == written


def test_automatic1111_itself_reads_the_file_that_is_written_for_it():
    for label in ("AUTOMATIC1111 1.7.0", "AUTOMATIC1111 1.10.1"):
        assert set(FOUND[label]["reads"]["automatic1111"].values()) == {"="}


@pytest.mark.parametrize("path", papers.PAPERS, ids=lambda path: path.parent.name)
def test_the_papers_have_the_table_of_the_code(path: Path):
    assert papers.PAPERS[path]() in path.read_text(encoding="utf-8")


def test_a_kind_stands_once_in_the_rows_of_a_format():
    rows = [(row.format, kind) for row in READ for kind in row.kinds]
    assert len(rows) == len(set(rows))
    assert {tool for row in READ for tool in row.tools} == set(TOOLS)


@pytest.mark.parametrize("row", READ, ids=lambda row: f"{row.format}, {row.kinds[0]}")
def test_a_row_is_true_of_each_of_its_kinds(row: Row):
    """Also of what ComfyUI reads, but not in a prompt."""
    assert len({tuple(tools_for(row.format, KINDS[kind]) or {}) for kind in row.kinds}) == 1


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (("clip_g", "clip_l"), "SDXL"),
        (("t5xxl", "clip_l", "clip_g"), "SD 3"),
        (("qwen3_8b",), "Z-Image"),
        (("gemma3_4b", "jina_clip_2"), "Z-Image"),
        (("clip_g",), "Z-Image"),
    ],
)
def test_a_kind_is_told_by_its_encoders_in_any_order(keys: tuple[str, ...], kind: str):
    assert kind_of(keys) == kind


@pytest.mark.parametrize(
    ("family", "name", "said"),
    [
        ("SD 1", "automatic1111", "ComfyUI, AUTOMATIC1111, Forge, SD.Next, InvokeAI, kohya, "),
        ("SD 2", "onetrainer", "OneTrainer, kohya, ai-toolkit; diffusers with token="),
        ("SDXL", "automatic1111", "Forge, InvokeAI, OneTrainer, kohya; diffusers with one call"),
        ("SDXL", "diffusers", "diffusers; this pack"),
        ("SD 3", "standard", "ComfyUI, OneTrainer"),
        ("SD 3", "diffusers", "OneTrainer; this pack"),
        ("T5 only", "diffusers", "ComfyUI, diffusers"),
        ("Z-Image", "onetrainer", "ComfyUI"),
    ],
)
def test_messages_take_the_readers_from_the_table(family: str, name: str, said: str):
    assert said in FORMATS[name].readers(embedding(**FAMILIES[family]))


@pytest.mark.parametrize(
    ("family", "name", "tool"),
    [
        ("SD 1", "automatic1111", "OneTrainer"),
        ("SD 3", "standard", "diffusers"),
        ("SDXL", "automatic1111", "SD.Next"),
        ("Flux", "onetrainer", "ComfyUI"),
    ],
)
def test_a_tool_that_does_not_read_a_file_is_not_named(family: str, name: str, tool: str):
    assert tool not in FORMATS[name].readers(embedding(**FAMILIES[family]))


def test_the_tools_for_which_the_default_file_is_always_right():
    assert everywhere("standard") == (
        "AUTOMATIC1111, Forge, SD.Next, InvokeAI, kohya, ai-toolkit and diffusers"
    )


@pytest.mark.parametrize("page", ["locales/en/nodeDefs.json", "web/docs/SaveEmbedding/en.md"])
def test_the_node_and_its_page_take_their_sentence_from_the_table(page: str):
    sentence = f"{everywhere('standard')} also read words for SD 1.x, SD 2.x and SDXL."
    assert sentence in (papers.REPO / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_every_language_names_the_same_tools(language: str):
    path = papers.REPO / "locales" / language / "nodeDefs.json"
    said = json.loads(path.read_text(encoding="utf-8"))["SaveEmbedding"]["description"]
    named = {tool for tool in TOOLS if tool in said}
    assert named == set(re.split(", | and ", everywhere("standard")))


# The script


def lay(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder with these files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_checkout_is_recognized_by_its_files(name: str, tmp_path: Path):
    found = other_readers.recognized(f"{lay(tmp_path, FILES[name])}@0123456789")
    assert (found.tool.name, found.commit) == (name, "0123456789")


@pytest.mark.parametrize("names", [(), ("modules/safe.py",), ("README.md", "train.py")])
def test_a_folder_of_something_else_is_named_with_what_was_looked_for(
    names: tuple[str, ...], tmp_path: Path
):
    with pytest.raises(SetupFailure, match="not a checkout of a tool") as failure:
        other_readers.recognized(str(lay(tmp_path, names)))
    assert all(file in str(failure.value) for one in other_readers.TOOLS for file in one.files)


def test_a_checkout_tells_its_commit_and_one_without_is_asked_for_it(tmp_path: Path):
    folder = lay(tmp_path, FILES["kohya"])
    with pytest.raises(SetupFailure, match="@COMMIT"):
        other_readers.recognized(str(folder))
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=b")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "a")):
        subprocess.run((*git, *words), check=True)
    head = subprocess.check_output((*git, "rev-parse", "HEAD"), text=True).strip()
    assert other_readers.recognized(str(folder)).commit == head
