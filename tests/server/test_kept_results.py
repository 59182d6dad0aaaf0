"""What the host keeps of a node is given again as long as it is true, and no longer: run, change
one thing, run again.

| Node | Runs again when, besides its inputs, this changes |
|---|---|
| Load Images as Concept | any file in the folder or below it; whether crops is linked |
| Load Kohya Dataset | the file, any file in the folders it names; whether crops is linked |
| Join Concepts | whether crops is linked |
| Caption Options | the template file and the metadata file that it names |
| Load Embedding, Convert Embedding | the file, and its second half |
| Convert Embedding, Save Embedding | the files that it wrote: gone, or written by another |
| Train Textual Inversion | its run has not come to an end; an embedding file that captions name |
| Audit Concept | an embedding file that captions name |
| all others | nothing |
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import Prompt, draw_images, graph, node, option_inputs, run, saved_path
from headless import Server
from safetensors.torch import save_file

Change = Callable[[Server], object]


def cached(server: Server, prompt: Prompt) -> set[str]:
    """Run a prompt; the nodes whose results the host still had."""
    entry = server.wait(server.queue(prompt))
    return set(dict(entry["status"]["messages"])["execution_cached"]["nodes"])


def bytes_changed(path: Path) -> None:
    """Other bytes in a file of the same size, name and time, as a copy with its old time has."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_word(server: Server, name: str, value: float) -> Path:
    path = server.directory / "models" / "embeddings" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": torch.full((1, 768), value)}, path)
    return path


@pytest.fixture
def files(server: Server) -> Path:
    """Images with captions, templates, a dataset file and a word, all new."""
    base = server.directory / "input" / "kept"
    shutil.rmtree(base, ignore_errors=True)
    draw_images(base / "photos")
    for image in (base / "photos").iterdir():
        image.with_suffix(".txt").write_text("a star")
    (base / "templates.txt").write_text("a photo of {}")
    (base / "set.toml").write_text(
        '[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "photos"\n'
        'caption_extension = ".txt"  # a'
    )
    write_word(server, "kept-word", 0.01)
    return base


def readers() -> Prompt:
    """Every node that reads files, each with its result shown, without models."""
    concept = {"resolution": 64, "kind": "captions", "captions": ""}
    made: Prompt = {
        "options": node(
            "ConceptCaptionOptions", **option_inputs(template_file="input/kept/templates.txt")
        ),
        "photos": node(
            "LoadImagesAsConcept",
            folder="input/kept/photos",
            caption_options=["options", 0],
            **concept,
        ),
        "kohya": node(
            "ConceptFromKohyaDataset", file="input/kept/set.toml", kind="captions", seed=0
        ),
        "joined": node(
            "ConceptJoin", **{"concepts.concept0": ["photos", 0], "concepts.concept1": ["kohya", 0]}
        ),
        "word": node("LoadTextualInversion", file="kept-word.safetensors"),
        "audit": node("ConceptAudit", concept=["joined", 0], batch_size=1, accumulation=1),
        "convert": node(
            "ConvertTextualInversion",
            file="kept-word.safetensors",
            format="diffusers",
            name="kept-converted",
            storage="fp32",
            overwrite=True,
        ),
        "inspect": node("InspectTextualInversion", embedding=["word", 0], neighbors=1),
    }
    return made


PHOTOS = {"photos", "joined", "audit", "kohya"}
WORD = {"word", "inspect", "convert"}


def embeddings(server: Server, name: str) -> Path:
    return server.directory / "models" / "embeddings" / name


def kept(server: Server, name: str) -> Path:
    return server.directory / "input" / "kept" / name


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a caption": (lambda s: bytes_changed(kept(s, "photos/star 8.txt")), PHOTOS),
    "an image": (
        lambda s: shutil.copy(kept(s, "photos/star 8.png"), kept(s, "photos/star 9.png")),
        PHOTOS,
    ),
    "a new image": (
        lambda s: [
            shutil.copy(kept(s, f"photos/star 8{end}"), kept(s, f"photos/new{end}"))
            for end in (".txt", ".png")
        ],
        PHOTOS,
    ),
    "an image that is gone": (lambda s: kept(s, "photos/star 8.png").unlink(), PHOTOS),
    "templates": (
        lambda s: bytes_changed(kept(s, "templates.txt")),
        {"options", "photos", "joined", "audit"},
    ),
    "the dataset file": (
        lambda s: bytes_changed(kept(s, "set.toml")),
        {"kohya", "joined", "audit"},
    ),
    "a word": (lambda s: bytes_changed(embeddings(s, "kept-word.safetensors")), WORD),
    "a word from a copy": (
        lambda s: shutil.copy2(
            write_word(s, "kept-other", 0.02), embeddings(s, "kept-word.safetensors")
        ),
        WORD,
    ),
    "a converted file that is gone": (
        lambda s: embeddings(s, "kept-converted.safetensors").unlink(),
        {"convert"},
    ),
    "a converted file of somebody else": (
        lambda s: embeddings(s, "kept-converted.safetensors").write_bytes(b"other"),
        {"convert"},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_reads_a_changed_file_runs_again_and_nothing_else(
    server: Server, files: Path, change: str
):
    run(server, readers())
    assert cached(server, readers()) == set(readers())
    make, expected = CHANGES[change]
    make(server)
    assert set(readers()) - cached(server, readers()) == expected
    assert cached(server, readers()) == set(readers())


def linked() -> Prompt:
    """The same with the names of all files over wires."""
    made = readers()
    names = {"photos": "folder", "kohya": "file", "word": "file", "convert": "file"}
    names["options"] = "template_file"
    for owner, name in names.items():
        given = made[owner]["inputs"][name]
        made[f"{owner} name"] = node("Given", json_text=json.dumps(given))
        made[owner]["inputs"][name] = [f"{owner} name", 0]
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_holds_where_names_come_over_wires(server: Server, files: Path, change: str):
    start = server.log.stat().st_size
    run(server, linked())
    assert cached(server, linked()) == set(linked())
    make, expected = CHANGES[change]
    make(server)
    assert set(linked()) - cached(server, linked()) == expected
    assert cached(server, linked()) == set(linked())
    assert "has no attribute" not in server.log.read_bytes()[start:].decode()


def training(captions: str = "a {} on a table", **changes: Any) -> Prompt:
    """Train on typed captions, save, use, draw."""
    made = graph(concept__kind="captions", concept__captions=captions, **changes)
    made["audit"] = node("ConceptAudit", concept=["concept", 0], batch_size=1, accumulation=1)
    return made


TRAINED = {"train", "save", "apply", "prompt", "sample", "decode", "image"}


def test_nothing_runs_again_where_nothing_has_changed(server: Server):
    run(server, training(train__seed=501))
    assert cached(server, training(train__seed=501)) == set(training())


@pytest.mark.parametrize(
    "caption",
    ["embedding:kept-word {}", "({}, embedding:kept-word:1.2)", "{} embedding:kept-word, red"],
)
def test_a_caption_that_names_a_changed_embedding_file_is_learned_anew(
    server: Server, files: Path, caption: str
):
    prompt = training(caption, train__seed=502)
    run(server, prompt)
    assert cached(server, prompt) == set(prompt)
    write_word(server, "kept-word", 0.03)
    assert set(prompt) - cached(server, prompt) == TRAINED | {"audit"}
    assert cached(server, prompt) == set(prompt)


def test_a_changed_embedding_file_that_nothing_names_changes_nothing(server: Server, files: Path):
    prompt = training("embedding:kept-words {}", train__seed=503)
    run(server, prompt)
    write_word(server, "kept-word", 0.04)
    assert cached(server, prompt) == set(prompt)


@pytest.mark.parametrize("gone", [True, False])
def test_a_saved_file_that_is_gone_or_another_is_written_again(server: Server, gone: bool):
    prompt = training(train__seed=504, save__name=f"kept-saved-{gone}".lower())
    path = saved_path(server, run(server, prompt))
    assert "save" in cached(server, prompt)
    path.unlink()
    if not gone:
        write_word(server, path.stem, 0.5)
    assert set(prompt) - cached(server, prompt) == {"save"}
    assert path.is_file()


def stopped_at_once(server: Server, prompt: Prompt) -> Any:
    """Run a prompt whose training is stopped before its first step."""
    prompt_id = server.queue(prompt)
    while server.history(prompt_id) is None:
        try:
            server._request("/textual_inversion/stop", {"node_id": "train"})
            break
        except RuntimeError:
            continue  # It does not train yet.
    return server.wait(prompt_id)["outputs"]


@pytest.mark.parametrize(("seed", "resume"), [(511, "off"), (512, "continue"), (513, "continue")])
def test_after_a_stop_before_the_first_step_the_same_run_trains(
    server: Server, seed: int, resume: str
):
    prompt = graph(train__seed=seed, train__resume=resume)
    outputs = stopped_at_once(server, prompt)
    assert outputs["train"]["ti_loss"] == []
    assert "Nothing was learned" in outputs["train"]["text"][0]
    again = run(server, prompt)
    assert len(again["train"]["ti_loss"]) == 6
    assert saved_path(server, again).is_file()
    assert {"train", "save"} <= cached(server, prompt)


@pytest.mark.parametrize(("seed", "resume"), [(521, "off"), (522, "continue")])
def test_a_word_that_was_stopped_and_kept_stays_until_other_steps_are_asked_for(
    server: Server, seed: int, resume: str
):
    prompt = graph(train__seed=seed, train__steps=400, train__resume=resume)
    said: list[Any] = []

    def look(value: int, maximum: int, text: str) -> None:
        if maximum == 400 and value >= 3 and not said:
            said.append(server._request("/textual_inversion/stop", {}))

    outputs = run(server, prompt, on_progress=look, timeout=120)
    done = len(outputs["train"]["ti_loss"])
    text = outputs["train"]["text"][0]
    assert "To continue, set a different number of steps" in text
    stored = "its word is loaded from there" if resume == "continue" else "It is not stored"
    assert stored in text
    assert {"train", "save", "sample"} <= cached(server, prompt)
    more = run(server, graph(train__seed=seed, train__steps=done + 2, train__resume=resume))
    assert len(more["train"]["ti_loss"]) == done + 2
