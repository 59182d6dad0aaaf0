"""The step that is measured before the first one."""

import pytest
import torch
from test_loop import Broken
from toy import ToyModel, concept, image, plain_concept, settings, word

from ti_core.concept.concept import Concept
from ti_core.training.loop import train
from ti_core.training.preflight import Preflight, largest_batch, measured_step, preflight_line


def test_the_largest_images_are_measured():
    latents = [torch.ones(3, 4, 4), torch.ones(3, 4, 8), torch.ones(3, 2, 8), torch.ones(3, 2, 8)]
    crops = [latent.movedim(0, -1) for latent in latents]
    several = Concept((image(crops[0]), image(crops[1]), image(*crops[2:])), "object")
    batch = largest_batch(ToyModel(), several, latents, "my-cat", settings(batch_size=3))
    assert batch.latents.shape == (3, 3, 4, 8)
    assert all("my-cat" in caption for caption in batch.captions)


def test_a_measured_step_moves_nothing_and_leaves_the_global_generator():
    model, (images, latents), made = ToyModel(), concept(), word()
    before, generator = made.vectors["clip_l"].clone(), torch.get_rng_state()
    assert measured_step(model, images, latents, "my-cat", made.vectors, settings()) > 0
    assert made.vectors["clip_l"].equal(before)
    assert torch.get_rng_state().equal(generator)


def test_the_second_batch_is_timed_and_a_step_takes_all_of_its_batches(
    monkeypatch: pytest.MonkeyPatch,
):
    model, (images, latents), calls = ToyModel(), concept(), []

    def now() -> float:
        calls.append(len(model.seen))
        return float(len(model.seen))

    monkeypatch.setattr("ti_core.training.preflight.time.perf_counter", now)
    chosen = settings(batch_size=2, accumulation=3)
    assert measured_step(model, images, latents, "my-cat", word().vectors, chosen) == 2 * 3
    assert calls == [2, 4]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nan", "The loss is nan"),
        ("detached", "No gradient reached"),
    ],
)
def test_what_cannot_be_trained_is_known_before_the_first_step(fault: str, says: str):
    images, latents = concept()
    with pytest.raises(RuntimeError, match=says):
        measured_step(Broken(fault), images, latents, "my-cat", word().vectors, settings())


def test_vectors_that_no_caption_reaches_are_told_and_the_others_learn():
    (images, latents), told = concept(), []
    made = word().vectors
    measured_step(Broken("cut"), images, latents, "my-cat", made, settings(), told.append)
    assert ["clip_l vector 2 of 2 gets no gradient from any caption" in text for text in told] == [
        True
    ]


class HalfDeaf(ToyModel):
    """Hears the word in captions of odd length alone."""

    def encode(self, captions, vectors):  # type: ignore[no-untyped-def]
        rows = vectors["clip_l"]
        return [(rows * (len(caption) % 2)).sum(0) @ self.table for caption in captions]


def test_a_word_that_some_captions_do_not_bring_is_trained():
    """Flux hears CLIP in the first chunk of a prompt alone."""
    images, latents = concept()
    captioned, told = plain_concept(images.crops, ["a {}", "an {}", "the {}"]), []
    made, chosen = word(), settings(5, batch_size=1)
    measured_step(HalfDeaf(), captioned, latents, "my-cat", made.vectors, chosen, told.append)
    assert not told
    states = list(train(HalfDeaf(), captioned, latents, made, chosen))
    alike = torch.cosine_similarity(states[-1].vectors["clip_l"], made.vectors["clip_l"])
    assert float(alike.max()) < 0.9999
    with pytest.raises(RuntimeError, match="No gradient reached the vectors"):
        deaf = plain_concept(images.crops, ["a {}"] * 3)
        measured_step(HalfDeaf(), deaf, latents, "my-cat", made.vectors, chosen)


def test_the_line_says_what_is_known():
    plain = Preflight(0.351, None, 24 * 2**30, False)
    assert preflight_line(plain, 400) == "A step takes 0.35 s. Remaining steps: 400, about 2:20."
    full = Preflight(2.0, 3 * 2**30, 24 * 2**30, True)
    assert preflight_line(full, 1000) == (
        "A step takes 2.00 s and 3.0 of 24.0 GiB (with gradient checkpointing). "
        "Remaining steps: 1000, about 33:20."
    )
