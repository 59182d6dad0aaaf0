"""What needs no model is refused before anything is loaded, and the page is told of images."""

import io
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from graphs import Prompt, graph, node, option_inputs, run
from headless import Server
from PIL import Image


def refused(server: Server, **changes: Any) -> str:
    """What the server says of a graph of which it does not run a part."""
    with pytest.raises(RuntimeError, match="during_inner") as caught:
        server.queue(graph(**changes))
    return caught.value.args[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"concept__folder": "none"}, "There are no images: choose a folder"),
        ({"concept__folder": "input/gone"}, "There is no image folder 'input/gone'"),
        (
            {"concept__kind": "captions", "concept__captions": "a\nb"},
            "There are 2 captions for 5 images",
        ),
        ({"concept__kind": "thing"}, "captions cannot be 'thing'"),
        ({"word__placeholder": "my cat"}, "The trigger word 'my cat' cannot be written"),
        ({"word__initializer": " "}, "The init word is empty"),
        ({"train__method__learning_rate": "0.2:3"}, "ends at step 3, but the training has 6 steps"),
        ({"train__method__learning_rate": "fast"}, "is not RATE or RATE:STEP"),
        ({"train__method__learning_rate": "0.0005"}, "where it is an angle"),
        (
            {"train__method__learning_rate": "0.005:3, 1e-3,", "train__schedule": "auto"},
            "The learning rate 0.003 (on average over the steps) is too low",
        ),
        ({"train__method": "other"}, "method must be one of 'spherical', 'adamw'"),
        ({"train__schedule": "other"}, "schedule is 'other', but must be one of 'auto'"),
        ({"train__steps": 0}, "steps is 0, but must be 1 to 100000"),
        ({"train__method__prior": 2}, "prior is 2.0, but must be 0.0 to 1.0"),
    ],
)
def test_choices_that_cannot_work_are_refused(server: Server, changes: Any, says: str):
    assert says in refused(server, **changes)


def whole(**more: dict[str, Any]) -> Prompt:
    """The graph with the nodes in whose inputs something can be wrong; inputs are added to them."""
    made = graph()
    made["previews"] = node("TrainingPreviews", **PREVIEWS)
    made["objective"] = node("TrainingObjective", **OBJECTIVE)
    made["fit"] = node("ConceptCropAndBuckets", **FIT)
    made["options"] = node("ConceptCaptionOptions", **option_inputs())
    made["concept"]["inputs"] |= {"fit": ["fit", 0], "caption_options": ["options", 0]}
    made["train"]["inputs"] |= {"previews": ["previews", 0], "objective": ["objective", 0]}
    made["blend"] = node("BlendTextualInversions", **BLEND)
    made["convert"] = node("ConvertTextualInversion", **CONVERT)
    made["kohya"] = node("ConceptFromKohyaDataset", file="input/none.toml", kind="object", seed=0)
    made["looked"] = node("InspectTextualInversion", embedding=["blend", 0], neighbors=1)
    made["audit"] = node("ConceptAudit", concept=["kohya", 0], batch_size=1, accumulation=1)
    for name, changes in more.items():
        made[name]["inputs"] |= changes
    return made


BLEND = {"first": ["word", 0], "placeholder": "my-blend", "mode": "first only", "vectors": 0}
BLEND |= {"shorten": "merge"}
CONVERT = {"file": "none", "format": "standard", "name": "", "storage": "fp32", "overwrite": False}
PREVIEWS = {"every": 2, "prompt": "a {}", "negative": "", "steps": 1, "cfg": 1.0, "seed": 0}
PREVIEWS |= {"sampler": "euler", "scheduler": "normal", "width": 64, "height": 64}
OBJECTIVE = {"noise_levels": "auto", "from": 0.0, "to": 1.0, "weighting": "none", "gamma": 5.0}
OBJECTIVE |= {"offset_noise": 0.0, "guidance": 1.0}
FIT = {"shape": "buckets", "method": "crop", "position": "center", "flip": 0.0, "zoom": 0.0}
FIT |= {"color": 0.0, "variants": 1, "upscale": True, "step": 64, "smallest": 0, "largest": 0}
FIT |= {"latents": "once", "seed": 0}


def errors(server: Server, prompt: Prompt) -> dict[str, str]:
    """What the server says of each node of a prompt that it refuses, in part or whole."""
    body = json.dumps({"prompt": prompt, "client_id": server.client_id}).encode()
    request = urllib.request.Request(f"{server.url}/prompt", body, method="POST")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    server.clear()
    return {
        name: "; ".join(f"{one['message']}: {one['details']}" for one in said["errors"])
        for name, said in found["node_errors"].items()
    }


TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    ("save", {"name": "a?b"}, "The name 'a?b' is not allowed"),
    ("save", {"name": "con"}, "'con' is a device on Windows"),
    ("save", {"name": "pets/lpt1"}, "'lpt1' is a device"),
    ("save", {"name": "x" * 300}, "is not allowed for an embedding file"),
    ("save", {"name": "my."}, "is not allowed"),
    ("save", {"name": "../up"}, "is not allowed"),
    ("convert", {"name": "a|b"}, "The name 'a|b' is not allowed"),
    ("convert", {"file": "gone.pt"}, "There is no embedding file 'gone.pt'"),
    ("word", {"placeholder": "con"}, "'con' is a device"),
    ("word", {"placeholder": "NUL"}, "'NUL' is a device"),
    ("word", {"placeholder": "1.5"}, "reads as a number"),
    ("blend", {"placeholder": "a b"}, "The trigger word 'a b' cannot be written"),
    ("blend", {"placeholder": "aux"}, "'aux' is a device"),
    ("blend", {"mode": "concatenate"}, "There is no second word"),
    ("blend", {"mode": "slerp", "mode.balance": 0.5}, "There is no second word"),
    ("objective", {"from": 0.8, "to": 0.2}, "from 0.8 to 0.2, so there are none to train on"),
    ("objective", {"from": 0.5, "to": 0.5}, "there are none to train on"),
    ("previews", {"prompt": "a photo of a cat"}, "does not contain 'my-star'"),
    ("previews", {"prompt": ""}, "does not contain 'my-star'"),
    ("previews", {"prompt": "my star"}, "does not contain 'my-star'"),
    (
        "fit",
        {"smallest": 512, "largest": 256},
        "No multiple of bucket step (64) lies between min bucket (512)",
    ),
    ("fit", {"step": 256, "largest": 200}, "No multiple of bucket step (256)"),
    ("concept", {"resolution": 64, "folder": "none"}, "There are no images"),
    ("options", {"templates": "a {}", "template_file": "input/x.txt"}, "Both templates and"),
    ("options", {"template_file": "input/none.txt"}, "There is no file 'input/none.txt'"),
    ("options", {"templates": "# only"}, "There are no templates"),
    ("options", {"extension": "../x"}, "cannot be one"),
    ("options", {"prefix": "x" * 5000}, "has 5000 characters"),
    ("kohya", {"file": "input/gone.toml"}, "There is no file 'input/gone.toml'"),
    ("train", {"method.learning_rate": "-1"}, "must be a positive number"),
    ("train", {"warmup": 6}, "must be shorter than the training"),
]


@pytest.mark.parametrize(("name", "changes", "says"), TOGETHER)
def test_values_that_do_not_fit_together_are_refused_on_their_node(
    server: Server, name: str, changes: dict[str, Any], says: str
):
    assert says in errors(server, whole(**{name: changes}))[name]


def test_a_resolution_that_leaves_image_fit_no_bucket_is_refused(server: Server):
    found = errors(server, whole(fit={"step": 256}, concept={"resolution": 64}))
    assert "No bucket lies between" in found["concept"]


SENT: list[tuple[str, dict[str, Any], str]] = [
    ("train", {"seed": "x"}, "seed is 'x', but must be a whole number"),
    ("train", {"steps": [5]}, "steps is [5], but must be a whole number"),
    ("train", {"steps": None}, "steps is null, so its field holds no number: write one from 1 to"),
    ("train", {"previews": "x"}, "previews is 'x', but only accepts a connection"),
    ("train", {"concept": None}, "concept is null, but needs a connection: connect it"),
    ("train", {"model": 5}, "model is 5, but only accepts a connection"),
    ("train", {"auto_stop": "false"}, "auto_stop is 'false', but must be true or false"),
    ("train", {"method.learning_rate": "1" * 20_000_000}, "learning_rate has 20000000 characters"),
    ("train", {"method.prior": float("nan")}, "prior is nan"),
    ("train", {"method": ["a"]}, "method must be one of 'spherical', 'adamw'"),
    ("convert", {"file": 5}, "file is 5, but must be text"),
    ("convert", {"overwrite": "no"}, "overwrite is 'no'"),
    ("concept", {"folder": 5}, "folder is 5, but must be text"),
    ("concept", {"captions": None}, "caption text is null"),
    ("concept", {"subfolders": "off"}, "subfolders is 'off'"),
    ("fit", {"flip": float("nan")}, "flip is nan, but must be 0.0 to 1.0"),
    ("options", {"tag_dropout": float("nan")}, "tag_dropout is nan"),
    ("options", {"caption_dropout": float("inf")}, "caption_dropout is inf"),
    ("objective", {"gamma": float("nan")}, "gamma is nan"),
    ("objective", {"guidance": float("-inf")}, "guidance is -inf"),
    ("previews", {"cfg": float("nan")}, "cfg is nan"),
    ("previews", {"width": 10**300}, "width is 1000"),
]


@pytest.mark.parametrize(("name", "changes", "says"), SENT, ids=lambda one: str(one)[:40])
def test_values_that_no_page_sends_are_refused_on_their_node_in_few_words(
    server: Server, name: str, changes: dict[str, Any], says: str
):
    said = errors(server, whole(**{name: changes}))[name]
    assert says in said
    assert len(said) < 4000


@pytest.mark.parametrize(
    ("name", "input_name", "value", "says"),
    [
        ("train", "steps", 0, "steps is 0, but must be 1 to 100000"),
        ("train", "seed", "x", "seed is 'x'"),
        ("apply", "strength", float("nan"), "strength is nan"),
        ("save", "name", "a?b", "The name 'a?b' is not allowed"),
        ("objective", "to", 0.005, "max timestep is 0.005"),
        ("word", "placeholder", "nul", "'nul' is a device"),
    ],
)
def test_what_a_wire_brings_is_refused_when_the_node_runs(
    server: Server, name: str, input_name: str, value: Any, says: str
):
    prompt = graph() | {"objective": node("TrainingObjective", **OBJECTIVE)}
    prompt["train"]["inputs"] |= {"objective": ["objective", 0], "seed": 7}
    prompt["given"] = node("Given", json_text=json.dumps(value))
    prompt[name]["inputs"][input_name] = ["given", 0]
    with pytest.raises(RuntimeError) as caught:
        run(server, prompt)
    assert says in str(caught.value)


def test_what_comes_over_a_wire_is_not_refused(server: Server):
    words = graph(word__placeholder=["name", 0], word__initializer=["name", 0])
    words["name"] = node("PrimitiveStringMultiline", value="star")
    kept = {name: words[name] for name in ("load", "word", "name")}
    kept["report"] = node("PreviewAny", source=["word", 1])
    outputs = run(server, kept)
    assert outputs["report"]["text"] == ["star"]
    assert "'star' starts as 'star': 2 vectors, for SD 1" in outputs["word"]["text"][0]
    assert "'star' is an ordinary word in the vocabulary of clip_l" in outputs["word"]["text"][0]
    prompt = graph(concept__folder="none", concept__kind="captions", concept__captions=["text", 0])
    prompt["text"] = node("PrimitiveStringMultiline", value="one {}\ntwo {}")
    prompt["shown"] = node("EmptyImage", width=64, height=64, batch_size=2, color=255)
    prompt["concept"]["inputs"].update(images=["shown", 0])
    kept = {name: prompt[name] for name in ("concept", "text", "shown")}
    kept["report"] = node("PreviewAny", source=["concept", 2])
    assert ": two {}" in run(server, kept)["report"]["text"][0]


def test_the_page_is_told_of_folders_and_of_what_is_in_one(server: Server):
    assert server.get_json("/textual_inversion/folders")["input/stars"] == 5
    query = urllib.parse.urlencode({"folder": "input/stars", "resolution": 512})
    found = server.get_json(f"/textual_inversion/folder?{query}")
    assert found["count"] == 5
    assert found["names"][0] == "star 8.png"
    assert "5 images will be enlarged to 512" in found["findings"][0]
    small = urllib.parse.urlencode({"image": f"input/stars/{found['names'][0]}"})
    with Image.open(io.BytesIO(server.get(f"/textual_inversion/thumbnail?{small}"))) as opened:
        assert opened.size == (96, 80)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("folder?folder=input/..", "answered 404.*There is no image folder"),
        ("folder?folder=input/stars&resolution=x", "answered 400.*The resolution is no number"),
        ("thumbnail?image=input/stars/none.png", "answered 404.*There is no image "),
        ("thumbnail?image=datasets/broken/1.png", "answered 404.*cannot be read"),
    ],
)
def test_other_questions_are_answered_with_an_error(server: Server, query: str, says: str):
    broken = server.directory / "datasets" / "broken" / "1.png"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("no image")
    with pytest.raises(RuntimeError, match=says):
        server.get_json(f"/textual_inversion/{query}")
    shutil.rmtree(broken.parent)
