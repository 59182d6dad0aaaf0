from collections.abc import Iterator

import pytest
import torch
from toy import ToyModel, batches, concept, plain_concept, word

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept
from ti_core.training.batches import Batch, NotFinite, batch_loss
from ti_core.training.latents import Gaussian
from ti_core.training.loop import SCALE_GROWS_EVERY, gradient, train
from ti_core.training.optimizers import AdamWSettings, SphericalSettings, make_optimizer
from ti_core.training.run import RunState
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings
from ti_core.training.validation import validation_batches, validation_loss
from ti_core.word.embedding import Embedding


def settings(steps: int = 30, rate: str = "0.05", **changes: object) -> TrainingSettings:
    chosen = {"method": SphericalSettings(), "batch_size": 2, "seed": 5, "rule": None, **changes}
    return TrainingSettings(schedule(rate, steps, "constant"), **chosen)  # type: ignore[arg-type]


def run(model: ToyModel, chosen: TrainingSettings) -> Iterator[RunState]:
    images, latents = concept()
    return train(model, images, latents, word(), chosen)


def end(model: ToyModel, chosen: TrainingSettings) -> RunState:
    """The state after the last step."""
    *_, last = run(model, chosen)
    return last


@pytest.mark.parametrize("chosen", [SphericalSettings(), AdamWSettings()])
def test_the_validation_loss_falls(chosen: object):
    model, (images, latents) = ToyModel(), concept()
    drawn = validation_batches(model, images, latents, "my-cat", 8, 4)
    last = end(model, settings(200, "0.02", method=chosen))
    before = validation_loss(model, drawn, word().vectors)
    assert validation_loss(model, drawn, last.vectors) < 0.8 * before


def test_the_same_seed_gives_the_same_vectors_whatever_ran_before():
    first = end(ToyModel(), settings()).vectors["clip_l"]
    torch.rand(100)
    second = end(ToyModel(), settings()).vectors["clip_l"]
    other = end(ToyModel(), settings(seed=6)).vectors["clip_l"]
    assert first.equal(second)
    assert not first.equal(other)


def test_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    list(run(ToyModel(), settings(5)))
    assert torch.get_rng_state().equal(before)


def test_accumulation_equals_a_larger_batch():
    """Two runs of two samples give the gradient of one run of four: the same samples, one draw."""
    model, (images, latents) = ToyModel(), concept()
    accumulated = settings(1, batch_size=2, accumulation=2)
    draws = batches(model, images, latents, "my-cat", accumulated)
    parts = [next(draws), next(draws)]
    parted = make_optimizer(SphericalSettings(), word().vectors, model.vocabulary_norms).vectors
    found, _ = gradient(model, parted, parts, 1.0)
    joined = Batch(
        torch.cat([part.latents for part in parts]),
        torch.cat([part.noise for part in parts]),
        torch.cat([part.positions for part in parts]),
        parts[0].captions + parts[1].captions,
    )
    whole = make_optimizer(SphericalSettings(), word().vectors, model.vocabulary_norms).vectors
    loss = batch_loss(model, joined, whole).mean()
    loss.backward()
    assert found == pytest.approx(loss.item())
    torch.testing.assert_close(parted["clip_l"].grad, whole["clip_l"].grad)


def test_every_round_shows_every_image_once():
    model, (images, latents) = ToyModel(), concept(5)
    draws = batches(model, images, latents, "my-cat", settings(batch_size=1))
    for _ in range(3):
        shown = torch.stack([next(draws).latents[0] for _ in range(5)])
        assert sorted(shown.flatten(1).sum(1).tolist()) == sorted(
            torch.stack(latents).flatten(1).sum(1).tolist()
        )


def test_a_batch_shares_a_template_and_steps_differ():
    model, (images, latents) = ToyModel(), concept()
    draws = batches(model, images, latents, "my-cat", settings(batch_size=2))
    pairs = [next(draws).captions for _ in range(40)]
    assert all(one == other for one, other in pairs)
    assert len(set(pairs)) > 10


def test_each_image_keeps_its_own_caption():
    model, (images, latents) = ToyModel(), concept()
    captioned = plain_concept(images.crops, ["a {}", "b {}", "c"])
    draws = batches(model, captioned, latents, "my-cat", settings(batch_size=3))
    for _ in range(5):
        batch = next(draws)
        for latent, caption in zip(batch.latents, batch.captions, strict=True):
            index = next(i for i, own in enumerate(latents) if own.equal(latent))
            assert caption == ("a my-cat", "b my-cat", "my-cat, c")[index]


class Broken(ToyModel):
    """A model with a fault in its conditioning."""

    def __init__(self, fault: str):
        super().__init__()
        self.fault = fault

    def encode(self, captions, vectors):  # type: ignore[no-untyped-def]
        rows = vectors["clip_l"]
        if self.fault == "detached":
            rows = rows.detach()
        if self.fault == "cut":
            rows = rows[:1]
        if self.fault == "nan":
            rows = rows * float("nan")
        return super().encode(captions, {"clip_l": rows})


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            "detached",
            "No gradient reached the vectors. The likely cause is an attention kernel without",
        ),
        ("nan", "loss is nan"),
    ],
)
def test_a_first_step_that_cannot_be_right_stops_with_the_likely_cause(fault: str, says: str):
    with pytest.raises(RuntimeError, match=says):
        list(run(Broken(fault), settings(1)))


class HalfDetached(ToyModel):
    """A model with two encoders, one of which is not listened to."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary_norms = {"clip_l": 0.4, "clip_g": 0.4}


def test_an_encoder_that_no_gradient_reaches_is_named():
    images, latents = concept()
    both = {key: rows.clone() for key in ("clip_l", "clip_g") for rows in word().vectors.values()}
    two = Embedding("my-cat", "cat", both, both)
    with pytest.raises(RuntimeError, match="No gradient reached the clip_g vectors"):
        list(train(HalfDetached(), images, latents, two, settings(1)))


class Overflowing(ToyModel):
    """An fp16 model whose first three gradients overflow."""

    loss_scale = 64.0
    backwards = 0

    def denoise(self, noisy, sigma, conditioning, crop_origins=()):  # type: ignore[no-untyped-def]
        out = super().denoise(noisy, sigma, conditioning)
        if out.requires_grad:
            out.register_hook(self.overflow)
        return out

    def overflow(self, gradient: torch.Tensor) -> torch.Tensor:
        self.backwards += 1
        return gradient * (float("inf") if self.backwards <= 3 else 1.0)


def test_the_loss_scale_falls_until_the_gradient_is_finite_and_changes_nothing_else():
    plain, model = end(ToyModel(), settings(5)), Overflowing()
    scaled = end(model, settings(5))
    assert scaled.losses == pytest.approx(plain.losses, rel=1e-5)
    torch.testing.assert_close(scaled.vectors, plain.vectors, rtol=1e-5, atol=1e-6)
    assert model.backwards == 5 + 3
    assert scaled.loss_scale == 64.0 / 2**3


def test_a_gradient_is_that_of_the_loss_whatever_its_scale():
    """Taken back before anything looks at its size, such as a bound on its norm."""
    model, (images, latents) = ToyModel(), concept()
    batch = next(batches(model, images, latents, "my-cat", settings()))
    found = []
    for scale in (1.0, 1024.0):
        live = make_optimizer(AdamWSettings(), word().vectors, model.vocabulary_norms).vectors
        gradient(model, live, [batch], scale)
        found.append(live["clip_l"].grad)
    torch.testing.assert_close(found[0], found[1])


def test_the_loss_scale_grows_back_after_an_overflow():
    model = Overflowing()
    scales = [now.loss_scale for now in run(model, settings(4 * SCALE_GROWS_EVERY))]
    assert scales[2] == scales[SCALE_GROWS_EVERY] == 8.0
    assert scales[SCALE_GROWS_EVERY + 1] == 16.0
    assert max(scales) == scales[-1] == 64.0


def test_a_loss_that_is_no_number_is_not_tried_again_at_other_scales():
    model, (images, latents) = Broken("nan"), concept()
    batch = next(batches(model, images, latents, "my-cat", settings()))
    live = make_optimizer(AdamWSettings(), word().vectors, model.vocabulary_norms).vectors
    with pytest.raises(NotFinite, match="The loss is nan"):
        gradient(model, live, [batch], 2.0**14)
    assert len(model.seen) == 2


def test_an_overflow_at_no_loss_scale_is_an_error():
    model = Overflowing()
    model.loss_scale = 1.0
    with pytest.raises(NotFinite, match="clip_l vectors at step 1 is not finite"):
        list(run(model, settings(5)))


class Steep(Overflowing):
    """A model whose fourth gradient is finite, but of that norm."""

    loss_scale = 1.0

    def __init__(self, norm: float):
        super().__init__()
        self.norm = norm

    def overflow(self, gradient: torch.Tensor) -> torch.Tensor:
        self.backwards += 1
        return gradient * (self.norm / gradient.norm()) if self.backwards == 4 else gradient


@pytest.mark.parametrize(
    "method", [SphericalSettings(), AdamWSettings(), AdamWSettings(gradient_clip=0)]
)
def test_a_gradient_without_a_finite_square_counts_as_not_finite(
    method: SphericalSettings | AdamWSettings,
):
    """The optimizer's memory of it would be infinite: nothing would move, nothing be stored."""
    last = end(Steep(1e25), settings(10, method=method))
    assert last.rollbacks == 1
    assert last.step == 10
    assert all(bool(values.isfinite().all()) for values in last.memory.values())


def masked(weights: torch.Tensor | None) -> tuple[Concept, list[torch.Tensor]]:
    """Images whose left half has one color, and the right half another one."""
    latent = torch.tensor([1.0, 0.5, -0.5])[:, None, None].repeat(1, 4, 8)
    latent[:, :, 4:] = torch.tensor([-1.0, -0.5, 1.0])[:, None, None]
    crops = (torch.zeros(32, 64, 3),) * 3
    return plain_concept(crops, weights=(weights,)), [latent] * 3


def learned_color(weights: torch.Tensor | None) -> torch.Tensor:
    """What the toy model draws after training: half of the noisy image is its own prediction."""
    images, latents = masked(weights)
    model = ToyModel()
    model.sigmas = torch.tensor([2.0])
    chosen = settings(400, "0.02", method=AdamWSettings())
    *_, last = train(model, images, latents, word(), chosen)
    return 2 * model.encode(["x"], last.mean)[0]


def test_what_is_masked_is_learned_and_the_background_is_not():
    """On a wide image: with the mask on the left half its color is learned, without a mask the
    mean of both.
    """
    left, right = torch.tensor([1.0, 0.5, -0.5]), torch.tensor([-1.0, -0.5, 1.0])
    weights = torch.zeros(32, 64)
    weights[:, :32] = 2.0
    assert (learned_color(weights) - left).norm() < 0.1
    assert (learned_color(weights.flip(1)) - right).norm() < 0.1
    assert (learned_color(None) - (left + right) / 2).norm() < 0.1


def test_a_mask_of_ones_changes_nothing():
    images, latents = masked(None)
    ones, _ = masked(torch.ones(32, 64))
    runs = [
        list(train(ToyModel(), one, latents, word(), settings(5)))[-1] for one in (images, ones)
    ]
    assert runs[0].losses == runs[1].losses
    assert runs[0].vectors["clip_l"].equal(runs[1].vectors["clip_l"])


def test_batches_and_validation_hold_one_size_of_latents():
    sizes = [(4, 4), (4, 6), (4, 4), (6, 4), (4, 6)]
    latents = [torch.rand(3, *size) for size in sizes]
    crops = tuple(torch.zeros(8 * h, 8 * w, 3) for h, w in sizes)
    images = plain_concept(crops)
    *_, last = train(ToyModel(), images, latents, word(), settings(20, accumulation=2))
    assert len(last.losses) == 20
    assert min(last.losses) > 0
    drawn = validation_batches(ToyModel(), images, latents, "my-cat", 8, 4)
    assert sum(len(batch.latents) for batch in drawn) == 8
    assert {tuple(batch.latents.shape[2:]) for batch in drawn} == set(sizes)


def test_latents_of_a_distribution_are_drawn_anew_and_validated_at_their_mean():
    mean = torch.zeros(3, 4, 4)
    found = [Gaussian(mean, torch.full_like(mean, 0.5))]
    images = plain_concept([torch.zeros(32, 32, 3)])
    draws = batches(ToyModel(), images, found, "my-cat", settings(batch_size=1))
    seen = torch.stack([next(draws).latents for _ in range(50)])
    assert seen.std() == pytest.approx(0.5, abs=0.05)
    drawn = validation_batches(ToyModel(), images, found, "my-cat", 2, 2)
    assert drawn[0].latents.abs().max() == 0


def test_captions_are_drawn_anew_for_every_sample_of_every_step():
    images, latents = concept(2)
    caption_settings = CaptionSettings(shuffle=True, keep_tokens=1)
    captions = ["{}, a, b, c, d", "{}, e, f, g, h"]
    shuffling = plain_concept(images.crops, captions, caption_settings=caption_settings)
    draws = batches(ToyModel(), shuffling, latents, "my-cat", settings(20))
    seen = [caption for _ in range(20) for caption in next(draws).captions]
    assert len(set(seen)) > 20
    assert all(caption.startswith("my-cat, ") for caption in seen)


def test_captions_that_are_not_allowed_stop_before_the_first_step():
    images, latents = concept(2)
    strict = plain_concept(
        images.crops, ["a", "b"], caption_settings=CaptionSettings(missing="error")
    )
    with pytest.raises(ValueError, match="missing from the captions of 2 images"):
        next(train(ToyModel(), strict, latents, word(), settings(1)))
