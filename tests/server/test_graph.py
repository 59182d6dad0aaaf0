"""The nodes in the real server: train, save and sample in one graph, cancel, and bad input."""

import json
from typing import Any

import pytest
from demo import CHECKPOINT
from graphs import STEPS, from_checkpoint, graph, image, node, run, sampling, saved_path
from headless import REPO, Server
from safetensors import safe_open

CATEGORY = "model/training/textual inversion"


def test_a_graph_trains_saves_and_samples(server: Server):
    shown: list[tuple[int, int, str]] = []
    prompt = from_checkpoint(graph())
    prompt["plot"] = node("LossGraphNode", loss=["train", 1], filename_prefix="loss")
    prompt["crops"] = node("SaveImage", images=["concept", 1], filename_prefix="crops")
    chosen = {"noise_levels": "uniform", "from": 0.1, "to": 1.0, "weighting": "min-SNR"}
    more = {"gamma": 5.0, "offset_noise": 0.0, "guidance": 1.0}
    prompt["objective"] = node("TrainingObjective", **chosen, **more)
    prompt["train"]["inputs"]["objective"] = ["objective", 0]
    outputs = run(server, prompt, on_progress=lambda *step: shown.append(step))
    path = saved_path(server, outputs)
    assert path.parent == server.directory / "models" / "embeddings"
    with safe_open(path, "pt") as opened:
        assert opened.get_tensor("emb_params").shape == (2, 768)
        recipe = json.loads(opened.metadata()["textual_inversion"])
    assert recipe["base_model"] == CHECKPOINT
    assert len(outputs["train"]["ti_loss"]) == STEPS
    assert "Learned 'my-star'" in outputs["train"]["text"][0]
    said = "Noise levels: uniform, 0.1 to 1 of the schedule; weighting: min-SNR, gamma 5."
    assert said in outputs["train"]["text"][0]
    assert "2 vectors, for SD 1.x (clip_l)" in outputs["word"]["text"][0]
    assert len(outputs["crops"]["images"]) == 5
    assert outputs["plot"]["images"]
    assert outputs["image"]["images"]
    assert any(maximum == STEPS for _, maximum, _ in shown)
    assert any("loss" in text and "s/step" in text and "left" in text for *_, text in shown)


def test_the_saved_file_draws_what_the_graph_drew(server: Server):
    outputs = run(server, graph(save__name="pets/my-star-file"))
    assert saved_path(server, outputs).parent.name == "pets"
    from_file = {**graph(), **sampling("load", "a photo of embedding:pets/my-star-file", 1)}
    kept = {name: from_file[name] for name in ("load", *sampling("load", ""))}
    assert image(server, run(server, kept)) == image(server, outputs)


def test_untrained_and_trained_words_draw_different_images(server: Server):
    trained = image(server, run(server, graph(train__seed=2)))
    untrained = graph(apply__embedding=["word", 0])
    del untrained["save"]
    assert image(server, run(server, untrained)) != trained


def test_a_name_is_never_overwritten_unasked(server: Server):
    first = saved_path(server, run(server, graph(save__name="kept")))
    before = first.read_bytes()
    second = saved_path(server, run(server, graph(save__name="kept", train__seed=3)))
    assert (first.name, second.name) == ("kept.safetensors", "kept-2.safetensors")
    assert first.read_bytes() == before
    third = saved_path(
        server, run(server, graph(save__name="kept", train__seed=3, save__overwrite=True))
    )
    assert third == first
    assert first.read_bytes() != before


def test_cancel_is_answered_within_a_step_and_the_next_run_is_as_if_nothing_had_been(
    server: Server,
):
    reference = run(server, graph(train__seed=4))
    long = graph(train__seed=5, train__steps=10000)
    steps: list[int] = []
    prompt_id = server.queue(long)

    def cancel_at_the_third_step(value: int, maximum: int, text: str) -> None:
        if maximum == 10000 and value >= 3:
            if not steps:
                server.interrupt()
            steps.append(value)

    with pytest.raises(RuntimeError, match="interrupted"):
        server.wait(prompt_id, cancel_at_the_third_step, timeout=120)
    assert steps[-1] - steps[0] < 10  # Steps are done while the two messages are under way.
    again = run(server, graph(train__seed=4, save__name="again"))
    assert (
        saved_path(server, again).read_bytes()[-4096:]
        == saved_path(server, reference).read_bytes()[-4096:]
    )
    assert image(server, again) == image(server, reference)


def test_a_second_queue_of_the_same_graph_trains_nothing_again(server: Server):
    prompt = graph(train__seed=6)
    run(server, prompt)
    steps: list[int] = []
    run(server, prompt, on_progress=lambda value, maximum, text: steps.append(maximum))
    assert STEPS not in steps


def test_images_can_come_from_the_graph_as_batch_and_list(server: Server):
    prompt = graph(concept__folder="none")
    prompt["shown"] = node("EmptyImage", width=80, height=64, batch_size=3, color=255)
    prompt["concept"]["inputs"]["images"] = ["shown", 0]
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    text = run(server, prompt)["report"]["text"][0]
    assert "3 images at 64 x 64" in text
    prompt["shown"] = node("LoadImageDataSetFromFolder", folder="stars")
    assert "5 images at 64 x 64" in run(server, prompt)["report"]["text"][0]


def test_captions_belong_to_images_in_natural_order(server: Server):
    prompt = graph(concept__kind="captions", concept__captions="a\nb {}\nc\nd\ne my-star")
    prompt["report"] = node("PreviewAny", source=["concept", 2])
    outputs = run(server, prompt)
    lines = outputs["report"]["text"][0].splitlines()
    stars = [line for line in lines if line.startswith("star ")]
    assert [line.split(" (")[0] for line in stars] == [f"star {n}.png" for n in range(8, 13)]
    assert stars[1].endswith(": b {}")
    assert "missing from the captions of 3 images" in outputs["train"]["text"][0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"word__placeholder": "my star"}, "cannot be written in a prompt"),
        ({"word__placeholder": "1.5"}, "reads as a number"),
        ({"word__initializer": " "}, "The init word is empty"),
        ({"concept__folder": "none"}, "There are no images"),
        ({"concept__kind": "captions", "concept__captions": "a\nb"}, "2 captions for 5 images"),
        ({"train__method.learning_rate": "fast"}, "'fast' is not RATE or RATE:STEP"),
        ({"train__method.learning_rate": "0.1:3, 0.2"}, "Set schedule to 'auto'"),
        ({"train__warmup": 6}, "must be shorter than the training"),
        ({"save__name": "../outside"}, "is not allowed for an embedding file"),
        ({"save__name": "/etc/passwd"}, "is not allowed for an embedding file"),
        ({"save__name": "a//b"}, "is not allowed for an embedding file"),
    ],
)
def test_bad_input_is_an_error_that_names_the_value_and_the_remedy(
    server: Server, changes: dict[str, Any], says: str
):
    with pytest.raises(RuntimeError, match=says):
        run(server, graph(**changes))


@pytest.mark.parametrize("folder", ["input/../../etc", "input/missing", "/etc"])
def test_folders_outside_are_refused(server: Server, folder: str):
    with pytest.raises(RuntimeError, match="There is no image folder|value_not_in_list"):
        run(server, graph(concept__folder=folder))


def test_an_unreadable_image_is_named(server: Server):
    broken = server.directory / "input" / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(RuntimeError, match="'torn.png' cannot be read"):
        run(server, graph(concept__folder="input/broken"))


def test_the_schemas_have_a_tooltip_on_every_input_and_output(server: Server):
    info = server.object_info()
    own = {n: schema for n, schema in info.items() if schema["category"] == CATEGORY}
    assert {"LoadImagesAsConcept", "CreateEmbedding", "TrainTextualInversion"} <= set(own)
    assert {"SaveEmbedding", "ApplyEmbeddingToCLIP", "LoadTextualInversion"} <= set(own)
    for name, schema in own.items():
        for kind in ("required", "optional"):
            for input_name, spec in schema["input"].get(kind, {}).items():
                assert spec[1].get("tooltip"), (name, input_name)
        assert all(schema["output_tooltips"]), name
        assert (REPO / "web" / "docs" / name / "en.md").is_file(), name
