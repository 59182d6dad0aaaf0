from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ti_core.concept.concept import Concept, Pick, captions_for, check_words, joined, picks
from ti_core.concept.fit import centre_crop
from ti_core.concept.wording import Wording


@pytest.mark.parametrize("size", [(64, 64), (200, 100), (100, 200), (33, 70), (1000, 64)])
def test_crops_have_the_size_and_the_middle(size: tuple[int, int]):
    height, width = size
    ramp = torch.linspace(0, 1, width).expand(3, height, width).movedim(0, -1)
    crop = centre_crop(ramp, 64, 64)
    assert crop.shape == (64, 64, 3)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)
    assert 0 <= crop.min() <= crop.max() <= 1


def test_captions_are_one_line_each_or_one_for_all():
    assert captions_for("a\n\n b \n", 2) == ("a", "b")
    assert captions_for("a {}", 3) == ("a {}",) * 3
    with pytest.raises(ValueError, match="2 captions for 3 pictures"):
        captions_for("a\nb", 3)
    with pytest.raises(ValueError, match="0 captions for 3 pictures"):
        captions_for("  \n", 3)


def concept(sizes: list[tuple[int, int]], **more: object) -> Concept:
    """A concept with a plain crop of each size (width, height)."""
    crops = tuple(torch.zeros(height, width, 3) for width, height in sizes)
    count = len(more.get("repeats", sizes))  # type: ignore[arg-type]
    return Concept(crops, tuple(f"{n}.png" for n in range(count)), "captions", **more)  # type: ignore[arg-type]


def shown(one: Concept, batch: int, count: int, seed: int = 0) -> list[list[Pick]]:
    """The first groups that are trained on."""
    shapes = [tuple(crop.shape) for crop in one.pictures]
    streams = [torch.Generator().manual_seed(seed + n) for n in range(2)]
    return list(islice(picks(one, shapes, batch, streams), count))


SIZES = st.lists(st.sampled_from([(64, 64), (96, 64), (64, 96)]), min_size=1, max_size=7)


@given(SIZES, st.integers(1, 4), st.integers(0, 9))
def test_a_batch_holds_one_size_and_pictures_are_shown_evenly(
    sizes: list[tuple[int, int]], batch: int, seed: int
):
    one = concept(sizes)
    groups = shown(one, batch, 60, seed)
    assert all(len(group) == batch for group in groups)
    assert all(len({sizes[crop] for _, crop, _ in group}) == 1 for group in groups)
    counts = Counter(picture for group in groups for picture, *_ in group)
    if len(set(sizes)) == 1 or 60 * batch > 20 * len(sizes):
        assert max(counts.values()) - min(counts.values()) <= 2 * batch + 2
    assert groups == shown(one, batch, 60, seed)


def test_repeats_show_a_picture_more_often():
    groups = shown(concept([(64, 64)] * 3, repeats=(1, 3, 1)), 1, 50)
    assert Counter(picture for [(picture, *_)] in groups) == {0: 10, 1: 30, 2: 10}


def test_rounds_are_counted():
    groups = shown(concept([(64, 64)] * 2), 1, 6)
    assert [number for [(*_, number)] in groups] == [0, 0, 1, 1, 2, 2]


def test_each_showing_draws_one_of_the_variants():
    one = concept([(64, 64)] * 5, repeats=(1, 1), variants=(4, 1))
    groups = shown(one, 1, 200)
    crops = Counter(crop for [(picture, crop, _)] in groups if picture == 0)
    assert set(crops) == {0, 1, 2, 3}
    assert min(crops.values()) > 10
    assert {crop for [(picture, crop, _)] in groups if picture == 1} == {4}


def test_joined_concepts_keep_what_is_their_own():
    left = concept([(64, 64)] * 2, captions=("a", "b"), repeats=(5, 5))
    right = Concept((torch.zeros(32, 32, 3),) * 2, ("x.png",), "style", variants=(2,))
    both = joined([left, right])
    assert both.names == ("0.png", "1.png", "x.png")
    assert both.repeats == (5, 5, 1)
    assert both.crops == (range(0, 1), range(1, 2), range(2, 4))
    assert both.text(0, "my-cat") == "my-cat, a"
    assert both.text(2, "my-cat") == "a painting in the style of my-cat"
    odd = Concept(right.pictures[:1], ("y.png",), "style", latents="random")
    with pytest.raises(ValueError, match="different latents"):
        joined([left, odd])


def test_captions_without_the_word_are_refused_on_request():
    one = concept([(64, 64)] * 2, captions=("a my-cat", "a catalog"))
    check_words(one, "my-cat")
    strict = concept(
        [(64, 64)] * 2,
        captions=("a my-cat", "a my-catalog"),
        wordings=(Wording(missing="error"),) * 2,
    )
    with pytest.raises(ValueError, match="missing from the captions of 1 pictures: 1.png"):
        check_words(strict, "my-cat")
