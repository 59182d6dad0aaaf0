"""The benchmark of learning: it trains what the nodes train, on networks that are the same."""

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from small import Loaded

from ti_core.training.optimizers import AdamWSettings, SphericalSettings
from toyworld.world import Scene
from toyworld.worlds import TOYWORLD


@pytest.mark.slow
def test_the_converted_networks_compute_what_the_host_computes(
    checkpoint_file: Path, demo_models: Loaded, comfyui: Path, tmp_path: Path
):
    from examination import Models
    from peers.pipeline import ENCODER, check, write_pipeline
    from trainers import check_conversion

    write_pipeline(checkpoint_file, comfyui / "comfy" / "sd1_tokenizer", tmp_path)
    models = Models(*demo_models[:3])
    check_conversion(models, tmp_path)
    check(tmp_path)
    encoder = tmp_path / "vae" / ENCODER
    save_file({name: 1.01 * weight for name, weight in load_file(encoder).items()}, encoder)
    with pytest.raises(ValueError, match="not the host's: latents"):
        check_conversion(models, tmp_path)
    with pytest.raises(ValueError, match="not the host's: latents"):
        check(tmp_path)


@pytest.mark.slow
def test_weights_that_are_not_found_are_noticed(
    checkpoint_file: Path, demo_models: Loaded, comfyui: Path, tmp_path: Path
):
    """As an older transformers does not find weights under the names of a newer one."""
    from examination import Models
    from peers.pipeline import check, write_pipeline
    from trainers import check_conversion

    write_pipeline(checkpoint_file, comfyui / "comfy" / "sd1_tokenizer", tmp_path)
    check_conversion(Models(*demo_models[:3]), tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    assert all(name.startswith("text_model.") for name in weights)
    save_file({f"elsewhere.{name}": one for name, one in weights.items()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="not the host's: conditioning"):
        check(tmp_path)


def test_the_inputs_are_those_of_the_nodes_unless_they_are_set():
    from trainers import node_inputs, settings

    plain = node_inputs({})
    assert plain["vectors"] == 1 and plain["keep"] == "best" and plain["auto_stop"] is True
    assert isinstance(settings(plain, 3).method, SphericalSettings)
    changed = node_inputs({"method": "adamw", "steps": "7", "auto_stop": "False", "beta1": "0.5"})
    made = settings(changed, 3)
    assert isinstance(made.method, AdamWSettings) and made.method.beta1 == 0.5
    assert made.schedule.steps == 7 and made.seed == 3 and changed["auto_stop"] is False
    with pytest.raises(ValueError, match="no input 'rate'"):
        node_inputs({"rate": "1"})


def test_images_are_handed_on_whole_unless_image_fit_is_set():
    from examination import WHOLE, concept_of
    from trainers import fit_of

    assert fit_of([("steps", "7")]) == WHOLE
    fit = fit_of([("steps", "7"), ("fit.zoom", "0.1"), ("fit.variants", "3")])
    assert fit == replace(WHOLE, zoom=0.1, variants=3)
    with pytest.raises(ValueError, match="no input 'rate'"):
        fit_of([("fit.rate", "1")])
    draws = Random(0)
    shown = [TOYWORLD.random_scene(draws) for _ in range(2)]
    whole, cut = concept_of(TOYWORLD, shown, masks=True), concept_of(TOYWORLD, shown, fit)
    for scene, image in zip(shown, whole.crops, strict=True):
        assert (image.numpy() == np.asarray(TOYWORLD.render(scene))).all()
    for scene, mask in zip(shown, whole.weights, strict=True):
        assert mask is not None and float(mask[TOYWORLD.mask(scene) == 0].max()) == 0
        assert float(mask.mean()) == pytest.approx(1)
    assert len(cut.crops) == 6 and cut.weights == (None,) * 6


def test_captions_say_all_but_the_thing():
    from examination import concept_of

    scene = Scene(TOYWORLD.held_out[0], "night", "left", "tiny")
    (described,) = concept_of(TOYWORLD, [scene], captions=True).images
    assert described.caption == "a photo of tiny {} on the left at night"
    assert described.caption_settings.templates == ()
    (bare,) = concept_of(TOYWORLD, [scene]).images
    assert bare.caption == ""


@pytest.mark.slow
def test_the_gap_goes_from_the_initializer_to_the_true_description(demo_models: Loaded):
    from examination import PLACEHOLDER, Exam, Models, Spoken, questions

    asked = questions(TOYWORLD, 1, False)
    exam = Exam(Models(*demo_models[:3]), TOYWORLD, TOYWORLD.held_out[0], asked)
    assert (exam.initializer, exam.truth) == ("star", "striped purple star")
    first, last = exam.ends
    assert last is not None and first != last
    assert exam.gap(first) == 0 and exam.gap(last) == 1
    star = demo_models.clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    (token,) = demo_models.clip.tokenizer.clip_l.tokenizer("star")["input_ids"][1:-1]
    (loss,) = exam.losses([Spoken(PLACEHOLDER, {"clip_l": star[token][None].float()})])
    assert loss == pytest.approx(first, abs=1e-6)


def test_a_stop_is_compared_with_all_steps_where_they_were_done(tmp_path: Path):
    from auto_stop import write

    heart = {"thing": "heart", "steps": 402, "gap": 0.9, "full_gap": 0.98}
    ring = {"thing": "ring", "steps": 402, "gap": 0.7, "full_gap": 0.65}
    write([heart, ring, {"thing": "star", "steps": 804, "gap": 0.8}], {}, tmp_path)
    lines = (tmp_path / "stopping.md").read_text().splitlines()
    assert lines[4:6] == ["| star | 804 | 0.800 |  |", "| mean | 536 | 0.800 |  |"]
    assert "Steps saved: 46%." in lines[-1] and "behind 1000 steps: 1 of 2 words." in lines[-1]
