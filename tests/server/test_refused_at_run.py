"""What needs no model is refused before anything is loaded, and the page is told of pictures."""

import urllib.parse
from typing import Any

import pytest
from graphs import graph, node, run
from headless import Server


def refused(server: Server, **changes: Any) -> dict[str, Any]:
    """What the server says of a graph that it does not run: messages by node."""
    with pytest.raises(RuntimeError, match="custom_validation_failed") as caught:
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
    ],
)
def test_choices_that_cannot_work_are_refused(server: Server, changes: Any, says: str):
    assert says in refused(server, **changes)


def test_what_comes_over_a_wire_is_not_refused(server: Server):
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
    assert found["thumbnails"][0] == {"filename": "star 8.png", "subfolder": "stars"}
    assert "5 pictures will be enlarged to 512" in found["findings"][0]
    shown = urllib.parse.urlencode({**found["thumbnails"][0], "type": "input"})
    assert server.get(f"/view?{shown}").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("folder=input/..", "answered 404.*There is no picture folder"),
        ("folder=input/stars&resolution=x", "answered 400.*The resolution is no number"),
    ],
)
def test_other_questions_are_answered_with_an_error(server: Server, query: str, says: str):
    with pytest.raises(RuntimeError, match=says):
        server.get_json(f"/textual_inversion/folder?{query}")
