from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import image, plain_concept

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import (
    Concept,
    check_words,
    joined_concepts,
    without,
)
from ti_core.concept.rounds import Rounds, SamplePick
from ti_core.concept.templates import TEMPLATES


def concept(sizes: list[tuple[int, int]], **more: Any) -> Concept:
    """A concept with a plain crop of each size (width, height)."""
    return plain_concept([torch.zeros(height, width, 3) for width, height in sizes], **more)


def shown(one: Concept, batch: int, count: int, seed: int = 0) -> list[list[SamplePick]]:
    """The first groups that are trained on."""
    shapes = [tuple(crop.shape) for crop in one.crops]
    rounds = Rounds(one, shapes, batch, seed)
    return [rounds.group(number) for number in range(count)]


SIZES = st.lists(st.sampled_from([(64, 64), (96, 64), (64, 96)]), min_size=1, max_size=7)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 9))
def test_a_batch_holds_one_size_and_images_are_shown_evenly(
    sizes: list[tuple[int, int]], batch: int, seed: int
):
    one = concept(sizes)
    groups = shown(one, batch, 60, seed)
    assert all(len(group) == batch for group in groups)
    assert all(len({sizes[crop] for _, crop, _ in group}) == 1 for group in groups)
    counts = Counter(image for group in groups for image, *_ in group)
    if len(set(sizes)) == 1 or 60 * batch > 20 * len(sizes):
        assert max(counts.values()) - min(counts.values()) <= 2 * batch + 2
    assert groups == shown(one, batch, 60, seed)


def test_repeats_show_an_image_more_often():
    crop = torch.zeros(64, 64, 3)
    one = Concept((image(crop), image(crop, repeats=3), image(crop)), "object")
    groups = shown(one, 1, 50)
    assert Counter(image for [(image, *_)] in groups) == {0: 10, 1: 30, 2: 10}


def test_rounds_are_counted():
    groups = shown(concept([(64, 64)] * 2), 1, 6)
    assert [number for [(*_, number)] in groups] == [0, 0, 1, 1, 2, 2]


def test_each_showing_draws_one_of_the_variants():
    crop = torch.zeros(64, 64, 3)
    one = Concept((image(*[crop] * 4), image(crop)), "object")
    groups = shown(one, 1, 200)
    crops = Counter(crop for [(image, crop, _)] in groups if image == 0)
    assert set(crops) == {0, 1, 2, 3}
    assert min(crops.values()) > 10
    assert {crop for [(image, crop, _)] in groups if image == 1} == {4}


def test_joined_concepts_keep_what_is_their_own():
    left = concept([(64, 64)] * 2, captions=["a", "a"], repeats=5)
    crops, style = [torch.zeros(32, 32, 3)] * 2, CaptionSettings(TEMPLATES["style"])
    right = Concept((image(*crops, name="x.png", caption_settings=style),), "style")
    both = joined_concepts([left, right])
    assert [one.name for one in both.images] == ["0.png", "1.png", "x.png"]
    assert both.kind == "captions + style"
    assert list(both.turns) == [0] * 5 + [1] * 5 + [2]
    assert both.places == (range(0, 1), range(1, 2), range(2, 4))
    assert both.text(0, "my-cat") == "my-cat, a"
    assert both.text(2, "my-cat") == "a painting in the style of my-cat"
    with pytest.raises(ValueError, match="different latents"):
        joined_concepts([left, replace(right, latents="random")])


def test_captions_without_the_word_are_refused_on_request():
    crop, strict = torch.zeros(64, 64, 3), CaptionSettings(missing="error")
    named = image(crop, caption="a my-cat", caption_settings=strict)
    other = image(crop, name="1.png", caption="a my-catalog", caption_settings=strict)
    check_words(
        Concept((named, replace(other, caption_settings=CaptionSettings())), "captions"), "my-cat"
    )
    with pytest.raises(ValueError, match="missing from the captions of 1 image: 1.png"):
        check_words(Concept((named, other), "captions"), "my-cat")


def test_images_of_one_name_are_judged_each_by_its_own_wording():
    """Two folders that are joined may both have a 1.png."""
    crop = torch.zeros(64, 64, 3)
    strict = image(crop, caption="a my-cat", caption_settings=CaptionSettings(missing="error"))
    lax = image(crop, caption="a dog")
    check_words(Concept((strict, lax), "captions"), "my-cat")


def test_turns_are_counted_and_bounded():
    several = Concept((image(torch.zeros(8, 8, 3), repeats=2), image(torch.zeros(8, 8, 3))), "")
    assert list(several.turns) == [0, 0, 1]
    assert list(without(several, [0]).turns) == [1]
    with pytest.raises(ValueError, match="would have 1000001 images.*Lower the repeats"):
        Concept((image(torch.zeros(8, 8, 3), repeats=1_000_001),), "")
