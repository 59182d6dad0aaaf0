"""Files with the captions of many images cost little, whatever stands in them."""

import json
import time
from pathlib import Path

import folder_paths
import pytest
from PIL import Image

from ti_core.concept.caption_files import metadata_captions
from ti_core.host.images import concept_sources
from ti_core.host.images.concept_sources import captions_in, captions_read
from ti_core.host.images.folder_summary import Wanted, glance

SECONDS = 1.5  # of the processor; a busy machine counts more


def nested(depth: int, kind: str = "[]") -> str:
    return kind[0] * depth + kind[1] * depth


DEEP = {
    "lists of tags": f'{{"tags": {nested(900)}}}',
    "a few lists too many": f'{{"text": {nested(10)}}}',
    "deeper than Python goes": f'{{"tags": {nested(90_000)}}}',
    "objects": '{"tags":' * 5000 + "1" + "}" * 5000,
    "no end": "[" * 100_000,
}


@pytest.mark.parametrize("entry", DEEP.values(), ids=list(DEEP))
@pytest.mark.parametrize("name", ["metadata.json", "metadata.jsonl"])
def test_deep_nesting_is_told_in_our_words(entry: str, name: str):
    line = entry.replace("{", '{"file_name": "red.png", ', 1)
    with pytest.raises(ValueError, match="nested more than 8 deep"):
        metadata_captions(line if name.endswith("l") else f'{{"red.png": {entry}}}', name)


@pytest.fixture
def folder(tmp_path: Path):
    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(tmp_path))
    (tmp_path / "cats").mkdir()
    Image.effect_noise((64, 64), 60).save(tmp_path / "cats" / "red.png")
    yield tmp_path / "cats"
    folder_paths.set_input_directory(before)


@pytest.mark.parametrize("depth", [9, 900, 9000])
def test_a_look_at_a_folder_tells_of_deep_nesting(folder: Path, depth: int):
    (folder / "metadata.json").write_text(f'{{"red": {{"tags": {nested(depth)}}}}}')
    with pytest.raises(ValueError, match="nested more than 8 deep"):
        glance("input/cats", Wanted(64, captions=True))


COSTLY = {
    "many tiny lines": ("jsonl", lambda: "{}\n" * 3_000_000),
    "many numbers": ("json", lambda: "[" + "1," * 4_000_000 + "1]"),
    "many entries": ("json", lambda: json.dumps({str(n): {"a": n} for n in range(500_000)})),
    "many rows": ("csv", lambda: "file_name,text\n" + "a.png,b\n" * 1_500_000),
    "one long text": ("json", lambda: json.dumps({"red": "x" * (15 << 20)})),
    "larger than all": ("json", lambda: json.dumps({"red": "x" * (17 << 20)})),
}


@pytest.mark.parametrize(("kind", "build"), COSTLY.values(), ids=list(COSTLY))
def test_a_metadata_file_takes_a_moment_or_is_refused(tmp_path: Path, kind: str, build):
    path = tmp_path / f"metadata.{kind}"
    path.write_text(build())
    started = time.process_time()
    try:
        captions_in(path)
    except ValueError as error:
        assert len(str(error)) <= 500
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_ten_thousand_entries_are_read(tmp_path: Path, kind: str):
    caption = "a red cat on a sofa, photo, " * 30
    names = [f"folder/image {n}.png" for n in range(10_000)]
    entries = {
        name: {"caption": caption, "tags": "cat", "train_resolution": [1, 2]} for name in names
    }
    text = {
        "json": lambda: json.dumps(entries),
        "jsonl": lambda: "\n".join(json.dumps({"file_name": n, "text": caption}) for n in names),
        "csv": lambda: "file_name,text\n" + "\n".join(f'{n},"{caption}"' for n in names),
    }[kind]()
    path = tmp_path / f"metadata.{kind}"
    path.write_text(text)
    started = time.process_time()
    assert len(captions_in(path)) == 10_000
    assert time.process_time() - started < SECONDS


def looked_at() -> str:
    """What a look at the folder tells."""
    try:
        return str(glance("input/cats", Wanted(64, captions=True)).findings)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("text", ['{"red": {"caption": "a"}}', "[[[[", "no JSON"])
def test_a_metadata_file_is_read_once_while_it_is_unchanged(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
):
    path, reads = folder / "metadata.json", []
    path.write_text(text)
    read = concept_sources.read_text
    monkeypatch.setattr(
        concept_sources, "read_text", lambda *given: reads.append(given) or read(*given)
    )
    captions_read.cache_clear()
    looks = [looked_at() for _ in range(3)]
    assert looks[0] == looks[1] == looks[2]
    assert len(reads) == 1
    path.write_text('{"red": {"caption": "another"}}')
    looked_at()
    assert len(reads) == 2
