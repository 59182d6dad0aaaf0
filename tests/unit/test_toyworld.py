"""Toyworld's renderer, captions, judge and weights."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from toyworld import assembly, judge, world
from toyworld.world import Scene, Thing


def test_the_world_is_as_large_as_its_issue_asks():
    named = {field: [v for v in values if v not in world.UNNAMED] for field, values in WORDS}
    assert {field: len(values) for field, values in named.items()} == {
        "colour": 10,
        "texture": 5,
        "shape": 8,
        "background": 8,
        "position": 5,
        "size": 2,
    }
    assert len(world.UNNAMED) == 8 and len(world.NAMELESS) == 8
    assert len(set(world.HELD_OUT)) == 24
    assert all(set(thing) & set(world.UNNAMED) for thing in world.NAMELESS)


WORDS = list(world.WORDS.items())


def test_no_training_scene_shows_a_held_out_composition():
    draws = Random(3)
    assert not {world.random_thing(draws) for _ in range(20000)} & set(world.HELD_OUT)
    assert not set(world.NICKNAMED.values()) & set(world.HELD_OUT)


def test_captions_never_name_the_unnamed_and_are_true():
    draws = Random(5)
    empty = 0
    for _ in range(3000):
        scene = world.random_scene(draws)
        text = world.caption(scene, draws, ["a photo of a {}", "{} style"])
        assert not set(text.split()) & set(world.UNNAMED)
        assert world.said(text).items() <= judge.values(scene).items(), (scene, text)
        empty += not text
    assert 100 < empty < 300  # 6 % of them, for guidance


def test_a_scene_drawn_for_a_caption_is_as_the_caption_says():
    draws = Random(6)
    for text in ("a photo of a huge striped red thing on sand", "a tiger at night", "", "moon"):
        for _ in range(20):
            scene = world.scene_for(text, draws)
            assert world.said(text).items() <= judge.values(scene).items()
    held_out = world.scene_for("purple striped star", draws).thing
    assert held_out == Thing("purple", "striped", "star")  # asked for in whole


@pytest.mark.slow
def test_the_judge_is_right_on_fresh_scenes():
    tables = judge.confusion(world.random_scene(draws) for draws in [Random(8)] for _ in range(100))
    for field, table in tables.items():
        right = sum(count for (true, seen), count in table.items() if true == seen)
        assert right >= 99, (field, table)


@pytest.mark.parametrize("shape", world.SHAPES)
def test_the_mask_covers_the_thing_and_nothing_else(shape: str):
    red = Scene(Thing("red", "smooth", shape), "sand")
    one, other = (
        np.asarray(world.render(scene), int)
        for scene in (red, red._replace(thing=red.thing._replace(colour="blue")))
    )
    assert ((one != other).any(-1) == (world.mask(red) > 0.01)).all()


def test_the_judge_sees_a_wrong_value():
    thing = Thing("red", "striped", "star")
    picture = world.render(Scene(thing, "sand"))
    asked = {"colour": "blue", "shape": "star", "background": "grass", "texture": "striped"}
    assert judge.fulfilled(asked, picture) == {
        "colour": False,
        "shape": True,
        "background": False,
        "texture": True,
    }
    with pytest.raises(ValueError, match="64 x 64"):
        judge.judge(picture.resize((128, 128)))


def test_the_text_encoder_is_the_same_on_every_machine():
    assert assembly.digest(assembly.text_encoder()) == assembly.TEXT_SHA256


def test_weights_of_8_bits_come_back_within_half_a_step(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, generator=generator)
    bias = torch.randn(6, generator=generator)
    assembly.pack({"a.weight": weight, "a.bias": bias}, tmp_path / "w.safetensors", {"steps": 1})
    found = assembly.unpacked(tmp_path / "w.safetensors")
    step = weight.flatten(1).abs().amax(1) / 127
    assert ((found["a.weight"] - weight).flatten(1).abs().amax(1) <= 0.51 * step + 1e-3).all()
    assert torch.equal(found["a.bias"], bias.half())
