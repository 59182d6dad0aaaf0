"""The nodes for embedding files in the real server."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from graphs import graph, node, run, run_with_workflow, sampling, saved_path
from headless import Server
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import ones, randn

NEW = (
    "LoadTextualInversion",
    "InspectTextualInversion",
    "ConvertTextualInversion",
    "BlendTextualInversions",
)


def folder(server: Server) -> Path:
    return server.directory / "models" / "embeddings"


@pytest.fixture(scope="module")
def trained(server: Server) -> Path:
    """A saved word."""
    return saved_path(server, run(server, graph(save__name="files-star")))


def load(file: Any, **more: Any) -> dict[str, Any]:
    inputs = {"file": file, "placeholder": "", "initializer": "", "word": "", **more}
    return node("LoadTextualInversion", **inputs)


def save(source: list[Any], name: str, kind: str, **more: Any) -> dict[str, Any]:
    inputs = {"name": name, "storage": "fp32", "overwrite": False, "format": kind, **more}
    return node("SaveEmbedding", embedding=source, **inputs)


def test_a_saved_word_is_loaded_inspected_and_trained_on(server: Server, trained: Path):
    prompt = graph(train__embedding=["again", 0], save__name="files-star-more")
    prompt["again"] = load(trained.name, clip=["load", 1])
    prompt["inspect"] = node(
        "InspectTextualInversion", embedding=["again", 0], clip=["load", 1], neighbors=3
    )
    prompt["text"] = node("PreviewAny", source=["inspect", 0])
    prompt["shown"] = node("SaveImage", images=["inspect", 1], filename_prefix="inspect")
    del prompt["word"]
    outputs = run(server, prompt)
    report = outputs["text"]["text"][0]
    told = ("'files-star', init word 'star'", "Inside, the file calls it 'my-star'")
    for line in (*told, "Fits SD 1.x", "nearest", "steps: 6"):
        assert line in report
    assert outputs["inspect"]["text"][0] == report
    assert outputs["inspect"]["images"]
    assert outputs["shown"]["images"]
    before = load_file(trained)["emb_params"]
    assert not load_file(saved_path(server, outputs))["emb_params"].equal(before)


@pytest.mark.parametrize(
    ("kind", "endings"),
    [
        ("automatic1111", [".pt"]),
        ("diffusers", [".safetensors"]),
        ("onetrainer", [".safetensors"]),
        ("share image", [".png"]),
    ],
)
def test_a_file_is_converted_and_back_without_a_change(
    server: Server, trained: Path, kind: str, endings: list[str]
):
    def converted(file: str, name: str, format: str) -> Path:
        inputs = {"format": format, "name": name, "storage": "fp32", "overwrite": True}
        prompt = {"save": node("ConvertTextualInversion", file=file, word="", **inputs)}
        return saved_path(server, run(server, prompt))

    there = converted(trained.name, f"to-{kind.split()[0]}", kind)
    assert [there.suffix] == endings
    back = converted(there.name, "back", "standard")
    assert load_file(back)["emb_params"].equal(load_file(trained)["emb_params"])
    with safe_open(back, "pt") as opened:
        recipe = json.loads(opened.metadata()["textual_inversion"])
    word = trained.stem if kind == "share image" else there.stem
    assert (recipe["placeholder"], recipe["initializer"]) == (word, "star")
    assert recipe["steps"] == 6


def convert(file: Any, name: str) -> dict[str, Any]:
    inputs = {"format": "standard", "name": name, "storage": "fp32", "overwrite": False}
    return node("ConvertTextualInversion", file=file, word="", **inputs)


def test_convert_starts_without_a_file_and_then_writes_nothing(server: Server, trained: Path):
    schema = server.object_info()["ConvertTextualInversion"]["input"]["required"]["file"][1]
    assert schema["options"][0] == schema["default"] == "none"
    before = sorted(folder(server).iterdir())
    outputs = run(server, {"save": convert(schema["default"], "unasked")})
    assert "Nothing was written. Choose a file" in outputs["save"]["text"][0]
    assert sorted(folder(server).iterdir()) == before


def test_the_file_can_come_over_a_wire(server: Server, trained: Path):
    """The host validates the other end; what it brings is known when the node runs."""

    def chosen(file: str, name: str) -> dict[str, Any]:
        switch = {"switch": True, "on_true": ["file", 0], "on_false": ["file", 0]}
        return {
            "file": node("PrimitiveString", value=file),
            "wire": node("ComfySwitchNode", **switch),
            "a": load(["wire", 0]),
            "save": save(["a", 0], name, "standard"),
            "convert": convert(["wire", 0], f"{name}-converted"),
        }

    outputs = run(server, chosen(trained.name, "over-a-wire"))
    for path in (saved_path(server, outputs), folder(server) / "over-a-wire-converted.safetensors"):
        assert load_file(path)["emb_params"].equal(load_file(trained)["emb_params"])
    with pytest.raises(RuntimeError, match="There is no embedding file 'missing.pt'"):
        run(server, chosen("missing.pt", "x"))


def test_the_same_conversion_over_a_wire_is_not_written_again(server: Server, trained: Path):
    """The host asks a node whether it changed before the choice is known."""
    prompt = {
        "file": node("PrimitiveString", value=trained.name),
        "wire": node("ComfySwitchNode", switch=True, on_true=["file", 0], on_false=["file", 0]),
        "save": convert(["wire", 0], "once"),
    }
    for _ in range(2):
        run(server, prompt)
    assert [path.name for path in folder(server).glob("once*")] == ["once.safetensors"]


def test_the_share_image_carries_sample_vectors_and_graph(server: Server, trained: Path):
    prompt = {
        "load": node("SmallModels"),
        "again": load(trained.name, clip=["load", 1]),
        "apply": node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["again", 0], strength=1),
        **sampling("apply", "a photo of my-star"),
        "save": save(["again", 0], "card", "share image", image=["decode", 0]),
    }
    workflow = {"nodes": [], "links": [], "version": 0.4}
    path = saved_path(server, run_with_workflow(server, prompt, workflow))
    with Image.open(path) as opened:
        text = opened.text  # type: ignore[attr-defined]
        assert opened.width > opened.height
    assert json.loads(text["workflow"]) == workflow
    assert json.loads(text["prompt"]).keys() == prompt.keys()
    dropped = server.directory / "input" / "dropped card.png"
    shutil.copy(path, dropped)
    again = {"a": load(f"input/{dropped.name}"), "save": save(["a", 0], "from-card", "standard")}
    found = load_file(saved_path(server, run(server, again)))["emb_params"]
    assert found.equal(load_file(trained)["emb_params"])


def test_two_words_become_one(server: Server, trained: Path):
    save_file({"emb_params": 0.01 * randn(3, 768)}, folder(server) / "other.safetensors")
    prompt = {
        "a": load(trained.name),
        "b": load("other.safetensors"),
        "blend": node(
            "BlendTextualInversions",
            first=["a", 0],
            second=["b", 0],
            placeholder="my-blend",
            mode="concatenate",
            vectors=4,
            shorten="merge",
        ),
        "save": save(["blend", 0], "", "standard"),
    }
    path = saved_path(server, run(server, prompt))
    assert path.name == "my-blend.safetensors"
    assert load_file(path)["emb_params"].shape == (4, 768)
    prompt["blend"]["inputs"].update({"mode": "slerp", "mode.balance": 0.5, "vectors": 0})
    assert load_file(saved_path(server, run(server, prompt)))["emb_params"].shape == (3, 768)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file": "missing.pt"}, "There is no embedding file 'missing.pt'"),
        ({"file": "../../../outside.pt"}, "There is no embedding file"),
        ({"file": "torn.safetensors"}, "cannot be read as an embedding"),
        ({"file": "sd2.safetensors"}, "It fits SD 2.x"),
        ({"file": "sd2.safetensors", "clip": None, "word": "x"}, "but not 'x'"),
        ({"file": "sd2.safetensors", "placeholder": "a b"}, "cannot be written in a prompt"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_with_the_way_out(
    server: Server, change: dict[str, Any], says: str
):
    (folder(server) / "torn.safetensors").write_bytes(b"\7\0\0\0\0\0\0\0{torn}")
    save_file({"emb_params": ones(1, 1024)}, folder(server) / "sd2.safetensors")
    inputs = {"clip": ["load", 1], **change}
    prompt = {
        "load": node("SmallModels"),
        "a": load(**{key: value for key, value in inputs.items() if value is not None}),
        "save": save(["a", 0], "", "standard"),
    }
    with pytest.raises(RuntimeError, match=says):
        run(server, prompt)


def test_load_inspect_and_apply_tell_which_half_of_a_word_is_missing_also_from_the_cache(
    server: Server,
):
    save_file({"emb_params": randn(1, 768)}, folder(server) / "half.safetensors")
    prompt = {
        "load": node("SmallFamily", family="SDXL"),
        "a": load("half.safetensors", clip=["load", 1], initializer="cat"),
        "inspect": node(
            "InspectTextualInversion", embedding=["a", 0], clip=["load", 1], neighbors=3
        ),
        "apply": node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["a", 0], strength=1.0),
        "text": node("CLIPTextEncode", clip=["apply", 0], text="a half"),
        "seen": node("PreviewAny", source=["text", 0]),
    }
    told = "Half of it is missing: 'half' has vectors for clip_l"
    for _ in range(2):
        outputs = run(server, prompt)
        for name in ("a", "inspect", "apply"):
            assert told in outputs[name]["text"][0], name
        assert "clip_g reads the init word 'cat'" in outputs["apply"]["text"][0]
    prompt["load"] = node("SmallFamily", family="SD 1.x")
    assert run(server, prompt)["apply"]["text"] == [""]


def test_two_files_of_one_name_are_told_until_one_of_them_is_renamed(server: Server):
    for name in ("twin.safetensors", "other/twin.safetensors"):
        (folder(server) / name).parent.mkdir(exist_ok=True)
        save_file({"emb_params": ones(1, 768)}, folder(server) / name)
    prompt = {"a": load("twin.safetensors"), "seen": node("PreviewAny", source=["a", 1])}
    assert "the same name: other/twin.safetensors" in run(server, prompt)["a"]["text"][0]
    renamed = {**prompt, "a": load("twin.safetensors", placeholder="my-twin")}
    assert "the same name" not in run(server, renamed)["a"]["text"][0]
    (folder(server) / "other" / "twin.safetensors").unlink()
    assert "the same name" not in run(server, prompt)["a"]["text"][0]


def test_the_dropdown_offers_files_and_cards(server: Server, trained: Path):
    (folder(server) / "a.preview.png").touch()
    options = server.object_info()["LoadTextualInversion"]["input"]["required"]["file"]
    listed = options[1]["options"] if len(options) > 1 and "options" in options[1] else options[0]
    assert trained.name in listed
    assert "a.preview.png" not in listed


@pytest.mark.parametrize("name", NEW)
def test_every_input_and_output_has_a_tooltip(server: Server, name: str):
    schema = server.object_info()[name]
    for kind in ("required", "optional"):
        for input_name, spec in schema["input"].get(kind, {}).items():
            assert spec[1].get("tooltip"), (name, input_name)
    assert all(schema["output_tooltips"])
    assert schema["category"] == "model/training/textual inversion"


def test_the_old_inputs_of_save_embedding_keep_their_places(server: Server):
    """A workflow stores widget values by position."""
    schema = server.object_info()["SaveEmbedding"]["input"]
    widgets = [*schema["required"], *schema.get("optional", {})]
    assert widgets[:4] == ["embedding", "name", "storage", "overwrite"]
