"""The templates: they are found, fit the nodes as these are now, and run."""

import io
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from graphs import Prompt, node, run
from headless import PACK, Server
from PIL import Image
from template_plans import (
    FILES,
    FOR_SDXL,
    FOR_Z_IMAGE,
    LEARN_A_STYLE,
    LEARN_A_WORD,
    TEMPLATES,
    WORDS,
    Node,
    Template,
    registered,
)
from workflow import chosen_inputs, fields, is_widget, options, to_prompt

MOST_NODES = 12  # of the first, so that it can be taken in at a glance
# Frontend 1.47 searches with fuse.js: a threshold of 0.33 ends 33 characters behind the start.
SEARCHED = 33
HEAVIEST = 60_000  # bytes of a thumbnail
# By loader: the output of a small model's loader that stands in for its first.
LOADERS = {"CheckpointLoaderSimple": 0, "UNETLoader": 0, "CLIPLoader": 1, "VAELoader": 2}
SMALL: dict[str, dict[str, Any]] = {
    "LoadImagesAsConcept": {"folder": "input/stars", "resolution": 64},
    "CreateEmbedding": {"initializer": "star"},
    "ConceptAutoCaption": {"samples": 1, "fragments": "a {} [place]\n[place]\non grass"},
    "ConceptInitWord": {"noun": "star", "samples": 1, "fragments": "[color] {}\n[color]\nred"},
    "TrainTextualInversion": {"steps": 1, "resume": "off"},
    "TrainingPreviews": {"width": 64, "height": 64, "steps": 1},
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 1},
    "SaveEmbedding": {"overwrite": True},
    "LoadTextualInversion": {"file": WORDS[0]},
}
CHOSEN: dict[str, dict[str, Any]] = {  # What the user fills in.
    "LoadImagesAsConcept": {"folder": "input/stars"},
    "CreateEmbedding": {"initializer": "star"},
    "ConceptInitWord": {"noun": "star"},
}
by_name = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)


@pytest.fixture(scope="module")
def object_info(server: Server) -> dict[str, Any]:
    """The schemas of all nodes."""
    return server.object_info()


@pytest.fixture
def empty_files(server: Server) -> Iterator[None]:
    """Empty files of the names that the templates choose."""
    models = server.directory / "models"
    words = [models / "embeddings" / name for name in WORDS]
    paths = [*(models / file.folder / file.name for file in FILES), *words]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    yield
    for path in paths:
        path.unlink()


def with_values(prompt: Prompt, values: dict[str, dict[str, Any]]) -> Prompt:
    """The prompt with other inputs on the nodes of some classes, but for those that are linked."""
    for found in prompt.values():
        given = values.get(found["class_type"], {})
        linked = {name for name, value in found["inputs"].items() if isinstance(value, list)}
        found["inputs"].update({name: given[name] for name in given.keys() - linked})
    return prompt


def default(spec: list[Any]) -> Any:
    """What a widget has at first."""
    kind, more = spec[0], options(spec)
    choices = (kind if isinstance(kind, list) else more.get("options")) or [""]
    first = choices[0]["key"] if isinstance(choices[0], dict) else choices[0]
    return more.get("default", first)


def expected(groups: dict[str, Any], planned: Node, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What the page sends of a node's widgets, by what its plan says and by the defaults."""
    for name, spec in fields(groups):
        name = prefix + name
        if is_widget(spec):
            value = planned.widgets.get(name, default(spec))
            yield name, value
            yield from expected(chosen_inputs(spec, value), planned, f"{name}.")


def test_the_page_finds_each_with_its_thumbnail_by_either_word(server: Server):
    listed = server.get_json("/workflow_templates")[PACK]
    assert sorted(listed) == sorted(template.name for template in TEMPLATES)
    for name in listed:
        assert all(
            -1 < name.lower().find(words) < SEARCHED for words in ("textual inversion", "embedding")
        )
        served = server.get(f"/api/workflow_templates/{PACK}/{urllib.parse.quote(name)}.jpg")
        assert len(served) < HEAVIEST
        assert Image.open(io.BytesIO(served)).size[0] > 0


def test_the_first_is_lean():
    kinds = [node.type for node in LEARN_A_WORD.nodes]
    assert len(kinds) <= MOST_NODES
    assert "TrainingPreviews" in kinds


@by_name
def test_its_values_are_the_defaults_of_the_nodes_but_for_those_it_plans(
    object_info: dict[str, Any], template: Template
):
    workflow = template.workflow()
    prompt = to_prompt(workflow, object_info)
    for planned, saved in zip(template.nodes, workflow["nodes"], strict=True):
        assert saved["type"] == planned.type
        if sent := prompt.get(str(saved["id"])):
            wanted = dict(expected(object_info[planned.type]["input"], planned))
            found = {name: value for name, value in sent["inputs"].items() if name in wanted}
            linked = {name for name, value in found.items() if isinstance(value, list)}
            assert {name: wanted[name] for name in found.keys() - linked} == {
                name: found[name] for name in found.keys() - linked
            }
            assert found.keys() == wanted.keys()


@by_name
def test_its_nodes_of_ours_say_where_they_are_from(object_info: dict[str, Any], template: Template):
    for saved in template.workflow()["nodes"]:
        if PACK in object_info.get(saved["type"], {}).get("python_module", ""):
            assert registered().items() <= saved["properties"].items()


@by_name
@pytest.mark.usefixtures("empty_files")
def test_the_server_takes_it_as_it_is_once_folder_and_init_word_are_given(
    server: Server, object_info: dict[str, Any], template: Template
):
    prompt = to_prompt(template.workflow(), object_info)
    server.queue(with_values(prompt, CHOSEN))


def test_they_run_one_behind_the_other(server: Server, object_info: dict[str, Any]):
    """The first saves the word that others load; that for SDXL is the first with other sizes."""
    for template in TEMPLATES:
        if template is not FOR_SDXL:
            family = "Z-Image" if template is FOR_Z_IMAGE else "SD 1.x"
            prompt = with_values(to_prompt(template.workflow(), object_info), SMALL)
            outputs = run(server, on_small_models(prompt, family))
            shown = [found for found in outputs.values() if found.get("images")]
            drawn = [planned for planned in template.nodes if planned.type == "SaveImage"]
            assert len(shown) == len(drawn), template.name


def test_the_prompt_for_a_style_follows_the_word(server: Server, object_info: dict[str, Any]):
    prompt = to_prompt(LEARN_A_STYLE.workflow(), object_info)
    with_values(prompt, {"CreateEmbedding": {"placeholder": "other-style"}})
    (encoded,) = (
        found["inputs"]["text"]
        for found in prompt.values()
        if found["class_type"] == "CLIPTextEncode" and isinstance(found["inputs"]["text"], list)
    )
    needed = ("CheckpointLoaderSimple", "CreateEmbedding", "StringReplace")
    kept = {key: found for key, found in prompt.items() if found["class_type"] in needed}
    kept["said"] = node("PreviewAny", source=encoded)
    (text,) = run(server, on_small_models(kept, "SD 1.x"))["said"]["text"]
    assert text.endswith("in the style of other-style")


def on_small_models(prompt: Prompt, family: str) -> Prompt:
    """The prompt with a family's small models in place of those that its loaders read."""
    loaders = {key: found["class_type"] for key, found in prompt.items()}
    for found in prompt.values():
        for name, value in found["inputs"].items():
            if isinstance(value, list) and (kind := loaders[value[0]]) in LOADERS:
                found["inputs"][name] = ["small", LOADERS[kind] + value[1]]
    small = node("SmallModels") if family == "SD 1.x" else node("SmallFamily", family=family)
    kept = {key: found for key, found in prompt.items() if loaders[key] not in LOADERS}
    return {**kept, "small": small}
