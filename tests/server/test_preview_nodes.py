"""Previews in the real server: the images of KSampler, as a batch with their steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import STEPS, Prompt, graph, node, run, sampling, saved_path
from headless import Server
from PIL import Image

LABEL = 24  # pixels at the foot of an image, which is 64 high


def with_previews(training_seed: int, **changes: Any) -> Prompt:
    """A training that draws what the graph itself draws at its end."""
    prompt = graph(train__seed=training_seed, train__previews=["previews", 0])
    settings = {
        "every": 3,
        "prompt": "a photo of {}",
        "negative": "",
        "steps": 4,
        "cfg": 4.0,
        "sampler": "euler",
        "scheduler": "normal",
        "width": 64,
        "height": 64,
        "seed": 1,
        **changes,
    }
    prompt["previews"] = node("TrainingPreviews", **settings)
    prompt["shown"] = node("SaveImage", images=["train", 3], filename_prefix="previews")
    return prompt


def images(server: Server, outputs: dict[str, Any], name: str) -> list[np.ndarray]:
    found = []
    for entry in outputs[name]["images"]:
        with Image.open(server.directory / "output" / entry["filename"]) as opened:
            found.append(np.asarray(opened))
    return found


def test_the_first_preview_is_what_the_ordinary_nodes_draw(server: Server):
    prompt = with_previews(201)
    # The same prompt, from the word as it was before.
    prompt["before"] = node(
        "ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["word", 0], strength=1
    )
    for name, one in sampling("before", "a photo of my-star").items():
        prompt[f"before-{name}"] = node(
            one["class_type"],
            **{
                key: [f"before-{value[0]}", value[1]]
                if isinstance(value, list) and value[0] in sampling("", "")
                else value
                for key, value in one["inputs"].items()
            },
        )
    outputs = run(server, prompt)
    shown = images(server, outputs, "shown")
    assert len(shown) == 1 + STEPS // 3
    (ordinary,) = images(server, outputs, "before-image")
    assert np.array_equal(shown[0][:-LABEL], ordinary[:-LABEL])
    assert not np.array_equal(shown[0], ordinary)  # The label.
    assert not np.array_equal(shown[-1][:-LABEL], ordinary[:-LABEL])


def test_the_word_is_the_same_with_previews_and_without(server: Server):
    drawing = with_previews(202, every=2, seed=9)
    drawing["train"]["inputs"]["resume"] = "off"  # Both are to be trained.
    with_them = saved_path(server, run(server, drawing))
    without = saved_path(server, run(server, graph(train__seed=202, train__resume="off")))
    assert numbers(with_them) == numbers(without)


def numbers(path: Path) -> bytes:
    """The vectors of a file: 2 of 768, fp32, at its end."""
    return path.read_bytes()[-2 * 768 * 4 :]


def test_a_prompt_without_the_word_is_an_error(server: Server):
    with pytest.raises(RuntimeError, match="does not contain 'my-star'"):
        run(server, with_previews(203, prompt="a photo of a star"))
