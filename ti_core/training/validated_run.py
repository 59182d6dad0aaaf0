"""A run: training that is validated, keeps its best, recovers, and ends when nothing more comes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..concept.concept import Concept, held_out
from ..word.embedding import Embedding
from .frozen_model import FrozenModel
from .latents import Latents
from .loop import Batch, NotFinite, StepReport, TrainingSettings, train
from .optimisers import method
from .run import MOST_ROLLBACKS, RunState, begun
from .stopping import StoppingRule, nothing_more
from .validation import SAMPLES, validation_batches, validation_every, validation_loss


@dataclass(frozen=True)
class Ending:
    """When a run ends before its last step: by the rule, unless it is None. `average` has the
    average of the last vectors validated at the end.
    """

    rule: StoppingRule | None = StoppingRule()
    average: bool = False


def begin(model: FrozenModel, embedding: Embedding, settings: TrainingSettings) -> RunState:
    """A run before its first step."""
    start = method(settings.method, embedding.vectors, model.vocabulary_norms)
    return begun(start.vectors, model.loss_scale)


def run(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    embedding: Embedding,
    settings: TrainingSettings,
    ending: Ending,
    state: RunState,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[RunState]:
    """Bring `state` from where it is to the end, and yield it before the first step and after each
    one; it is consistent whenever this is interrupted.

    A step that gives NaN or infinity is undone: the run goes on from the best vectors with half the
    learning rate, `MOST_ROLLBACKS` times at most. Raises what `train` raises, and NotFinite if not
    even the first step can be made. `should_stop` is asked after every step.
    """
    if last_step(state, settings, ending) is None:
        state.last_step, state.by_rule = None, False
    drawn = fixed_samples(model, concept, latents, embedding, settings)
    every = validation_every(SAMPLES, settings.batch_size * settings.accumulation)
    measure_initialiser(model, drawn, embedding, state)
    steps: Iterator[StepReport] | None = None
    while True:
        try:
            if steps is not None:
                state.advance(next(steps))
            if state.step % every == 0 and not state.validated:
                state.validate(validation_loss(model, drawn, state.vectors))
        except NotFinite as error:
            if state.step == 0:
                raise
            state.roll_back(str(error))
            steps = None
        if state.last_step is None and begin_end(state, settings, ending):
            steps = None
        yield state
        if should_stop() or why_ended(state, settings, ending):
            break
        planned = plan(state, settings, ending)
        steps = steps or train(model, concept, latents, embedding, planned, state.start)
    measure_end(model, drawn, ending, state)


def fixed_samples(
    model: FrozenModel,
    concept: Concept,
    latents: Sequence[Latents],
    embedding: Embedding,
    settings: TrainingSettings,
) -> list[Batch]:
    """What the run is validated on."""
    among = held_out(concept) if settings.hold_out else ()
    return validation_batches(
        model,
        concept,
        latents,
        embedding.placeholder,
        settings.seed,
        SAMPLES,
        settings.batch_size,
        among,
    )


def measure_initialiser(
    model: FrozenModel, drawn: Sequence[Batch], embedding: Embedding, state: RunState
) -> None:
    """Measure the 100 % line, and the vectors that the run starts with; a word that was trained
    before starts below it.
    """
    if not state.validations:
        state.validate(validation_loss(model, drawn, state.vectors))
    if state.initialiser_loss is None:
        trained = embedding.has_origin and any(
            not rows.equal(embedding.initial[key]) for key, rows in embedding.vectors.items()
        )
        first = state.validations[0].loss
        state.initialiser_loss = (
            validation_loss(model, drawn, embedding.initial) if trained else first
        )


def measure_end(
    model: FrozenModel, drawn: Sequence[Batch], ending: Ending, state: RunState
) -> None:
    """Validate the last vectors, which may be the best, and their average if it is asked for."""
    if not state.validated and state.closing_loss is None:
        try:
            state.closing_loss = validation_loss(model, drawn, state.vectors)
        except NotFinite as error:
            state.roll_back(str(error))
    if ending.average and state.average_loss is None:
        state.average_loss = validation_loss(model, drawn, state.kept("average"))


def begin_end(state: RunState, settings: TrainingSettings, ending: Ending) -> bool:
    """Begin the end of a run, if the rule says so or the last steps are reached: the learning rate
    falls, if it was held until now, and the vectors go back to the best that were found meanwhile.
    """
    planned, cools = settings.schedule, settings.schedule.cools_from
    by_rule = ending.rule is not None and nothing_more(state.validations, ending.rule)
    if state.step >= planned.steps or not (by_rule or cools is not None and state.step >= cools):
        return False
    state.last_step = planned.end_after(state.step) if by_rule else planned.steps
    state.by_rule = by_rule
    if cools is not None:
        state.cool_down()
    return True


def last_step(state: RunState, settings: TrainingSettings, ending: Ending) -> int | None:
    """Where a run ends whose end has begun; None if it has not, or if it may go on now: with more
    steps than it was cooled down for, or without the rule that ended it.
    """
    steps = settings.schedule.steps
    if state.last_step is None or (state.by_rule and ending.rule is None):
        return None
    return min(state.last_step, steps) if state.by_rule or state.last_step >= steps else None


def plan(state: RunState, settings: TrainingSettings, ending: Ending) -> TrainingSettings:
    """The settings, with the end that has begun."""
    steps = last_step(state, settings, ending) or settings.schedule.steps
    return replace(settings, schedule=replace(settings.schedule, steps=steps))


def why_ended(state: RunState, settings: TrainingSettings, ending: Ending) -> str:
    """Why a run is at its end, in words; nothing if it can go on."""
    if state.rollbacks > MOST_ROLLBACKS:
        return (
            f"Stopped at step {state.step}: {state.trouble} Going back and halving the learning "
            f"rate {MOST_ROLLBACKS} times did not help; what was learned before is kept."
        )
    if state.step >= settings.schedule.steps:
        return f"All {settings.schedule.steps} steps are done."
    if state.step >= plan(state, settings, ending).schedule.steps:
        return (
            f"Stopped at step {state.step} of {settings.schedule.steps}: nothing more was learned."
        )
    return ""
