"""A step is drawn alone as it is drawn in order, and nothing is drawn to get there."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import ToyModel, image, ran, settings, word

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept
from ti_core.store.checkpoint import checkpoint, restored
from ti_core.training import batches as batches_module
from ti_core.training.batches import Batch, Batches
from ti_core.training.latents import Gaussian, Latents
from ti_core.training.objective import Objective
from ti_core.training.optimizers import AdamWSettings
from ti_core.training.settings import TrainingSettings

TAGS = CaptionSettings(
    shuffle=True, wildcards=True, tag_dropout=0.3, caption_dropout=0.2, caption_dropout_epochs=3
)
SIZES = [(4, 4), (4, 6), (4, 4), (6, 4), (4, 6), (4, 4), (4, 4), (4, 4), (6, 4), (4, 4), (4, 6)]


def varied(caption_settings: CaptionSettings = TAGS) -> tuple[Concept, list[Latents]]:
    """Images of three sizes with variants, repeats and masks, and latents to draw from."""
    draws = torch.Generator().manual_seed(4)
    images, latents = [], []
    for number, (height, width) in enumerate(SIZES):
        variants = 1 + number % 3
        crops = [torch.zeros(8 * height, 8 * width, 3)] * variants
        weights = tuple(torch.rand(8 * height, 8 * width, generator=draws) for _ in crops)
        caption = f"{{}}, a{number}, b, {{red|blue}}, c, d"
        more: dict[str, Any] = {"weights": weights, "repeats": 1 + number % 2}
        images.append(image(*crops, caption=caption, caption_settings=caption_settings, **more))
        for _ in crops:
            mean = torch.rand(3, height, width, generator=draws)
            latents.append(Gaussian(mean, torch.full_like(mean, 0.1)))
    return Concept(tuple(images), "captions", "random"), latents


SETTINGS: dict[str, TrainingSettings] = {
    "one at a time": settings(batch_size=1),
    "a batch": settings(batch_size=4),
    "more than a bucket has": settings(batch_size=7),
    "accumulated": settings(batch_size=3, accumulation=3),
    "held out": settings(batch_size=2, hold_out=True),
    "offset noise": settings(batch_size=2, objective=Objective(offset_noise=0.1)),
    "weighted": settings(batch_size=2, objective=Objective(weighting="min-SNR")),
    "another seed": settings(batch_size=2, seed=2**63),
}


def drawn(chosen: TrainingSettings) -> Batches:
    return Batches(ToyModel(), *varied(), "my-cat", chosen)


def same_batch(one: Batch, other: Batch) -> bool:
    pairs = zip(one, other, strict=True)
    return all(
        a.equal(b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b for a, b in pairs
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_alone_is_the_step_in_order(name: str):
    chosen, steps = SETTINGS[name], (0, 1, 2, 7, 30, 59)
    in_order = list(islice(drawn(chosen), 60 * chosen.accumulation))
    backwards = {step: drawn(chosen).of_step(step) for step in reversed(steps)}
    for step in steps:
        first = step * chosen.accumulation
        expected = in_order[first : first + chosen.accumulation]
        assert len(backwards[step]) == chosen.accumulation
        assert all(map(same_batch, backwards[step], expected)), step


@pytest.mark.parametrize("name", SETTINGS)
def test_every_kind_of_draw_changes_from_step_to_step(name: str):
    chosen = SETTINGS[name]
    steps = [drawn(chosen).of_step(step)[0] for step in range(1000, 1020)]
    assert len({batch.noise.sum().item() for batch in steps}) == 20
    assert len({batch.latents.sum().item() for batch in steps}) == 20
    assert len({batch.captions for batch in steps}) > 5
    assert len({tuple(batch.positions.tolist()) for batch in steps}) > 1


@pytest.mark.parametrize("name", SETTINGS)
def test_every_turn_comes_once_a_round_and_a_batch_has_one_size(name: str):
    chosen = SETTINGS[name]
    batches, images = drawn(chosen).rounds, varied()[0].images
    groups = [batches.group(number) for number in range(400)]
    turns = [(pick.round, pick.image) for group in groups for pick in group]
    shapes = [{SIZES[pick.image] for pick in group} for group in groups]
    assert all(len(one) == 1 for one in shapes)
    whole = range(max(round_ for round_, _ in turns) - chosen.batch_size - 1)
    left_out = {4, 9} if chosen.hold_out else set()
    for number in whole:
        seen = sorted(image for round_, image in turns if round_ == number)
        wanted = [n for n, one in enumerate(images) for _ in range(one.repeats)]
        assert seen == [n for n in wanted if n not in left_out]


def test_orders_differ_from_round_to_round_and_sizes_are_mixed_within_one():
    rounds = drawn(settings(batch_size=1)).rounds
    turns = sum(rounds.turns)
    orders = [tuple(rounds.group(r * turns + n)[0].image for n in range(turns)) for r in range(9)]
    assert len(set(orders)) == 9
    sizes = [SIZES[number] for number in orders[0]]
    assert sum(a != b for a, b in zip(sizes, sizes[1:], strict=False)) > 3


class Counted:
    """Generators that are asked for, by the names of what they are for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.asked: list[tuple[int, ...]] = []
        real = batches_module.generator

        def counting(seed: int, stream: int, *place: int) -> torch.Generator:
            self.asked.append((stream, *place))
            return real(seed, stream, *place)

        monkeypatch.setattr(batches_module, "generator", counting)
        monkeypatch.setattr("ti_core.concept.rounds.generator", counting)


@pytest.mark.parametrize("chosen", [settings(batch_size=4), settings(batch_size=2, accumulation=4)])
def test_a_late_step_asks_for_no_more_generators_than_an_early_one(
    chosen: TrainingSettings, monkeypatch: pytest.MonkeyPatch
):
    counts = []
    for step in (3, 3_000, 3_000_000):
        counted = Counted(monkeypatch)
        drawn(chosen).of_step(step)
        counts.append(len(counted.asked))
        monkeypatch.undo()
    assert max(counts) <= counts[0] + 3 * chosen.accumulation  # Rounds that a batch lies across.


@pytest.mark.parametrize("step", [1, 17, 39])
def test_a_run_that_is_taken_up_draws_nothing_of_the_steps_before(
    step: int, monkeypatch: pytest.MonkeyPatch
):
    broken = restored(checkpoint(ran(settings(), until=step)), word().vectors)
    counted = Counted(monkeypatch)
    ran(settings(), broken)
    levels = [place for stream, *place in counted.asked if stream == batches_module.Stream.LEVEL]
    assert levels == [[number] for number in range(step, 40)]


# What was drawn is counted where it is drawn


class Once(ToyModel):
    """A model of which one validation, or one training step, gives NaN."""

    def __init__(self, validation: int = 0, training: int = 0):
        super().__init__()
        self.left = {False: validation, True: training}

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Any, crop_origins: Any = ()
    ) -> Tensor:
        out = super().denoise(noisy, sigma, conditioning)
        self.left[out.requires_grad] -= 1
        return out * float("nan") if self.left[out.requires_grad] == 0 else out


def plain_bytes(state: Any) -> bytes:
    return checkpoint(replace(state, seconds=0.0))


def troubles() -> list[Any]:
    """A validation is six calls of the model on two images each: that at the start, then those
    after 5, 10, 20 steps.
    """
    return [
        pytest.param(lambda: Once(validation=8), 5, id="validation after 5 steps"),
        pytest.param(lambda: Once(validation=20), 20, id="validation after 20 steps"),
        pytest.param(lambda: Once(training=12), 11, id="training step 12"),
        pytest.param(lambda: Once(validation=14, training=23), 22, id="one of each"),
    ]


@pytest.mark.parametrize(("model", "at"), troubles())
@pytest.mark.parametrize("chosen", [settings(method=AdamWSettings()), settings()])
def test_a_run_that_went_back_once_and_is_broken_off_ends_with_the_same_bits(
    chosen: TrainingSettings, model: Any, at: int
):
    whole = ran(chosen, model=model())
    assert whole.rollbacks > 0
    for step in range(at, 41):
        failing = model()
        broken = ran(chosen, until=step, model=failing)
        revived = restored(checkpoint(broken), word().vectors)
        assert plain_bytes(ran(chosen, revived, model=failing)) == plain_bytes(whole), step


def test_a_failed_validation_uses_no_draws_and_a_failed_step_its_own():
    validated = ran(settings(), model=Once(validation=8))
    assert (validated.rollbacks, validated.drawn) == (1, 40)
    trained = ran(settings(), model=Once(training=12))
    assert (trained.rollbacks, trained.drawn) == (1, 41)


@pytest.mark.parametrize("steps", [7, 13, 33])
def test_a_validation_that_fails_at_the_end_halves_nothing_of_a_longer_run(steps: int):
    """Its word is the best one before; the run that goes on is the one that never ended."""
    short, long = (settings(count, shape="constant") for count in (steps, 40))
    calls = [one for one in (0, 5, 10, 20) if one <= steps]
    ended = ran(short, model=Once(validation=6 * len(calls) + 1))
    assert (ended.rollbacks, ended.step) == (0, steps)
    assert "validation loss is nan" in ended.closing_trouble
    for keep in ("best", "last"):
        assert ended.kept(keep)["clip_l"].equal(ended.best["clip_l"])
        assert ended.kept_loss(keep) == min(one.loss for one in ended.validations)
    again = restored(checkpoint(ended), word().vectors)
    assert again.closing_trouble == ended.closing_trouble
    longer = ran(long, again)
    assert longer.closing_trouble == ""
    assert plain_bytes(longer) == plain_bytes(ran(long))
