"""Captions that a diffusion model finds for its training images, on toyworld's model."""

from dataclasses import replace
from typing import Any

import comfy.model_management
import pytest
import torch
from small import Loaded, concept, small_sd1
from small_families import made_vae

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, ImageInfo
from ti_core.concept.fragments import Fragments
from ti_core.host import frozen_reader
from ti_core.host.auto_captions import Captioned, captioned
from ti_core.host.learn import Models
from ti_core.host.models.text import create_embedding
from ti_core.training.image_reader import ReadingSettings
from toyworld.scenes import images
from toyworld.world import Scene
from toyworld.worlds import TOYWORLD

STAR = TOYWORLD.held_out[0]
SCENES = (Scene(STAR, "grass"), Scene(STAR, "night", "left"))
FRAGMENTS = Fragments(
    "a photo of {} [position] [background]",
    {
        "background": ("on sand", "on grass", "at night"),
        "position": ("on the left", "on the right"),
    },
)


def stars(**changes: Any) -> Concept:
    """Images of a star that the model never saw, on grass and at night, without captions."""
    one = replace(concept(1).images[0], found=ImageInfo(64, 64), **changes)
    shown = (images(TOYWORLD, SCENES) * 255).round().byte().movedim(1, -1)
    return Concept(
        tuple(replace(one, name=f"{n}.png", crops=(crop,)) for n, crop in enumerate(shown)),
        "object",
    )


def found(loaded: Loaded, concept: Concept, typed: str = "", **settings: int) -> Captioned:
    word = create_embedding(loaded.clip, "my-star", "star", 1)
    return captioned(Models(*loaded), concept, word, FRAGMENTS, typed, ReadingSettings(**settings))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is asked."""

    def refuse(*values: Any) -> None:
        raise AssertionError("The model was asked.")

    monkeypatch.setattr(frozen_reader, "borrowed", refuse)


def test_the_model_says_where_its_stars_are(demo_models: Loaded):
    made = found(demo_models, stars())
    assert made.lines.splitlines() == [
        "0.png: a photo of {} on grass",
        "1.png: a photo of {} on the left at night",
    ]
    assert [made.concept.text(n, "my-star") for n in range(2)] == [
        "a photo of my-star on grass",
        "a photo of my-star on the left at night",
    ]
    assert "2 images read" in made.report and "% lower loss" in made.report
    assert [one.found.caption_from for one in made.concept.images if one.found] == [
        "the diffusion model",
        "the diffusion model",
    ]


def test_what_was_found_and_edited_is_taken_without_asking_again(demo_models: Loaded, unread: None):
    made = found(demo_models, stars(), "1.png: {} at night\n\n 0.png: a drawing of {} on grass \n")
    assert made.lines == "0.png: a drawing of {} on grass\n1.png: {} at night"
    assert "2 taken from the caption text" in made.report
    assert found(demo_models, stars(), made.lines).lines == made.lines


def test_only_the_image_without_a_line_is_read(demo_models: Loaded):
    made = found(demo_models, stars(), "1.png: typed {}", samples=1)
    assert made.lines.splitlines()[1] == "1.png: typed {}"
    assert "1 image read" in made.report and "1 taken" in made.report


def test_a_line_of_no_image_is_reported(demo_models: Loaded, unread: None):
    made = found(demo_models, stars(), "0.png: a {}\n1.png: b {}\n2.png: c {}\n")
    assert "belongs to no image: '2.png: c {}'" in made.report


def test_two_images_of_one_name_take_their_lines_in_order(demo_models: Loaded, unread: None):
    twice = stars()
    twice = replace(twice, images=tuple(replace(one, name="x: y.png") for one in twice.images))
    made = found(demo_models, twice, "x: y.png: first {}\nx: y.png: second {}")
    assert [one.caption for one in made.concept.images] == ["first {}", "second {}"]


def test_captions_of_a_persons_own_stay(demo_models: Loaded, unread: None):
    own = stars(caption="my {} in red", caption_settings=CaptionSettings(typed=False))
    made = found(demo_models, own)
    assert made.concept.images == own.images
    assert "0 images read" in made.report and "2 images with captions of their own" in made.report


def test_captions_that_the_templates_leave_out_are_replaced(demo_models: Loaded, unread: None):
    unused = stars(caption="red", caption_settings=CaptionSettings(("a {}",)))
    made = found(demo_models, unused, "0.png: p {}\n1.png: q {}")
    assert [made.concept.text(n, "w") for n in range(2)] == ["p w", "q w"]


def test_a_template_with_a_place_for_captions_stays(demo_models: Loaded, unread: None):
    settings = CaptionSettings(("{} painted, [filewords]",), shuffle=True)
    made = found(demo_models, stars(caption_settings=settings), "0.png: p\n1.png: q")
    assert made.concept.images[0].caption_settings == settings
    assert made.concept.text(1, "w") == "w painted, q"


def test_too_little_memory_is_answered_with_fewer_captions_at_once(
    demo_models: Loaded, monkeypatch: pytest.MonkeyPatch
):
    real, asked = frozen_reader.borrowed, []

    def tight(model: Any, clip: Any, word: Any, shape: Any, settings: Any) -> Any:
        asked.append(settings.rows)
        if settings.rows > 4:
            raise comfy.model_management.OOM_EXCEPTION("tight")
        return real(model, clip, word, shape, settings)

    monkeypatch.setattr(frozen_reader, "borrowed", tight)
    assert found(demo_models, stars(), samples=1).lines
    assert asked == [16, 8, 4]


def test_cancel_leaves_as_itself(demo_models: Loaded):
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        found(demo_models, stars())


def test_the_models_are_as_they_were(demo_models: Loaded):
    before = {n: one.clone() for n, one in demo_models.model.model.state_dict().items()}
    state = torch.get_rng_state()
    found(demo_models, stars(), samples=1)
    assert torch.equal(torch.get_rng_state(), state)
    after = demo_models.model.model.state_dict()
    assert all(torch.equal(one, after[n]) for n, one in before.items())


def test_a_vae_of_another_model_is_refused(demo_models: Loaded, unread: None):
    with pytest.raises(ValueError, match="The VAE produces 16-channel latents"):
        found(demo_models._replace(vae=made_vae("Flux")), stars())


def test_a_model_without_dreams_of_anything_is_read_as_well():
    made = found(Loaded(*small_sd1()), stars(), samples=2)
    assert made.lines.count("a photo of {}") == 2
