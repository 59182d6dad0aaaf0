"""What the audit finds, and the contact sheet."""

import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import image, plain_concept

from ti_core.concept.audit import (
    EncoderFacts,
    collisions,
    concept_report,
    crops_batch,
    findings,
    longest_text,
    near_duplicate_pairs,
    sample_texts,
    summary,
    word_findings,
)
from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, ImageInfo, check_words, joined_concepts
from ti_core.concept.contact_sheet import GAP, THUMBNAIL, contact_sheet
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import ImageRecipe, SourceImage, concept_of
from ti_core.concept.masks import MaskSettings


def noise(width: int, height: int, seed: int) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def concept(count: int = 4, **more: object) -> Concept:
    sources = [
        SourceImage(
            f"{n}.png", noise(80, 64, n), caption=f"{{}} number {n}", caption_from=f"{n}.txt"
        )
        for n in range(count)
    ]
    chosen = {
        "kind": "captions",
        "caption_settings": CaptionSettings(),
        "fit": FitSettings(64, 64),
        **more,
    }
    return concept_of(sources, ImageRecipe(**chosen))  # type: ignore[arg-type]


def captioned(*captions: str, **caption_settings: Any) -> Concept:
    """Images of 512 x 512 that differ, with their captions."""
    crops = [torch.zeros(512, 512, 3)] * len(captions)
    plain = plain_concept(crops, captions, caption_settings=CaptionSettings(**caption_settings))
    looks = (ImageInfo(512, 512, look=0xFFFF << 12 * n) for n in range(len(captions)))
    images = map(lambda one, look: replace(one, found=look), plain.images, looks)
    return replace(plain, images=tuple(images))


def found(one: Concept, word: str = "my-cat", vectors: int = 1, native: int = 0) -> str:
    return "\n".join(word_findings(one, word, vectors, [], native))


def test_a_good_concept_has_no_findings():
    assert findings(concept()) == []
    assert found(concept()) == ""


def calls(work: Callable[[], object]) -> int:
    """How many functions are called for some work."""
    counted = [0]

    def count(frame: object, event: str, argument: object) -> None:
        counted[0] += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted[0]


def test_twice_the_images_take_twice_the_work():
    """Two sizes and many repeats, so that all of the report has something to say."""

    def work(count: int) -> int:
        crops = [torch.zeros(8, 8 + 8 * (n % 2), 3) for n in range(count)]
        one = plain_concept(crops, [f"{{}} {n}" for n in range(count)], repeats=20)
        return calls(lambda: (concept_report(joined_concepts([one, one])), summary(one, 1, 1)))

    assert work(200) < 2.2 * work(100)


def test_the_report_names_each_image_with_size_and_caption():
    lines = concept_report(concept()).splitlines()
    assert lines[0] == "4 images at 64 x 64, captions: 'captions'."
    assert lines[1] == "0.png (80 x 64, caption from 0.txt): {} number 0"


def test_sizes_and_counts_are_told():
    sizes = {"a": 128, "b": 64, "c": 66}
    sources = [SourceImage(name, noise(width, 64, width)) for name, width in sizes.items()]
    masked = [*sources, SourceImage("d", noise(64, 64, 4), torch.eye(64), repeats=3)]
    fit = FitSettings(64, 64, buckets=True, step=16, flip=0.5, variants=2)
    one = concept_of(masked, ImageRecipe("object", CaptionSettings(("a {}",)), fit))
    assert "4 images in 2 sizes (64 x 64: 3, 80 x 48: 1), 6 with repeats, 8 crops, 1" in summary(
        one, 2, 2
    )
    assert "One epoch takes 1.5 steps at batch size 2 x 2." in summary(one, 2, 2)
    assert "Sizes with only one image: 80 x 48" in concept_report(one)
    assert "d (64 x 64, cut to 64 x 64, 3 times)" in concept_report(one)


@pytest.mark.parametrize(("count", "says"), [(2, "Fewer than 3"), (51, "More than 50")])
def test_few_and_many_images_are_told(count: int, says: str):
    assert any(says in finding for finding in findings(concept(count)))


def test_duplicates_and_near_duplicates_are_told():
    smooth = (
        torch.nn.functional.interpolate(
            noise(9, 9, 0).movedim(-1, 0)[None], (90, 90), mode="bicubic"
        )[0]
        .movedim(0, -1)
        .clamp(0, 1)
    )
    sources = [
        SourceImage("a", smooth),
        SourceImage("b", noise(64, 64, 1)),
        SourceImage("c", smooth * 0.9),
    ]
    one = concept_of(
        sources, ImageRecipe("object", CaptionSettings(("a {}",)), FitSettings(64, 64))
    )
    assert any("near-duplicate images: a and c." in finding for finding in findings(one))


@pytest.mark.parametrize(("apart", "told"), [(0, True), (5, True), (6, False)])
def test_looks_that_differ_in_few_places_are_near_duplicates(apart: int, told: bool):
    looks = [("a", 0xFFFF0000), ("b", 0xFFFF0000 ^ ((1 << apart) - 1))]
    assert near_duplicate_pairs(looks) == ([("a", "b")] if told else [])


def test_plain_images_are_not_taken_for_duplicates():
    """Nothing in them is brighter than its neighbor, so that they all look the same."""
    assert not near_duplicate_pairs([("a", 0), ("b", 0), ("c", 0b1111)])
    assert near_duplicate_pairs([("a", 0b11111), ("b", 0b11111)])


def bent_looks(draws: random.Random, count: int) -> list[tuple[str, int]]:
    """Looks around a few others, many of them nearly alike."""
    firsts = [draws.getrandbits(64) for _ in range(8)]
    looks = []
    for number in range(count):
        look = draws.choice(firsts)
        for _ in range(draws.randrange(9)):
            look ^= 1 << draws.randrange(64)
        looks.append((str(number), look))
    return looks


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_near_duplicates_are_those_of_comparing_all_pairs(seed: int, count: int):
    looks = bent_looks(random.Random(seed), count)
    telling = [(name, look) for name, look in looks if look.bit_count() > 4]
    expected = [
        (one, two)
        for (one, look), (two, other) in combinations(telling, 2)
        if (look ^ other).bit_count() <= 5
    ]
    assert near_duplicate_pairs(looks) == expected
    assert near_duplicate_pairs(looks, 3) == expected[:3]


@pytest.mark.parametrize("seen", [2**64 - 1, 0x007E7E7E7E7E7E00])
def test_comparisons_grow_as_the_number_of_images_does(monkeypatch: pytest.MonkeyPatch, seen: int):
    """Also where all have a plain border."""
    draws, compared = random.Random(1), []
    monkeypatch.setattr("ti_core.concept.audit.nearly_alike", lambda one, two: compared.append(one))
    looks = [(str(n), draws.getrandbits(64) & seen) for n in range(6000)]
    near_duplicate_pairs(looks)
    assert len(compared) < 20 * 6000


def test_other_words_are_looked_for_in_one_pass_over_captions_without_blanks():
    """A search that begins anew at every letter takes the square of their length."""

    def seconds(length: int) -> float:
        long, start = captioned("猫" * length), time.process_time()
        assert not list(collisions(long, "my-cat"))
        return time.process_time() - start

    assert seconds(160_000) < 40 * max(seconds(10_000), 1e-3)


def test_a_size_with_one_image_is_lonely_unless_it_is_repeated():
    small, large = torch.zeros(64, 64, 3), torch.zeros(64, 80, 3)
    for repeats, told in ((1, True), (2, False)):
        one = Concept((image(small), image(small), image(large, repeats=repeats)), "object")
        assert any("Sizes with only one image: 80 x 64" in text for text in findings(one)) == told


def test_extreme_shapes_are_told_unless_padded():
    for method, told in (("crop", True), ("squash", True), ("pad", False)):
        fit = FitSettings(64, 64, method=method)  # type: ignore[arg-type]
        recipe = ImageRecipe("object", CaptionSettings(("a {}",)), fit)
        one = concept_of([SourceImage("a", noise(400, 64, 0))], recipe)
        assert any("a large part of a (84%)" in text for text in findings(one)) == told


def test_captions_that_never_vary_are_told():
    same = findings(captioned("a {}", "a {}", "a {}"))
    assert any("always have the same caption" in text for text in same)
    assert findings(captioned("a {}", "b {}", "c {}")) == []
    assert findings(captioned("a, {}", "a, {}", "a, {}", shuffle=True)) == []
    assert findings(captioned("a {}\nb {}", "a {}\nb {}", "a {}\nb {}", lines="draw")) == []


@pytest.mark.parametrize(
    ("missing", "says"),
    [("add", "put in front"), ("error", "will stop with an error")],
)
def test_missing_placeholders_are_told_with_what_becomes_of_them(missing: str, says: str):
    text = found(captioned("a {}", "b", "c", missing=missing))
    assert text.startswith("'my-cat' is missing from the captions of 2 images: ")
    assert says in text
    assert text.endswith("(1.png, 2.png).")


def test_a_word_that_is_said_twice_is_told():
    text = found(captioned("{} and {}", "{} a", "b {}"))
    assert "'my-cat' occurs more than once in the texts of 1 image (0.png)" in text


@pytest.mark.parametrize("spelling", ["<embedding>", "*", "<my-dog>", "<lora:my-dog:1>", "S*"])
def test_how_other_tools_write_a_word_is_told_with_what_to_write(spelling: str):
    told = found(captioned("a {} here", f"a {spelling} on a table"))
    assert f"Other tools write words as '{spelling}' (1.png)" in told
    assert "write {} or [name] where you mean 'my-cat'" in told
    asked = captioned(f"a {spelling} on a table", missing="error")
    with pytest.raises(
        ValueError, match=re.escape(f"(one contains '{spelling}'). Add it, {{}} or")
    ):
        check_words(asked, "my-cat")


def test_slots_and_the_word_in_brackets_are_no_other_spellings():
    assert "Other tools" not in found(
        captioned("a {}", "a [name]", "<my-cat>", "[trigger]s", "a*b")
    )


def test_words_that_contain_the_placeholder_are_told():
    text = found(captioned("a Cat", "cat of the catalog", "cat's scat"), "cat")
    assert "part of other words in the captions: catalog, scat." in text


def test_many_vectors_and_a_low_resolution_are_told():
    assert "20 vectors take 20 of the 75 tokens" in found(concept(), vectors=20)
    assert "smaller than the 512 x 512" in found(concept(), native=512)
    assert found(captioned("{} a", "{} b", "{} c"), native=512) == ""


def test_ordinary_words_and_long_captions_are_told():
    facts = [EncoderFacts("clip_l", 1, 160, 3, 75), EncoderFacts("t5xxl", 2, 150, 1, None)]
    text = "\n".join(word_findings(concept(), "cat", 1, facts, 0))
    assert "'cat' is an ordinary word in the vocabulary of clip_l" in text
    assert "160 tokens in clip_l: it is read in 3 chunks of 75" in text
    assert "t5xxl" not in text


def test_drawn_texts_are_those_of_training():
    one = concept(
        caption_settings=CaptionSettings(("a {}, [filewords]", "b {}, [filewords]"), shuffle=True)
    )
    texts = sample_texts(one, 1, "my-cat")
    assert len(texts) == 3
    assert all("my-cat number 1" in text for text in texts)
    assert texts == sample_texts(one, 1, "my-cat")
    templates = CaptionSettings(("a {}", "a professional {}", "my {}"))
    assert longest_text(concept(caption_settings=templates), "x") == "a professional x"


def test_crops_of_several_sizes_make_one_batch():
    crops = [torch.zeros(64, 64, 3), torch.ones(32, 96, 3)]
    batch = crops_batch(plain_concept(crops))
    assert batch.shape == (2, 64, 96, 3)
    assert batch[1, 16:48].min() == 1
    assert batch[1, :16].max() == 0.5
    assert crops_batch(plain_concept(crops[:1])).equal(crops[0][None])


def test_the_sheet_shows_crops_and_reddens_what_does_not_count():
    mask = torch.zeros(64, 64)
    mask[:, :32] = 1
    sources = [
        SourceImage("a", torch.full((64, 64, 3), 0.2), mask),
        SourceImage("b", noise(64, 64, 1)),
    ]
    recipe = ImageRecipe("object", CaptionSettings(("a {}",)), FitSettings(64, 64), MaskSettings())
    sheet = contact_sheet(concept_of(sources, recipe), "my-cat", "two\nlines")
    assert sheet.shape[2] == 3
    assert 0 <= sheet.min() <= sheet.max() <= 1
    red = (sheet[..., 0] - sheet[..., 1]) > 0.3
    assert 0.005 < red.float().mean() < 0.1
    thumbnail = sheet[-THUMBNAIL - 2 * GAP : -2 * GAP, GAP : GAP + THUMBNAIL]
    middle = thumbnail[80:-80, 64:-64]  # The crop is small, and not enlarged.
    assert (middle[:, :32] - 0.2).abs().max() < 0.02
    assert (middle[:, 32:, 0] > 0.5).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_names_and_captions_can_be_drawn(texts: list[str]):
    crop = torch.zeros(64, 64, 3)
    images = (image(crop, name=text, caption=text) for text in texts)
    one = Concept(tuple(images), "captions")
    concept_report(one)
    contact_sheet(one, "my-cat", "x")
