"""The nodes around concepts in the real server."""

import json
import re
from typing import Any

import pytest
from graphs import graph, node, run
from headless import Server
from PIL import Image

OPTIONS: dict[str, Any] = {
    "templates": "",
    "template_file": "",
    "shuffle": False,
    "keep_tokens": 0,
    "tag_dropout": 0.0,
    "caption_dropout": 0.0,
    "missing": "add",
    "source": "auto",
    "extension": "",
    "metadata_file": "",
    "name_pattern": "",
    "name_joiner": " ",
    "prefix": "",
    "suffix": "",
    "separator": ",",
    "keep_separator": "",
    "secondary_separator": "",
    "wildcards": False,
    "weights": False,
    "caption_dropout_epochs": 0,
    "warmup_min": 1,
    "warmup_steps": 0,
}
FIT: dict[str, Any] = {
    "shape": "buckets",
    "method": "crop",
    "position": "center",
    "flip": 0.0,
    "zoom": 0.0,
    "color": 0.0,
    "variants": 4,
    "upscale": True,
    "step": 8,
    "smallest": 0,
    "largest": 0,
    "latents": "deterministic",
    "seed": 0,
}


def put(server: Server, folder: str, **files: tuple[tuple[int, int], str]) -> None:
    """Images of given sizes with captions in an input folder."""
    target = server.directory / "input" / folder
    target.mkdir(parents=True, exist_ok=True)
    for number, (stem, (size, caption)) in enumerate(files.items()):
        Image.effect_noise(size, 40 + 9 * number).convert("RGB").save(target / f"{stem}.png")
        (target / f"{stem}.txt").write_text(caption, "utf-8")


def audited(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with an audit and its sheet."""
    prompt["audit"] = node(
        "ConceptAudit",
        concept=["concept", 0],
        embedding=["word", 0],
        clip=["load", 1],
        batch_size=2,
        accumulation=1,
    )
    prompt["sheet"] = node("SaveImage", images=["audit", 0], filename_prefix="sheet")
    return prompt


def without_training(prompt: dict[str, Any]) -> dict[str, Any]:
    """Only what leads to the concept."""
    kept = ("load", "concept", "word", "audit", "sheet", "fit", "options", "masking", "mask")
    return {name: prompt[name] for name in prompt if name in kept}


def test_buckets_captions_and_flips_train_together(server: Server):
    put(
        server,
        "mixed",
        one=((96, 64), "red, big, my-star"),
        two=((64, 96), "blue, small"),
        three=((90, 60), "green"),
    )
    prompt = audited(graph(concept__folder="input/mixed", concept__kind="captions"))
    prompt["fit"] = node("ConceptCropAndBuckets", **{**FIT, "flip": 0.5})
    prompt["options"] = node(
        "ConceptCaptionOptions", **{**OPTIONS, "shuffle": True, "tag_dropout": 0.1}
    )
    prompt["concept"]["inputs"].update(fit=["fit", 0], caption_options=["options", 0])
    prompt["crops"] = node("SaveImage", images=["concept", 1], filename_prefix="crops")
    outputs = run(server, prompt)
    text = outputs["audit"]["text"][0]
    assert "3 images in 2 sizes (80 x 48: 2, 48 x 80: 1), 3 with repeats, 12 crops" in text
    assert "'my-star' is missing from the captions of 2 images: it is put in front" in text
    assert "Learned 'my-star'" in outputs["train"]["text"][0]
    assert len(outputs["crops"]["images"]) == 12
    assert outputs["sheet"]["images"]


def test_masks_of_the_graph_train(server: Server):
    prompt = graph(concept__folder="none")
    prompt["shown"] = node("EmptyImage", width=80, height=64, batch_size=3, color=255)
    prompt["mask"] = node("SolidMask", value=1.0, width=80, height=64)
    prompt["concept"]["inputs"].update(images=["shown", 0], masks=["mask", 0])
    assert "Learned" in run(server, prompt)["train"]["text"][0]
    prompt["mask"]["inputs"]["value"] = 0.0
    with pytest.raises(RuntimeError, match="The mask of 'image 1' is empty"):
        run(server, prompt)


def test_the_hosts_dataset_nodes_give_images_with_captions(server: Server):
    put(server, "pairs", a=((64, 64), "first {}"), b=((64, 64), "second {}"))
    prompt = graph(concept__folder="none", concept__kind="captions")
    prompt["pairs"] = node("LoadImageTextDataSetFromFolder", folder="pairs")
    prompt["concept"]["inputs"].update(images=["pairs", 0], captions=["pairs", 1])
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    kept = {name: prompt[name] for name in ("concept", "pairs", "report")}
    text = run(server, kept)["report"]["text"][0]
    assert re.search(r"image \d .*: first \{\}", text)
    assert re.search(r"image \d .*: second \{\}", text)


def test_concepts_are_joined_each_with_its_own_kind_and_repeats(server: Server):
    prompt = graph(concept__repeats=3)
    prompt["other"] = node(
        "LoadImagesAsConcept",
        folder="input/stars",
        resolution=128,
        kind="style",
        captions="",
        repeats=1,
    )
    prompt["both"] = node(
        "ConceptJoin", **{"concepts.concept0": ["concept", 0], "concepts.concept1": ["other", 0]}
    )
    prompt["train"]["inputs"]["concept"] = ["both", 0]
    prompt["report"] = node("PreviewAny", source=["both", 2])
    outputs = run(server, prompt)
    text = outputs["report"]["text"][0]
    assert "10 images in 2 sizes (64 x 64: 5, 128 x 128: 5)" in text
    assert "3 times" in text
    assert "from 10 images" in outputs["train"]["text"][0]


def test_a_dataset_file_of_kohya_trains(server: Server):
    pytest.importorskip("tomllib")
    put(server, "kohya", a=((80, 64), "a, b, c"), b=((64, 80), "d, e"))
    (server.directory / "input" / "kohya" / "set.toml").write_text(
        "[general]\nenable_bucket = true\nshuffle_caption = true\ncaption_extension = '.txt'\n"
        "[[datasets]]\nresolution = 64\nbatch_size = 2\nbucket_reso_steps = 8\n"
        "min_bucket_reso = 32\n"
        "[[datasets.subsets]]\nimage_dir = '/home/me/kohya'\nnum_repeats = 2\n"
    )
    prompt = graph()
    prompt["concept"] = node(
        "ConceptFromKohyaDataset", file="input/kohya/set.toml", kind="captions", seed=0
    )
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    outputs = run(server, prompt)
    text = outputs["report"]["text"][0]
    assert "image_dir '/home/me/kohya' is read from input/kohya." in text
    assert "batch_size has no effect" in text
    assert "Learned" in outputs["train"]["text"][0]


@pytest.mark.parametrize("file", ["input/none.toml", "../set.toml", "/etc/passwd"])
def test_dataset_files_outside_are_refused(server: Server, file: str):
    prompt = graph()
    prompt["concept"] = node("ConceptFromKohyaDataset", file=file, kind="captions", seed=0)
    with pytest.raises(RuntimeError, match="There is no file"):
        run(server, prompt)


def test_a_changed_caption_is_seen_by_the_next_run(server: Server):
    put(server, "changing", a=((64, 64), "one {}"), b=((64, 64), "two {}"))
    prompt = graph(concept__folder="input/changing", concept__kind="captions")
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    kept = {name: prompt[name] for name in ("concept", "report")}
    assert ": one {}" in run(server, kept)["report"]["text"][0]
    put(server, "changing", a=((64, 64), "uno {}"))
    assert ": uno {}" in run(server, kept)["report"]["text"][0]


def reported(prompt: dict[str, Any]) -> dict[str, Any]:
    """Only what leads to the report of the concept."""
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    return {name: prompt[name] for name in ("concept", "options", "report") if name in prompt}


def test_a_changed_metadata_file_elsewhere_is_seen_by_the_next_run(server: Server):
    put(server, "elsewhere", a=((64, 64), ""), b=((64, 64), ""))
    file = server.directory / "input" / "my-metadata.json"
    prompt = graph(concept__folder="input/elsewhere", concept__kind="captions")
    changes = {"source": "metadata", "metadata_file": "input/my-metadata.json"}
    prompt["options"] = node("ConceptCaptionOptions", **{**OPTIONS, **changes})
    prompt["concept"]["inputs"]["caption_options"] = ["options", 0]
    kept = reported(prompt)
    for caption in ("one {}", "uno {}"):
        file.write_text(json.dumps({name: {"caption": caption} for name in "ab"}))
        text = run(server, kept)["report"]["text"][0]
        assert text.count(f": {caption}") == 2


def test_changed_masks_and_metadata_of_a_dataset_file_are_seen_by_the_next_run(server: Server):
    pytest.importorskip("tomllib")
    put(server, "set/images", a=((64, 64), ""))
    inputs = server.directory / "input"
    (inputs / "set" / "masks").mkdir()
    (inputs / "set" / "set.toml").write_text(
        "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'images'\n"
        "conditioning_data_dir = 'masks'\nmetadata_file = 'input/set/captions.json'\n"
    )
    prompt = graph()
    prompt["concept"] = node(
        "ConceptFromKohyaDataset", file="input/set/set.toml", kind="captions", seed=0
    )
    kept = reported(prompt)

    def report(mask: str, caption: str) -> str:
        Image.new("L", (64, 64), mask).save(inputs / "set" / "masks" / "a.png")
        (inputs / "set" / "captions.json").write_text(json.dumps({"a": {"caption": caption}}))
        return run(server, kept)["report"]["text"][0]

    assert ": one {}" in report("white", "one {}")
    assert ": uno {}" in report("white", "uno {}")
    with pytest.raises(RuntimeError, match="The mask of 'a.png' is empty"):
        report("black", "uno {}")


def test_captions_that_are_not_used_are_told_on_the_node(server: Server):
    kept = reported(graph(concept__captions="one\ntwo"))
    text = run(server, kept)["report"]["text"][0]
    assert text.endswith("There are also 2 captions for 5 images.")
    assert "The captions were not used: captions is 'object', which uses none." in text


def test_an_option_that_is_no_more_is_refused_with_those_that_are(server: Server):
    """'leave' could only make training fail."""
    prompt = graph()
    prompt["options"] = node("ConceptCaptionOptions", **{**OPTIONS, "missing": "leave"})
    prompt["concept"]["inputs"]["caption_options"] = ["options", 0]
    with pytest.raises(RuntimeError, match="missing is 'leave', but must be one of 'add', 'error'"):
        run(server, prompt)


def test_unreadable_files_are_skipped_on_request_and_named(server: Server):
    put(server, "half-broken", a=((64, 64), ""), b=((64, 64), ""))
    (server.directory / "input" / "half-broken" / "torn.png").write_bytes(b"\x89PNG\r\n")
    prompt = graph(concept__folder="input/half-broken", concept__unreadable="skip")
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    kept = {name: prompt[name] for name in ("concept", "report")}
    text = run(server, kept)["report"]["text"][0]
    assert "2 images" in text
    assert "'torn.png' cannot be read" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"templates": "# only a comment"}, "There are no templates"),
        ({"template_file": "input/none.txt"}, "There is no file 'input/none.txt'"),
        ({"missing": "error", "templates": "a photo"}, "'missing' in Caption Options"),
        ({"source": "file names", "name_pattern": "(a+)+$"}, "Regular expressions are not read"),
    ],
)
def test_wrong_caption_options_name_the_value_and_the_remedy(
    server: Server, changes: dict[str, Any], says: str
):
    prompt = graph(concept__kind="captions" if "source" in changes else "object")
    prompt["options"] = node("ConceptCaptionOptions", **{**OPTIONS, **changes})
    prompt["concept"]["inputs"]["caption_options"] = ["options", 0]
    with pytest.raises(RuntimeError, match=re.escape(says)):
        run(server, prompt)


def test_the_schemas_have_a_tooltip_on_every_input_and_output(server: Server):
    info = server.object_info()
    for name in (
        "ConceptCropAndBuckets",
        "ConceptCaptionOptions",
        "ConceptMaskOptions",
        "ConceptJoin",
        "ConceptFromKohyaDataset",
        "ConceptAudit",
    ):
        schema = info[name]
        for kind in ("required", "optional"):
            for input_name, spec in schema["input"].get(kind, {}).items():
                assert spec[1].get("tooltip"), (name, input_name)
        assert all(schema["output_tooltips"]), name
        assert schema["category"] == "model/training/textual inversion"


def test_load_images_has_few_widgets_in_sight(server: Server):
    """Existing workflows keep widget values by position: the first ones stay as they are."""
    schema = server.object_info()["LoadImagesAsConcept"]
    names = [*schema["input"]["required"], *schema["input"]["optional"]]
    widgets = [name for name in names if name in ("folder", "resolution", "kind", "captions")]
    assert widgets == ["folder", "resolution", "kind", "captions"]
    more = schema["input"]["optional"]
    assert all(more[name][1]["advanced"] for name in ("repeats", "subfolders", "unreadable"))


def test_crops_are_there_when_they_are_connected_after_a_run(server: Server):
    """They are not made before, and the host must not give what it kept of the first run."""
    plain = graph(concept__resolution=128)
    kept = {name: plain[name] for name in ("concept",)}
    sizes = {"batch_size": 1, "accumulation": 1}
    kept["audit"] = node("ConceptAudit", concept=["concept", 0], **sizes)
    run(server, kept)
    kept["crops"] = node("SaveImage", images=["concept", 1], filename_prefix="crops")
    assert len(run(server, kept)["crops"]["images"]) == 5


def test_the_routes_of_folders_answer_in_our_words_whatever_lies_there(server: Server):
    inputs = server.directory / "input"
    put(server, "odd", a=((64, 64), "one"), b=((64, 64), "two"), c=((64, 64), "three"))
    (inputs / "odd" / "loop.png").symlink_to(inputs / "odd" / "loop.png")
    (inputs / "odd" / "._a.png").write_bytes(b"\0\5\x16\7")
    (inputs / "odd" / "d.heic").write_text("x")
    (inputs / "phone").mkdir()
    (inputs / "phone" / "d.heic").write_text("x")
    route = "/textual_inversion"
    found = server.get_json(f"{route}/folder?folder=input/odd&resolution=64")
    assert found["count"] == 3
    assert "2 files were not read (d.heic, loop.png)." in found["findings"][0]
    assert server.get_json(f"{route}/folders")["input/phone"] == 0
    assert ".jfif" in server.get_json(f"{route}/file_kinds")["images"]
    assert server.get(f"{route}/thumbnail?image=input/odd/a.png")
    for asked in (
        *("folder?folder=input/.", "folder?folder=input/odd/..", "folder?folder=input/none"),
        *(f"thumbnail?image=input/odd/{one}" for one in ("loop.png", "._a.png", "d.heic", "..")),
    ):
        with pytest.raises(RuntimeError, match="There is no image") as refused:
            server.get_json(f"{route}/{asked}")
        assert str(server.directory) not in str(refused.value)


def test_what_other_systems_leave_in_a_folder_is_not_learned(server: Server):
    put(server, "mac", **{name: ((64, 64), "") for name in ("1", "2", "3")})
    folder = server.directory / "input" / "mac"
    (folder / "1.txt").rename(folder / "1.TXT")
    (folder / "1.TXT").write_text("as written {}")
    for place in ("__MACOSX/1.png", ".Trash-1000/files/9.png", "._2.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"\0\5\x16\7")
    Image.effect_noise((64, 64), 99).save(folder / "a star.jfif", "JPEG")
    kept = reported(graph(concept__folder="input/mac", concept__kind="object and captions"))
    text = run(server, kept)["report"]["text"][0]
    assert text.startswith("4 images at 64 x 64")
    assert "caption from 1.TXT): as written {}" in text
