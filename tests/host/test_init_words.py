"""Init words that a diffusion model finds for its training images, on toyworld's model."""

from dataclasses import replace

import pytest
from small import Loaded, concept
from test_auto_captions import stars

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept
from ti_core.concept.fragments import Fragments
from ti_core.host.init_words import MOST_IMAGES, Described, described, spread
from ti_core.host.learn import Models
from ti_core.training.image_reader import ReadingSettings

LOOKS = Fragments(
    "[color] [pattern] {}",
    {
        "color": ("red", "purple", "green", "white"),
        "pattern": ("smooth", "striped", "checkered"),
    },
)


def found(loaded: Loaded, shown: Concept, looks: Fragments = LOOKS) -> Described:
    return described(Models(*loaded), shown, "star", looks, ReadingSettings())


def test_the_model_says_what_its_star_looks_like(demo_models: Loaded):
    made = found(demo_models, stars())
    assert made.words == "purple striped star"
    assert made.report.startswith("Looks like: purple striped star (loss ")
    assert "2 images read" in made.report and f"({made.passes} forward passes)" in made.report


def test_where_no_word_fits_the_noun_stays_alone(demo_models: Loaded):
    made = found(demo_models, stars(), Fragments("[color] {}", {"color": ("white", "yellow")}))
    assert made.words == "star"
    assert "No words describe all images better than 'star' alone" in made.report


def test_what_the_captions_say_is_not_looked_for(demo_models: Loaded):
    said = CaptionSettings(typed=True)
    images = stars(caption="a photo of a purple striped {}", caption_settings=said)
    assert found(demo_models, images).words == "star"


def test_of_many_images_some_are_read(demo_models: Loaded):
    few = stars()
    many = replace(few, images=few.images * 10)
    made = found(demo_models, many)
    assert made.words.endswith("star")
    assert "12 images of 20 read" in made.report


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 25, 200])
def test_images_are_chosen_evenly(count: int):
    numbers = spread(count)
    assert len(numbers) == min(count, MOST_IMAGES) == len(set(numbers))
    assert numbers[0] == 0 and count - numbers[-1] <= -(-count // MOST_IMAGES) + 1


def test_a_noun_without_tokens_and_a_concept_of_one_image_are_no_trouble(demo_models: Loaded):
    with pytest.raises(ValueError, match="init word ' ' has no tokens"):
        described(Models(*demo_models), concept(1), " ", LOOKS, ReadingSettings())
    one = stars()
    assert found(demo_models, replace(one, images=one.images[:1])).words.endswith("star")
