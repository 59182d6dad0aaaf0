"""What needs no model is refused before anything is loaded, and the page is told of pictures."""

import io
import shutil
import urllib.parse
from typing import Any

import pytest
from graphs import graph, node, run
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
        ({"concept__folder": "none"}, "There are no pictures: choose a folder"),
        ({"concept__folder": "input/gone"}, "There is no picture folder 'input/gone'"),
        (
            {"concept__kind": "captions", "concept__captions": "a\nb"},
            "There are 2 captions for 5 pictures",
        ),
        ({"concept__kind": "thing"}, "There is no kind 'thing'"),
        ({"word__placeholder": "my cat"}, "The placeholder 'my cat' cannot be written"),
        ({"word__initialiser": " "}, "The initialiser is empty"),
        ({"train__method__learning_rate": "0.2:3"}, "ends at step 3, but the training has 6 steps"),
        ({"train__method__learning_rate": "fast"}, "is not RATE or RATE:STEP"),
        ({"train__method": "other"}, "method may be 'spherical', 'free'"),
        ({"train__schedule": "other"}, "schedule is 'other', but may be 'auto'"),
        ({"train__steps": 0}, "steps is 0, but may be 1 to 100000"),
        ({"train__method__prior": 2}, "prior is 2.0, but may be 0.0 to 1.0"),
    ],
)
def test_choices_that_cannot_work_are_refused(server: Server, changes: Any, says: str):
    assert says in refused(server, **changes)


def test_what_comes_over_a_wire_is_not_refused(server: Server):
    words = graph(word__placeholder=["name", 0], word__initialiser=["name", 0])
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
    assert "5 pictures will be enlarged to 512" in found["findings"][0]
    small = urllib.parse.urlencode({"picture": f"input/stars/{found['names'][0]}"})
    with Image.open(io.BytesIO(server.get(f"/textual_inversion/thumbnail?{small}"))) as opened:
        assert opened.size == (96, 80)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("folder?folder=input/..", "answered 404.*There is no picture folder"),
        ("folder?folder=input/stars&resolution=x", "answered 400.*The resolution is no number"),
        ("thumbnail?picture=input/stars/none.png", "answered 404.*There is no picture "),
        ("thumbnail?picture=datasets/broken/1.png", "answered 404.*cannot be read"),
    ],
)
def test_other_questions_are_answered_with_an_error(server: Server, query: str, says: str):
    broken = server.directory / "datasets" / "broken" / "1.png"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("no picture")
    with pytest.raises(RuntimeError, match=says):
        server.get_json(f"/textual_inversion/{query}")
    shutil.rmtree(broken.parent)
