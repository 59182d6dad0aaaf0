"""Previews: the image is the ordinary nodes' one, and the training does not notice."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.sample
import numpy as np
import pytest
import torch
from small import Loaded, concept, latents, settings, word
from test_learn import differences, patched, state
from torch import Tensor

from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.text import apply_embedding
from ti_core.host.page.preview_images import MOST, PreviewSettings
from ti_core.host.page.previews import LONGEST_SIDE, Previews, on_request, quick_side
from ti_core.training.loop import train
from ti_core.training.run import RunState
from ti_core.training.stopping import Validation
from ti_core.word.embedding import Embedding

SMALL = PreviewSettings(every=2, steps=3, cfg=4.0, width=64, height=64, seed=5)
STEPS = 4


def previews(loaded: Loaded, made: Embedding, **changes: Any) -> Previews:
    return Previews(replace(SMALL, **changes), *loaded, made)


def ordinary(loaded: Loaded, made: Embedding, vectors: Mapping[str, Tensor]) -> Tensor:
    """What the stock nodes draw: KSampler's defaults are spelled out there (core nodes.py:1555)."""
    clip = apply_embedding(loaded.clip, replace(made, vectors=vectors), 1.0)
    positive, negative = (
        clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a photo of my-cat", "")
    )
    empty = torch.zeros(1, 4, 8, 8)
    noise = comfy.sample.prepare_noise(empty, SMALL.seed)
    sampled = comfy.sample.sample(
        loaded.model,
        noise,
        SMALL.steps,
        SMALL.cfg,
        SMALL.sampler,
        "normal",
        positive,
        negative,
        empty,
        denoise=1.0,
        disable_noise=False,
        start_step=None,
        last_step=None,
        force_full_denoise=False,
        seed=SMALL.seed,
    )
    return loaded.vae.decode(sampled)[0]


def learned(
    loaded: Loaded, made: Embedding, precision: Any, look: Callable[..., None] | None = None
) -> list[Mapping[str, Tensor]]:
    """The vectors after each step; every second step `look` uses the models."""
    lent = BorrowSettings(2, precision)
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), lent) as frozen:
        found = []
        for report in train(frozen, concept(), latents(), made, settings(STEPS)):
            found.append(report.vectors)
            if look is not None and report.step % SMALL.every == 0:
                with frozen.set_aside():
                    look(report.step, report.vectors)
        return found


@pytest.fixture(params=["plain", "lora", pytest.param("bf16", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, loaded: Loaded) -> Iterator[tuple[Loaded, str]]:
    """Models and a precision to train them in, which is not what they sample in."""
    model = patched(loaded.model, 0.7) if request.param == "lora" else loaded.model
    yield loaded._replace(model=model), "bf16" if request.param == "bf16" else "auto"


def test_a_preview_in_the_middle_is_the_image_of_the_ordinary_nodes(run: tuple[Loaded, str]):
    loaded, precision = run
    made = word(loaded.clip)
    drawn: dict[int, Tensor] = {}
    artist = previews(loaded, made)
    vectors = learned(
        loaded, made, precision, lambda step, rows: drawn.update({step: artist.draw(rows)})
    )
    assert list(drawn) == [0, 2, 4]
    for step, image in drawn.items():
        assert image.shape == (64, 64, 3)
        assert image.equal(ordinary(loaded, made, vectors[step]))
    assert not drawn[2].equal(drawn[4])


def test_previews_change_nothing_in_what_is_learned(run: tuple[Loaded, str]):
    loaded, precision = run
    made = word(loaded.clip)
    without = learned(loaded, made, precision)
    before = state(loaded)
    artist = previews(loaded, made)
    with_previews = learned(loaded, made, precision, artist)
    assert artist.problem is None
    assert sorted(artist.images) == [0, 2, 4]
    for one, other in zip(without, with_previews, strict=True):
        assert one["clip_l"].equal(other["clip_l"])
    assert differences(before, state(loaded)) == []


def test_the_labeled_images_come_as_a_batch_in_the_order_of_the_steps(loaded: Loaded):
    made = word(loaded.clip)
    artist = previews(loaded, made, width=256, height=128, steps=1)
    assert artist.image_batch() is None
    for step in (0, 50, 100):
        artist(step, made.vectors)
    batch = artist.image_batch()
    assert batch is not None
    assert batch.shape == (3, 128, 256, 3)
    assert batch.dtype == torch.float32
    assert 0 <= float(batch.min()) and float(batch.max()) <= 1
    plain = artist.draw(made.vectors)
    assert batch[:, :100].equal(plain[:100].expand(3, -1, -1, -1))  # The labels are below.
    assert batch[:, :, 128:].equal(plain[:, 128:].expand(3, -1, -1, -1))
    for one, other in ((0, 1), (1, 2)):
        assert not batch[one].equal(batch[other])


@pytest.mark.parametrize(("keep", "expected"), [("best", [0, 2, 3]), ("last", [0, 2, 5])])
def test_the_word_that_the_run_gives_is_drawn_at_the_end(
    loaded: Loaded, keep: Any, expected: list[int]
):
    made = word(loaded.clip)
    artist = previews(loaded, made)
    first, mean, best = (dict(made.vectors) for _ in range(3))
    ended = RunState(first, mean, best, 1.0, losses=[0.5] * 5)
    ended.validations = [Validation(0, 2.0), Validation(3, 1.0, torch.tensor([0.9, 1.1]))]
    ended.close(torch.tensor([1.4, 1.6]))
    for step in (0, 2):
        artist(step, made.vectors)
    for _ in range(2):  # What is drawn already is not drawn again.
        artist.finish(ended, keep)
    assert sorted(artist.images) == expected


def test_global_randomness_is_as_it_was(loaded: Loaded):
    made = word(loaded.clip)
    torch.manual_seed(99)  # Not what the previews themselves leave.
    before = torch.get_rng_state(), random.getstate(), numpy_state()
    artist = previews(loaded, made, sampler="euler_ancestral")
    artist(0, made.vectors)
    assert artist.problem is None
    assert torch.get_rng_state().equal(before[0])
    assert random.getstate() == before[1]
    assert numpy_state() == before[2]


def numpy_state() -> bytes:
    state = np.random.get_state(legacy=False)["state"]
    return state["key"].tobytes() + bytes([state["pos"] % 256])


def test_a_prompt_without_the_word_is_an_error_before_the_training(loaded: Loaded):
    made = word(loaded.clip)
    with pytest.raises(ValueError, match="'a photo of a cat' does not contain 'my-cat'"):
        previews(loaded, made, prompt="a photo of a cat")
    assert previews(loaded, made, prompt="(my-cat:1.2) asleep").prompts == ["(my-cat:1.2) asleep"]
    assert previews(loaded, made, prompt="[name], {}").prompts == ["my-cat, my-cat"]


class Broken:
    """A VAE that fails, as one without memory does."""

    def __init__(self, error: BaseException):
        self.error = error
        self.calls = 0

    def decode(self, latent: Tensor) -> Tensor:
        self.calls += 1
        raise self.error


def test_previews_that_fail_are_tried_again_and_do_not_end_the_training(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
):
    made = word(loaded.clip)
    without = learned(loaded, made, "auto")
    before = state(loaded)
    vae = Broken(torch.OutOfMemoryError("Tried to allocate 20.00 GiB"))
    artist = previews(loaded._replace(vae=vae), made)
    vectors = learned(loaded, made, "auto", artist)
    assert vectors[-1]["clip_l"].equal(without[-1]["clip_l"])
    assert vae.calls == 3
    assert artist.image_batch() is None
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"The preview at step {step} failed: Tried to allocate 20.00 GiB. Training continues."
        for step in (0, 2, 4)
    ]
    assert differences(before, state(loaded)) == []


def test_cancel_in_a_preview_cancels_the_training_and_leaves_no_trace(loaded: Loaded):
    made = word(loaded.clip)
    before = state(loaded)
    vae = Broken(comfy.model_management.InterruptProcessingException())
    artist = previews(loaded._replace(vae=vae), made)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        learned(loaded, made, "auto", artist)
    assert differences(before, state(loaded)) == []


def test_set_aside_lets_go_of_the_weights_memory(loaded: Loaded):
    """Else the host could not free it for the VAE, and the training would go on with old copies."""
    made = word(loaded.clip)
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
        with frozen.differentiable():
            assert frozen.weight_aliases.aliases
        with frozen.set_aside():
            assert not frozen.weight_aliases.aliases
            assert not comfy.model_management.in_training
            assert torch.is_inference_mode_enabled()
            weight = loaded.model.model.diffusion_model.out[2].weight
            kept = weight.data.clone()
            weight.data = kept  # What a move to another device and back does.
        with frozen.differentiable():
            used = loaded.model.model.diffusion_model.out[2].weight
            assert used.untyped_storage().data_ptr() == kept.untyped_storage().data_ptr()
        assert comfy.model_management.in_training
        assert torch.is_grad_enabled()


def test_of_many_images_every_second_one_is_let_go(loaded: Loaded):
    made = word(loaded.clip)
    artist = previews(loaded, made, steps=1, width=64, height=64)
    image = torch.zeros(64, 64, 3)
    artist.images = {step: image for step in range(MOST)}
    artist(MOST, made.vectors)
    assert len(artist.images) == MOST // 2 + 1
    assert list(artist.images)[:3] == [0, 2, 4]
    assert list(artist.images)[-1] == MOST


def test_step_0_shows_the_word_as_it_came(loaded: Loaded):
    """The spherical method sets the vectors' norm before the first step."""
    made = word(loaded.clip)
    artist = previews(loaded, made)
    twice = {key: 2 * rows for key, rows in made.vectors.items()}
    for step in (0, 2):
        artist(step, twice)
    upper = slice(0, 40)  # Above the labels.
    assert artist.images[0][upper].equal(artist.draw(made.vectors)[upper])
    assert artist.images[2][upper].equal(artist.draw(twice)[upper])
    assert not artist.images[0][upper].equal(artist.images[2][upper])


def test_what_is_drawn_on_request_suits_the_model_and_begins_with_the_word_as_it_came(
    loaded: Loaded,
):
    made = word(loaded.clip)
    shown: dict[int, Tensor] = {}
    artist = on_request(
        concept(), *loaded, made, lambda step, image, rows: shown.update({step: image})
    )
    assert not artist.due(0)
    artist.settings = replace(artist.settings, steps=1)
    twice = {key: 2 * rows for key, rows in made.vectors.items()}
    for step in (7, 9):
        artist.ask(step, twice)
    assert artist.problem is None
    assert list(shown) == [0, 7, 9]
    assert shown[7].shape == (64, 128, 3)  # The word alone, and edited, in the images' size.
    assert not shown[0].equal(shown[7]) and shown[7].equal(shown[9])


def test_an_image_on_request_is_no_larger_than_it_need_be():
    assert [quick_side(side, 1024) for side in (1024, 512)] == [LONGEST_SIDE, LONGEST_SIDE // 2]
    assert [quick_side(side, 512) for side in (512, 500, 8)] == [512, 512, 64]
