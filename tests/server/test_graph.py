"""The nodes in the real server: train, save and sample in one graph, cancel, and bad input."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from headless import Server
from PIL import Image
from safetensors import safe_open

Prompt = dict[str, dict[str, Any]]
STEPS = 6


def graph(**changes: Any) -> Prompt:
    """Train, save, and sample with the learned word; `changes` are inputs as `node__input`."""
    nodes: Prompt = {
        "load": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "concept": node(
            "LoadImagesAsConcept", folder="input/stars", resolution=64, kind="object", captions=""
        ),
        "word": node(
            "CreateEmbedding",
            clip=["load", 1],
            placeholder="my-star",
            initialiser="star",
            vectors=2,
        ),
        "train": node(
            "TrainTextualInversion",
            model=["load", 0],
            clip=["load", 1],
            vae=["load", 2],
            concept=["concept", 0],
            embedding=["word", 0],
            steps=STEPS,
            method="spherical",
            **{"method.learning_rate": "0.05", "method.prior": 1e-4},
            schedule="cosine",
            warmup=0,
            batch_size=2,
            accumulation=1,
            seed=1,
            precision="auto",
            checkpointing="auto",
        ),
        "save": node(
            "SaveEmbedding", embedding=["train", 0], name="", storage="fp32", overwrite=False
        ),
        "apply": node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["train", 0], strength=1),
        **sampling("apply", "a photo of my-star"),
    }
    for name, value in changes.items():
        owner, _, input_name = name.partition("__")
        nodes[owner]["inputs"][input_name.replace("__", ".")] = value
    return nodes


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def sampling(clip: str, text: str, clip_output: int = 0) -> Prompt:
    """Prompt, sampler, decoder and a saved picture."""
    return {
        "prompt": node("CLIPTextEncode", clip=[clip, clip_output], text=text),
        "empty": node("CLIPTextEncode", clip=["load", 1], text=""),
        "size": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sample": node(
            "KSampler",
            model=["load", 0],
            positive=["prompt", 0],
            negative=["empty", 0],
            latent_image=["size", 0],
            seed=1,
            steps=4,
            cfg=4.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "image": node("SaveImage", images=["decode", 0], filename_prefix="sampled"),
    }


def run(server: Server, prompt: Prompt, **more: Any) -> dict[str, Any]:
    """The outputs of a prompt, by node."""
    return server.wait(server.queue(prompt), **more)["outputs"]


def picture(server: Server, outputs: dict[str, Any]) -> bytes:
    """Pixels of the saved picture."""
    entry = outputs["image"]["images"][0]
    with Image.open(server.directory / "output" / entry["filename"]) as opened:
        return opened.tobytes()


def saved_path(outputs: dict[str, Any]) -> Path:
    return Path(outputs["save"]["text"][0].removeprefix("Saved "))


def test_a_graph_trains_saves_and_samples(server: Server):
    shown: list[tuple[int, int, str]] = []
    prompt = graph()
    prompt["plot"] = node("LossGraphNode", loss=["train", 1], filename_prefix="loss")
    prompt["crops"] = node("SaveImage", images=["concept", 1], filename_prefix="crops")
    outputs = run(server, prompt, on_progress=lambda *step: shown.append(step))
    path = saved_path(outputs)
    assert path.parent == server.directory / "models" / "embeddings"
    with safe_open(path, "pt") as opened:
        assert opened.get_tensor("emb_params").shape == (2, 768)
        recipe = json.loads(opened.metadata()["textual_inversion"])
    assert recipe["base_model"] == "tiny.safetensors"
    assert len(outputs["train"]["ti_loss"]) == STEPS
    assert "Learned 'my-star'" in outputs["train"]["text"][0]
    assert len(outputs["crops"]["images"]) == 5
    assert outputs["plot"]["images"]
    assert outputs["image"]["images"]
    assert any(maximum == STEPS for _, maximum, _ in shown)
    assert any("loss" in text and "s/step" in text and "left" in text for *_, text in shown)


def test_the_saved_file_draws_what_the_graph_drew(server: Server):
    outputs = run(server, graph(save__name="pets/my-star-file"))
    assert saved_path(outputs).parent.name == "pets"
    from_file = {**graph(), **sampling("load", "a photo of embedding:pets/my-star-file", 1)}
    kept = {name: from_file[name] for name in ("load", *sampling("load", ""))}
    assert picture(server, run(server, kept)) == picture(server, outputs)


def test_untrained_and_trained_words_draw_different_pictures(server: Server):
    trained = picture(server, run(server, graph(train__seed=2)))
    untrained = graph(apply__embedding=["word", 0])
    del untrained["save"]
    assert picture(server, run(server, untrained)) != trained


def test_a_name_is_never_overwritten_unasked(server: Server):
    first = saved_path(run(server, graph(save__name="kept")))
    before = first.read_bytes()
    second = saved_path(run(server, graph(save__name="kept", train__seed=3)))
    assert (first.name, second.name) == ("kept.safetensors", "kept-2.safetensors")
    assert first.read_bytes() == before
    third = saved_path(run(server, graph(save__name="kept", train__seed=3, save__overwrite=True)))
    assert third == first
    assert first.read_bytes() != before


def test_cancel_is_answered_within_a_step_and_the_next_run_is_as_if_nothing_had_been(
    server: Server,
):
    reference = run(server, graph(train__seed=4))
    long = graph(train__seed=5, train__steps=10000)
    started: list[float] = []
    prompt_id = server.queue(long)

    def cancel_at_the_third_step(value: int, maximum: int, text: str) -> None:
        if maximum == 10000 and value >= 3 and not started:
            started.append(time.monotonic())
            server.interrupt()

    with pytest.raises(RuntimeError, match="interrupted"):
        server.wait(prompt_id, cancel_at_the_third_step, timeout=120)
    assert time.monotonic() - started[0] < 15
    again = run(server, graph(train__seed=4, save__name="again"))
    assert saved_path(again).read_bytes()[-4096:] == saved_path(reference).read_bytes()[-4096:]
    assert picture(server, again) == picture(server, reference)


def test_a_second_queue_of_the_same_graph_trains_nothing_again(server: Server):
    prompt = graph(train__seed=6)
    run(server, prompt)
    started = time.monotonic()
    steps: list[int] = []
    run(server, prompt, on_progress=lambda value, maximum, text: steps.append(maximum))
    assert STEPS not in steps
    assert time.monotonic() - started < 5


def test_pictures_can_come_from_the_graph_as_batch_and_list(server: Server):
    prompt = graph(concept__folder="none")
    prompt["shown"] = node("EmptyImage", width=80, height=64, batch_size=3, color=255)
    prompt["concept"]["inputs"]["images"] = ["shown", 0]
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    text = run(server, prompt)["report"]["text"][0]
    assert "3 pictures at 64 x 64" in text
    prompt["shown"] = node("LoadImageDataSetFromFolder", folder="stars")
    assert "5 pictures at 64 x 64" in run(server, prompt)["report"]["text"][0]


def test_captions_belong_to_pictures_in_natural_order(server: Server):
    prompt = graph(concept__kind="captions", concept__captions="a\nb {}\nc\nd\ne my-star")
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    outputs = run(server, prompt)
    lines = outputs["report"]["text"][0].splitlines()
    assert [line.split(" (")[0] for line in lines[1:6]] == [f"star {n}.png" for n in range(8, 13)]
    assert lines[2].endswith(": b {}")
    assert "missing from the captions of 3 pictures" in outputs["train"]["text"][0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"word__placeholder": "my star"}, "cannot be written in a prompt"),
        ({"word__placeholder": "1.5"}, "reads as a number"),
        ({"word__initialiser": " "}, "has no tokens"),
        ({"concept__folder": "none"}, "There are no pictures"),
        ({"concept__kind": "captions", "concept__captions": "a\nb"}, "2 captions for 5 pictures"),
        ({"train__method.learning_rate": "fast"}, "'fast' that is not RATE or RATE:STEP"),
        ({"train__method.learning_rate": "0.1:3, 0.2"}, "set schedule to 'constant'"),
        ({"train__warmup": 6}, "leaves nothing of 6 steps"),
        ({"save__name": "../outside"}, "is not a name for an embedding file"),
        ({"save__name": "/etc/passwd"}, "is not a name for an embedding file"),
        ({"save__name": "a//b"}, "is not a name for an embedding file"),
    ],
)
def test_bad_input_is_an_error_that_names_the_value_and_the_remedy(
    server: Server, changes: dict[str, Any], says: str
):
    with pytest.raises(RuntimeError, match=says):
        run(server, graph(**changes))


@pytest.mark.parametrize("folder", ["input/../../etc", "input/missing", "/etc"])
def test_folders_outside_are_refused(server: Server, folder: str):
    with pytest.raises(RuntimeError, match="There is no picture folder|value_not_in_list"):
        run(server, graph(concept__folder=folder))


def test_an_unreadable_picture_is_named(server: Server):
    broken = server.directory / "input" / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(RuntimeError, match="'torn.png' cannot be read"):
        run(server, graph(concept__folder="input/broken"))


def test_the_schemas_have_a_tooltip_on_every_input_and_output(server: Server):
    info = server.object_info()
    for name in ("LoadImagesAsConcept", "CreateEmbedding", "TrainTextualInversion") + (
        "SaveEmbedding",
        "ApplyEmbeddingToCLIP",
    ):
        schema = info[name]
        for kind in ("required", "optional"):
            for input_name, spec in schema["input"].get(kind, {}).items():
                assert spec[1].get("tooltip"), (name, input_name)
        assert all(schema["output_tooltips"]), name
        assert schema["category"] == "training/textual inversion"
