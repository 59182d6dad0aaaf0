"""Runs of the engine: they go on exactly where they were, recover, and end by themselves."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import ToyModel, batches, concept, ran, settings, word

from ti_core.store.checkpoint import checkpoint, restored
from ti_core.training.batches import Batch, NotFinite
from ti_core.training.loop import is_over, train
from ti_core.training.optimizers import AdamW, AdamWSettings, SphericalSettings
from ti_core.training.report import why_ended
from ti_core.training.run import (
    MAX_OVERSHOOTS,
    MAX_ROLLBACKS,
    OVERSHOOT_FACTOR,
    Ended,
    RunState,
)
from ti_core.training.schedule import schedule
from ti_core.training.settings import TrainingSettings
from ti_core.training.stopping import StoppingRule, Validation, best_of, significantly_worse
from ti_core.training.validation import fixed_samples, validation_losses
from ti_core.word.embedding import Embedding

METHODS = [SphericalSettings(), AdamWSettings(norm_pull=0.01)]


def same(one: RunState, other: RunState) -> bool:
    """Whether two states are equal bit for bit, apart from the time that they took."""
    return checkpoint(replace(one, seconds=0.0)) == checkpoint(replace(other, seconds=0.0))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_any_step_ends_with_the_same_bits(method: Any):
    chosen = settings(method=method)
    whole = ran(chosen)
    for step in range(41):
        broken = ran(chosen, until=step)
        revived = restored(checkpoint(broken), word().vectors)
        assert same(ran(chosen, revived), whole), step


def test_a_run_killed_after_every_step_ends_with_the_same_bits():
    chosen = settings(accumulation=2, method=AdamWSettings())
    state = ran(chosen, until=0)
    for step in range(1, 41):
        state = ran(chosen, restored(checkpoint(state), word().vectors), until=step)
    assert same(ran(chosen, state), ran(chosen))


class Interrupting(ToyModel):
    """A model in the middle of whose work somebody cancels."""

    def __init__(self, calls: int):
        super().__init__()
        self.calls = calls

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        self.calls -= 1
        if self.calls == 0:
            raise KeyboardInterrupt
        return super().denoise(noisy, sigma, conditioning)


def test_a_run_cancelled_at_any_moment_goes_on_as_if_nothing_had_been():
    chosen = settings()
    whole = ran(chosen)
    images, latents = concept()
    for calls in range(1, 100):
        seen: list[RunState] = []
        try:
            for now in train(Interrupting(calls), images, latents, word(), chosen):
                seen = [now]
        except KeyboardInterrupt:
            revived = restored(checkpoint(seen[0]), word().vectors) if seen else None
            assert same(ran(chosen, revived), whole), calls
        else:
            break
    assert calls > 40


def test_more_steps_go_on_and_a_finished_run_is_left_alone():
    constant = replace(settings(20), schedule=schedule("0.05", 20, "constant"))
    longer = replace(constant, schedule=schedule("0.05", 40, "constant"))
    first = ran(constant)
    before = checkpoint(first)
    assert same(ran(constant, first), restored(before, word().vectors))
    assert same(ran(longer, first), ran(longer))


def test_validations_come_often_at_first_and_the_last_step_is_validated():
    wild = replace(settings(), schedule=schedule("0.3", 90, "constant"))
    assert [one.step for one in ran(wild).history] == [0, 5, 10, 20, 40, 80, 90]


@pytest.mark.parametrize("steps", [3, 7, 33, 60, 100, 130])
def test_a_run_of_any_length_gives_nothing_clearly_worse_than_what_it_validated(steps: int):
    """Judged on the samples that it is validated on, by the vectors themselves."""
    model, (images, latents) = ToyModel(), concept()
    for rate in ("0.02", "0.3"):
        chosen = replace(settings(), schedule=schedule(rate, steps, "auto"))
        state = ran(chosen)
        fixed = fixed_samples(model, images, latents, "my-cat", chosen)
        given = validation_losses(model, fixed, state.kept("best"))
        assert not significantly_worse(given, best_of(state.validations).samples)
        assert float(given.mean()) == pytest.approx(state.kept_loss("best"))


@pytest.mark.parametrize(("worse", "chosen"), [(0.1, 2), (1.0, 1)])
@pytest.mark.parametrize("closing", [False, True])
def test_the_last_word_is_given_unless_it_is_worse_by_more_than_chance(
    worse: float, chosen: int, closing: bool
):
    """The differences of the samples spread by 1, so that of nine of them the mean by a third."""
    state = ran(settings(2), until=2)
    best = torch.arange(9, dtype=torch.float64)
    last = best + worse + torch.tensor([-1.0, 0.0, 1.0] * 3, dtype=torch.float64) * 1.2
    state.validations = [Validation(0, 9.0), Validation(1, 4.0, best)]
    state.best = {"clip_l": torch.zeros(0, 1)}
    if closing:
        state.close(last)
    else:
        state.validate(last)
    assert state.choice == Validation(chosen, 4.0 if chosen == 1 else 4.0 + worse)
    assert len(state.kept("best")["clip_l"]) == (0 if chosen == 1 else 2)
    assert state.kept("last")["clip_l"].equal(state.mean["clip_l"])


def test_a_run_can_be_looked_at_as_it_was():
    state = RunState({}, {}, {}, 1.0)
    state.validate(torch.tensor([4.0, 4.0]))
    for step in range(1, 9):
        state.advance(step, 0.1, {}, {"clip_l": torch.zeros(1, 2) + step}, {}, 1.0)
        if step == 5:
            state.validate(torch.tensor([3.0, 3.0]))
    state.close(torch.tensor([2.0, 2.0]))
    before = state.as_of(6, {"clip_l": torch.zeros(1, 2) + 6})
    assert (before.step, before.choice, before.kept_loss("last")) == (6, Validation(5, 3.0), 3.0)
    assert before.kept("last")["clip_l"].equal(torch.zeros(1, 2) + 6)
    assert state.step == 8


@pytest.mark.parametrize("method", METHODS)
def test_what_a_run_gives_after_some_steps_does_not_depend_on_how_many_were_planned(method: Any):
    long = replace(settings(method=method), schedule=schedule("0.05", 400, "auto"))
    for steps in (5, 17, 40):
        short = ran(replace(long, schedule=schedule("0.05", steps, "auto")))
        assert short.kept("last")["clip_l"].equal(ran(long, until=steps).kept("last")["clip_l"])
        for keep in ("best", "last"):
            assert short.kept(keep)["clip_l"].equal(stopped(steps, long).kept(keep)["clip_l"])


def test_the_word_is_the_mean_over_the_last_quarter_or_so():
    """Of the vectors after each step, those of which count most that come late."""
    chosen = replace(settings(100, method=AdamWSettings()), schedule=schedule("0.05", 100, "auto"))
    steps = [ran(chosen, until=step).vectors["clip_l"].clone() for step in range(1, 101)]
    shares = torch.ones(100)
    for step in range(1, 101):
        shares[: step - 1] *= 1 - 4 / (step + 3)
        shares[step - 1] = 4 / (step + 3)
    mean = (torch.stack(steps) * shares[:, None, None]).sum(0)
    torch.testing.assert_close(ran(chosen, until=100).mean["clip_l"], mean)
    assert 0.6 < float(shares[75:].sum()) < 0.75


def test_the_mean_of_the_spherical_method_lies_on_its_sphere():
    state = ran(settings())
    norms = state.mean["clip_l"].norm(dim=-1)
    torch.testing.assert_close(norms, torch.full_like(norms, 0.4))
    assert not state.mean["clip_l"].equal(state.vectors["clip_l"])


def test_the_first_of_equally_good_vectors_are_the_best():
    """What comes later at the same loss has moved for nothing."""
    state = ran(settings(2))
    state.validations, first = [], state.mean["clip_l"].clone()
    state.validate(torch.ones(3))
    state.mean = {"clip_l": torch.zeros_like(first)}
    state.validate(torch.ones(3))
    assert state.best["clip_l"].equal(first)


class Poisoned(ToyModel):
    """A model in whose training steps NaN appears, at the step or the gradient that is named."""

    def __init__(self, at: tuple[int, ...], where: str):
        super().__init__()
        self.at, self.where, self.training_calls = at, where, 0

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        out = super().denoise(noisy, sigma, conditioning)
        if not out.requires_grad:
            return out
        self.training_calls += 1
        if self.training_calls not in self.at:
            return out
        if self.where == "loss":
            return out * float("nan")
        out.register_hook(lambda gradient: gradient * float("inf"))
        return out


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("times", [1, 3])
def test_nan_goes_back_to_the_best_vectors_and_halves_the_rate(where: str, times: int):
    model = Poisoned(tuple(range(21, 21 + times)), where)
    chosen = settings(method=AdamWSettings())
    state = ran(chosen, model=model)
    plain = ran(chosen)
    assert state.step == 40
    assert state.rollbacks == times
    assert state.rates[:20] == plain.rates[:20]
    assert state.rates[20:] == pytest.approx([rate * 0.5**times for rate in plain.rates[20:]])
    assert all(rows.isfinite().all() for rows in state.vectors.values())
    assert "not finite" in state.trouble or "is nan" in state.trouble


def test_nan_too_often_stops_with_the_best_and_the_reason():
    chosen = settings()
    state = ran(chosen, model=Poisoned(tuple(range(36, 200)), "loss"))
    assert (state.step, state.rollbacks) == (35, MAX_ROLLBACKS + 1)
    assert state.ended == "not finite"
    assert why_ended(state).startswith("Stopped at step 35: The loss is nan.")
    assert "halving the learning rate 3 times did not help" in why_ended(state)
    assert state.kept_loss("best") < state.validations[0].loss
    revived = restored(checkpoint(state), word().vectors)
    assert same(ran(chosen, revived), state)


def test_a_run_that_went_back_forgets_the_way_on_which_it_failed():
    """The method's memory leads back there; what it went back to is validated already."""
    images, latents = concept()
    chosen = settings(method=AdamWSettings())
    for state in train(Poisoned((36,), "loss"), images, latents, word(), chosen):
        if state.rollbacks:
            break
    else:
        pytest.fail("the run did not go back")
    best = best_of(state.validations)
    assert (state.step, state.memory) == (35, {})
    assert state.vectors["clip_l"].equal(state.best["clip_l"])
    assert state.mean["clip_l"].equal(state.best["clip_l"])
    assert state.validations[-1] == Validation(35, best.loss)
    assert state.validations[-2].step < 35


def test_a_run_goes_back_three_times_at_most():
    assert MAX_ROLLBACKS == 3


def test_vectors_that_are_no_numbers_undo_the_step(monkeypatch: pytest.MonkeyPatch):
    real, calls = AdamW.step, []

    def step(self: AdamW, learning_rate: float) -> None:
        real(self, learning_rate)
        calls.append(learning_rate)
        if len(calls) == 31:
            self.vectors["clip_l"].detach().fill_(float("inf"))

    monkeypatch.setattr(AdamW, "step", step)
    state = ran(settings(method=AdamWSettings()))
    assert (state.step, state.rollbacks) == (40, 1)
    assert state.trouble.startswith("Step 31 moved the clip_l vectors to values that are not")
    assert bool(state.vectors["clip_l"].isfinite().all())


def test_a_killed_run_that_had_recovered_ends_with_the_same_bits():
    chosen = settings(method=AdamWSettings())
    whole = ran(chosen, model=Poisoned((11,), "loss"))
    for step in range(10, 41):
        model = Poisoned((11,), "loss")
        broken = ran(chosen, until=step, model=model)
        revived = restored(checkpoint(broken), word().vectors)
        assert same(ran(chosen, revived, model=model), whole), step


class BadSample(ToyModel):
    """A model that cannot bear one of the draws, however often it sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.seen_noisy = Tensor(), 0

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[Tensor], crop_origins: Any = ()
    ) -> Tensor:
        self.seen_noisy += conditioning[0].requires_grad
        if self.seen_noisy == 21 and not self.bad.numel():
            self.bad = noisy.clone()
        out = super().denoise(noisy, sigma, conditioning)
        return out * float("nan") if noisy.equal(self.bad) else out


def test_a_sample_that_breaks_a_step_is_not_met_again():
    state = ran(settings(), model=BadSample())
    assert (state.step, state.rollbacks) == (40, 1)


def test_nan_in_the_first_step_is_an_error():
    with pytest.raises(NotFinite, match="The loss is nan"):
        ran(settings(), model=Poisoned((1,), "loss"))


class Diverging(ToyModel):
    """A model whose validation, not its training, overflows once the vectors have moved."""

    def encode(self, captions: Any, vectors: Mapping[str, Tensor]) -> list[Tensor]:
        out = super().encode(captions, vectors)
        moved = not vectors["clip_l"].requires_grad and len(self.seen) > 40
        return [one * float("inf") for one in out] if moved else out


def test_a_validation_that_is_no_number_goes_back_too():
    state = ran(settings(60), model=Diverging())
    assert state.rollbacks >= 1
    assert all(one.loss < float("inf") for one in state.validations)
    assert "validation loss is" in state.trouble


def test_the_run_stops_when_nothing_more_is_learned_and_not_before():
    rule = StoppingRule(patience=0.25, improvement=0.05, minimum=60)
    chosen = settings(3000, "0.02", method=AdamWSettings())
    state = ran(replace(chosen, rule=rule))
    assert 60 <= state.step < 1500
    assert state.ended == "rule"
    assert why_ended(state).endswith("of 3000: the validation loss stopped improving.")
    whole = ran(replace(chosen, schedule=schedule("0.02", 1500, "constant")))
    first, lowest = whole.validations[0].loss, best_of(whole.validations).loss
    assert first - state.kept_loss("best") > 0.9 * (first - lowest)


def test_the_rule_saves_steps_within_a_default_run():
    chosen = replace(settings(400, "0.4", "inverse sqrt", batch_size=1), rule=StoppingRule())
    state, whole = ran(chosen), ran(replace(chosen, rule=None))
    assert (state.ended, whole.step) == ("rule", 400)
    assert 160 <= state.step < 400
    first, lowest = whole.validations[0].loss, whole.kept_loss("best")
    assert first - state.kept_loss("best") > 0.95 * (first - lowest)


EAGER = StoppingRule(patience=0.25, improvement=0.1, minimum=40)


@pytest.mark.parametrize("shape", ["auto", "cosine", "cool-down"])
def test_a_run_that_ends_by_its_rule_may_be_killed_meanwhile(shape: Any):
    chosen = replace(settings(), schedule=schedule("0.05", 3000, shape), rule=EAGER)
    whole = ran(chosen)
    assert whole.ended == "rule"
    for step in range(whole.step - 5, whole.step + 1):
        revived = restored(checkpoint(ran(chosen, until=step)), word().vectors)
        assert same(ran(chosen, revived), whole), step


def test_a_run_that_ended_by_itself_is_left_alone_unless_the_rule_is_taken_away():
    def asked(steps: int, rule: StoppingRule | None) -> TrainingSettings:
        return replace(settings(), schedule=schedule("0.05", steps, "auto"), rule=rule)

    state = ran(asked(3000, EAGER))
    before, ended = checkpoint(replace(state, planned=9000)), state.step
    assert state.ended == "rule"
    assert checkpoint(ran(asked(9000, EAGER), state)) == before
    assert is_over(state, asked(ended + 40, EAGER))
    assert not is_over(state, asked(ended + 40, None))
    state = ran(asked(ended + 40, None), state)
    assert (state.step, state.ended) == (ended + 40, "steps")
    assert same(state, ran(asked(ended + 40, None)))


def stopped(at: int, chosen: TrainingSettings) -> RunState:
    """A run that the user stops after a step."""
    images, latents = concept()
    state = None
    for state in train(ToyModel(), images, latents, word(), chosen):
        if state.step == at:
            state.ended = "user"
    assert state is not None
    return state


def test_stop_and_keep_ends_after_the_step_and_validates_what_is_there():
    state = stopped(7, settings())
    assert (state.step, state.ended) == (7, "user")
    assert state.history[-1].step == 7
    assert why_ended(state).startswith("Stopped by the user at step 7")


def test_a_run_that_the_user_stopped_stays_so_until_other_steps_are_asked_for():
    """Also after a restart: the same graph gives the word that was kept."""
    asked, more = settings(40, shape="constant"), settings(41, shape="constant")
    revived = restored(checkpoint(stopped(7, asked)), word().vectors)
    assert is_over(revived, asked)
    assert not is_over(revived, more)
    assert same(ran(more, revived), ran(more))


@pytest.mark.parametrize(
    ("at", "ended"), [(0, "user"), (3, "memory"), (7, "memory"), (0, "memory"), (5, "")]
)
def test_a_run_that_gave_nothing_or_broke_off_is_not_over_and_goes_on_to_its_end(
    at: int, ended: Ended
):
    asked = settings(40, shape="constant")
    images, latents = concept()
    state = None
    for state in train(ToyModel(), images, latents, word(), asked):
        if state.step == at:
            break
    assert state is not None
    state.ended, state.planned = ended, 40
    assert not is_over(state, asked)
    assert same(ran(asked, state), ran(asked))


def test_a_run_that_was_broken_off_after_its_last_step_is_still_measured():
    broken = ran(settings(), until=40)
    revived = restored(checkpoint(broken), word().vectors)
    assert not is_over(revived, settings())
    assert same(ran(settings(), revived), ran(settings()))


def test_a_trained_word_is_measured_against_its_initializer():
    trained = replace(word(), vectors=ran(settings()).kept("best"))
    state = ran(settings(5), made=trained)
    assert state.initializer_loss is not None
    assert state.validations[0].loss < state.initializer_loss


def number_of(latents: list[Tensor], batch: Batch) -> set[int]:
    """Numbers of the images in a batch."""
    return {
        n for n, one in enumerate(latents) if bool((batch.latents == one).flatten(1).all(1).any())
    }


@pytest.mark.parametrize(("count", "held"), [(9, set()), (10, {4, 9})])
def test_held_out_images_are_validated_with_and_never_trained_on(count: int, held: set[int]):
    chosen = settings(hold_out=True, batch_size=1)
    model, (images, latents) = ToyModel(), concept(count)
    drawn = fixed_samples(model, images, latents, "my-cat", chosen)
    validated = set().union(*(number_of(latents, batch) for batch in drawn))
    assert validated == (held or set(range(count)))
    draws = batches(model, images, latents, "my-cat", chosen)
    trained = set().union(*(number_of(latents, next(draws)) for _ in range(3 * count)))
    assert trained == set(range(count)) - held


def test_a_small_memory_splits_batches_and_changes_the_result_by_rounding_only():
    whole = ran(settings(10, batch_size=4))
    model = ToyModel()
    model.rows = 3
    split = ran(settings(10, batch_size=4), model=model)
    assert split.losses == pytest.approx(whole.losses, rel=1e-4)
    torch.testing.assert_close(split.vectors, whole.vectors)


def test_the_state_is_its_own():
    state = ran(settings(3))
    kept = copy.deepcopy(state)
    state.kept("last")["clip_l"].zero_()
    state.kept("best")["clip_l"].zero_()
    assert same(state, kept)


def learned_word() -> Embedding:
    """A word that a long run has learned: there is nothing to find around it."""
    made = word()
    best = ran(settings(400, "0.3", method=SphericalSettings(prior=0))).mean
    return replace(made, vectors=best, initial=best)


def test_first_steps_that_only_lead_away_are_taken_back_and_the_rate_is_quartered():
    made, chosen = learned_word(), settings(rate="1.5", method=SphericalSettings(prior=0))
    states = list(train(ToyModel(), *concept(), made, chosen))
    state = states[-1]
    assert 0 < state.overshoots <= MAX_OVERSHOOTS and state.rollbacks == 0
    first = next(step for step, rate in enumerate(state.rates) if rate < chosen.schedule(step))
    assert state.validations[1].step == first  # It is the first validation that sees it.
    assert state.validations[1].loss == state.validations[0].loss
    assert state.rates[first] == chosen.schedule(first) * OVERSHOOT_FACTOR
    assert state.kept_loss("best") < 1.02 * state.validations[0].loss


def test_a_run_that_took_its_first_steps_back_goes_on_exactly_where_it_was():
    made, chosen = learned_word(), settings(rate="1.5")
    whole = ran(chosen, made=made)
    assert whole.overshoots
    for step in range(0, 41, 3):
        revived = restored(checkpoint(ran(chosen, until=step, made=made)), made.vectors)
        assert same(ran(chosen, revived, made=made), whole), step


def test_a_start_that_can_be_improved_is_left_with_its_rate():
    assert [ran(settings(seed=seed)).overshoots for seed in range(8)] == [0] * 8
