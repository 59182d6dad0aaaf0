"""What is written for a tool is what it looks for in a file: the rules of other tools as data, in
our own words, tried on files of every format. Their own code is run by scripts/other_readers.py.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sample_embeddings import embedding, rows, write
from torch import Tensor

from ti_core.word.embedding import Embedding
from ti_core.word.families import ENCODERS
from ti_core.word.formats import FORMATS
from ti_core.word.formats.other_tools import (
    ALONE,
    EACH,
    KINDS,
    ONETRAINER,
    TOKEN,
    TOOLS,
    row_for,
)

TENSORS, PICKLED, IMAGE = ".safetensors", ".pt", ".png"
CLASSIC, SDXL = ("SD 1.x", "SD 2.x"), "SDXL"


class Rule(NamedTuple):
    """What a tool looks for, in this order. `param`: the one tensor of `string_to_param`; `only`:
    the only tensor there is; `first`: the first of them; else a tensor of that name. For SDXL every
    tool looks for `clip_l` and `clip_g`.
    """

    endings: tuple[str, ...]
    looks_for: tuple[str, ...]
    endings_for_sdxl: tuple[str, ...]


BOTH = (TENSORS, PICKLED)
RULES = {
    "AUTOMATIC1111": Rule((*BOTH, IMAGE), ("param", "only"), (*BOTH, IMAGE)),
    "Forge": Rule((*BOTH, IMAGE), ("param", "only"), (*BOTH, IMAGE)),
    "SD.Next": Rule(BOTH, ("param", "only"), (TENSORS,)),
    "InvokeAI": Rule(BOTH, ("param", "emb_params"), BOTH),
    "OneTrainer": Rule(BOTH, ("emp_params",), BOTH),
    "kohya": Rule(BOTH, ("param", "first"), BOTH),
    "ai-toolkit": Rule(BOTH, ("param", "only"), (TENSORS,)),
    "diffusers": Rule(BOTH, ("param", "only"), BOTH),
    "ComfyUI": Rule(BOTH, ("param", "first"), BOTH),
}
NAMES_OF_ONETRAINER = {"clip_l": "clip_l", "clip_g": "clip_g", "t5xxl": "t5", "llama": "llama"}
EVERY = [(name, kind) for name in FORMATS for kind in (*CLASSIC, SDXL)]


def made_for(kind: str, word: str = "my-cat") -> Embedding:
    """A word for a kind of model, under any name."""
    some = embedding(**{key: ENCODERS[key].width for key in KINDS[kind]})
    return Embedding(word, "cat", some.vectors, some.initial, some.provenance)


def opened(path: Path) -> dict[str, Any]:
    """What is in a file, as every library for its kind reads it."""
    if path.suffix == TENSORS:
        return dict(load_file(path))
    if path.suffix == PICKLED:
        return torch.load(path, weights_only=True)
    text = json.loads(base64.b64decode(Image.open(path).info["sd-ti-embedding"]))
    return {key: decoded(value) for key, value in text.items()}


def decoded(value: Any) -> Any:
    """A tensor of an image's text, which is a list there."""
    if not isinstance(value, dict):
        return value
    if "TORCHTENSOR" in value:
        return torch.tensor(value["TORCHTENSOR"])
    return {key: decoded(one) for key, one in value.items()}


def taken(rule: Rule, paths: list[Path], kind: str) -> dict[str, Tensor]:
    """The vectors that a tool takes out of the first file, by our keys."""
    endings = rule.endings_for_sdxl if kind == SDXL else rule.endings
    if paths[0].suffix not in endings:
        return {}
    data = opened(paths[0])
    if kind == SDXL:
        return {key: data[key] for key in KINDS[kind] if key in data}
    found = next(filter(None, (looked_for(data, name) for name in rule.looks_for)), [])
    return dict(zip(KINDS[kind], found, strict=False))


def looked_for(data: Mapping[str, Any], name: str) -> list[Tensor]:
    """What a word of a rule stands for in a file."""
    tensors = [value for value in data.values() if torch.is_tensor(value)]
    params = list(data.get("string_to_param", {}).values())
    found = {"param": params, "only": tensors, "first": tensors[:1]}
    one = found.get(name, [data[name]] if name in data else [])
    return one if len(one) == 1 else []


def same(found: Mapping[str, Tensor], made: Embedding) -> bool:
    """Whether every vector is there."""
    return set(found) == set(made.vectors) and all(
        found[key].equal(made.vectors[key]) for key in found
    )


@pytest.mark.parametrize("tool", [tool for tool in RULES if tool != "diffusers"])
@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_tool_finds_what_it_looks_for_where_the_table_says_so(
    name: str, kind: str, tool: str, tmp_path: Path
):
    made = made_for(kind)
    found = taken(RULES[tool], write(tmp_path / "my-cat", made, name), kind)
    assert same(found, made) == (tool in (row_for(name, kind) or {}))


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_diffusers_is_asked_as_the_table_says(name: str, kind: str, tmp_path: Path):
    """A file of one tensor has the word as its key, or has to be told; one of several is given
    tensor by tensor; the pair for SDXL is two files of one.
    """
    made = made_for(kind)
    paths = write(tmp_path / "my-cat", made, name)
    asked = (row_for(name, kind) or {}).get("diffusers")
    if paths[0].suffix == IMAGE:
        assert asked is None
        return
    data = [opened(path) for path in paths]
    words = [one.get("name") or next(iter(one)) for one in data]
    if len(data) == len(made.vectors):
        assert asked == (ALONE if set(words) == {"my-cat"} else TOKEN)
    else:
        assert (asked, same(data[0], made)) == (EACH, True)


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k not in CLASSIC and row_for("onetrainer", k)]
)
@pytest.mark.parametrize("name", ["standard", "onetrainer", "diffusers"])
def test_onetrainer_finds_its_names_where_the_table_says_so(name: str, kind: str, tmp_path: Path):
    made = made_for(kind)
    paths = write(tmp_path / "my-cat", made, name)
    data = opened(paths[0])
    names = {key: NAMES_OF_ONETRAINER.get(key, "") for key in KINDS[kind]}
    found = {key: data[theirs] for key, theirs in names.items() if theirs in data}
    assert same(found, made) == (ONETRAINER in (row_for(name, kind) or {}))


@pytest.mark.parametrize("word", ["my-cat", "大猫", "a_b.c", "x1"])
def test_the_word_is_what_tools_take_it_to_be(word: str, tmp_path: Path):
    """diffusers: the key; AUTOMATIC1111 and its like: the name in an image, else that of the
    file, which we call so.
    """
    made = made_for("SD 1.x", word)
    (named,) = write(tmp_path / "diffusers", made, "diffusers")
    (image,) = write(tmp_path / "image", made, "share image")
    (pickled,) = write(tmp_path / word, made, "automatic1111")
    assert list(opened(named)) == [word]
    assert opened(image)["name"] == word
    assert (opened(pickled)["name"], pickled.stem) == (word, word)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_invokeai_takes_the_number_of_vectors_for_the_width_where_it_knows_no_name(
    count: int, tmp_path: Path
):
    """It looks at the first number of a tensor's shape then: why *onetrainer* and *diffusers* of
    SD 1.x are not for it.
    """
    vectors = {"clip_l": rows(count, 768)}
    made = Embedding("my-cat", "cat", vectors, vectors, {})
    for name in ("onetrainer", "diffusers"):
        (tensor,) = opened(write(tmp_path / name, made, name)[0]).values()
        assert tensor.shape[0] not in (768, 1024, 1280)
        assert "InvokeAI" not in (row_for(name, "SD 1.x") or {})


def test_every_tool_of_the_table_has_a_rule():
    assert set(RULES) == set(TOOLS)
