"""The small worlds' renderer, captions, judge and weights."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from toyworld import assembly, judge
from toyworld.world import Scene, Thing, World
from toyworld.worlds import TOYWORLD, WORLDS

each_world = pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))


def test_toyworld_is_as_large_as_its_issue_asks():
    world = TOYWORLD
    words = world.words.items()
    named = {field: [v for v in values if v not in world.unnamed] for field, values in words}
    assert {field: len(values) for field, values in named.items()} == {
        "color": 10,
        "texture": 5,
        "shape": 8,
        "background": 8,
        "position": 5,
        "size": 2,
    }
    assert len(world.unnamed) == 8 and len(world.nameless) == 8
    assert len(world.held_out) == 24


@each_world
def test_what_is_to_be_learned_has_a_right_answer_or_a_look_without_a_word(world: World):
    assert len(set(world.held_out)) == len(world.held_out)
    assert set(world.held_out) < set(world.named)
    assert set(world.nameless) <= set(world.things) - set(world.named)


@each_world
def test_no_training_scene_shows_a_held_out_composition(world: World):
    draws = Random(3)
    assert not {world.random_thing(draws) for _ in range(20000)} & set(world.held_out)
    assert not set(world.nicknamed.values()) & set(world.held_out)


@each_world
def test_captions_never_name_the_unnamed_and_are_true(world: World):
    draws = Random(5)
    empty = 0
    for _ in range(3000):
        scene = world.random_scene(draws)
        text = world.caption(scene, draws)
        assert not set(text.split()) & set(world.unnamed)
        assert world.said(text).items() <= judge.values(scene).items(), (scene, text)
        empty += not text
    assert 100 < empty < 300  # 6 % of them, for guidance


def test_a_scene_drawn_for_a_caption_is_as_the_caption_says():
    draws, world = Random(6), TOYWORLD
    for text in ("a photo of a huge striped red thing on sand", "a tiger at night", "", "moon"):
        for _ in range(20):
            scene = world.scene_for(text, draws)
            assert world.said(text).items() <= judge.values(scene).items()
    held_out = world.scene_for("purple striped star", draws).thing
    assert held_out == Thing("purple", "striped", "star")  # asked for in whole


@pytest.mark.slow
@each_world
def test_the_judge_is_right_on_fresh_scenes(world: World):
    draws = Random(8)
    tables = judge.confusion(world, (world.random_scene(draws) for _ in range(100)))
    for field, table in tables.items():
        right = sum(count for (true, seen), count in table.items() if true == seen)
        assert right >= 99, (field, table)


@each_world
def test_the_mask_covers_the_thing_and_nothing_else(world: World):
    first, second, *_ = world.colors
    for shape in world.shapes:
        scene = Scene(
            Thing(first, next(iter(world.textures)), shape), next(iter(world.backgrounds))
        )
        one, other = (
            np.asarray(world.render(scene._replace(thing=scene.thing._replace(color=color))), int)
            for color in (first, second)
        )
        assert ((one != other).any(-1) == (world.mask(scene) > 0.01)).all()


def test_the_judge_sees_a_wrong_value():
    thing = Thing("red", "striped", "star")
    image, toy_judge = TOYWORLD.render(Scene(thing, "sand")), judge.judge_of(TOYWORLD)
    asked = {"color": "blue", "shape": "star", "background": "grass", "texture": "striped"}
    assert toy_judge.fulfilled(asked, image) == {
        "color": False,
        "shape": True,
        "background": False,
        "texture": True,
    }
    with pytest.raises(ValueError, match="64 x 64"):
        toy_judge.judge(image.resize((128, 128)))


@pytest.mark.parametrize("build", assembly.BUILDS.values(), ids=list(assembly.BUILDS))
def test_the_text_encoder_is_the_same_on_every_machine(build: assembly.Build):
    assert assembly.digest(assembly.text_encoder(build.text)) == build.sha256


def test_weights_of_8_bits_come_back_within_half_a_step(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, generator=generator)
    bias = torch.randn(6, generator=generator)
    assembly.pack({"a.weight": weight, "a.bias": bias}, tmp_path / "w.safetensors", {"steps": 1})
    found = assembly.unpacked(tmp_path / "w.safetensors")
    step = weight.flatten(1).abs().amax(1) / 127
    assert ((found["a.weight"] - weight).flatten(1).abs().amax(1) <= 0.51 * step + 1e-3).all()
    assert torch.equal(found["a.bias"], bias.half())
