"""The report of a run, in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..concept.audit import other_spellings
from ..concept.concept import FEWEST_TO_HOLD_OUT, Concept, held_out
from ..concept.counted import counted
from ..word.embedding import Embedding
from ..word.vocabulary import Vocabulary
from .health_checks import embedding_warnings, settings_warnings, turned
from .loop import is_over
from .objective import Objective
from .run import MAX_ROLLBACKS, OVERSHOOT_FACTOR, Ended, RunState
from .settings import TrainingSettings

ENDED: dict[Ended, str] = {
    "steps": "Finished at step {step} of {planned}.",
    "rule": "Stopped at step {step} of {planned}: the validation loss stopped improving.",
    "user": "Stopped by the user at step {step}; what was learned is kept. To continue, set a "
    "different number of steps.",
    "memory": "Stopped at step {step}: there is not enough memory, even with gradient "
    "checkpointing, a micro-batch of 1, activations in main memory, and most of the weights there. "
    "Lower the resolution, or free memory (close other models and programs).",
    "not finite": "Stopped at step {step}: {trouble} Going back and halving the learning rate "
    "{rollbacks} did not help. What was learned before is kept.",
}


class Outcome(NamedTuple):
    """How a run went: its state, the settings, how many steps it had when it was taken up, the
    vocabulary beside the word, bytes of memory at the peak (None where nobody counts them), where
    it is stored ('' for nowhere), and what else to say.
    """

    state: RunState
    settings: TrainingSettings
    taken_up_at: int
    vocabulary: Mapping[str, Vocabulary]
    peak: int | None = None
    stored: str = ""
    notes: Sequence[str] = ()


def training_report(concept: Concept, embedding: Embedding, outcome: Outcome) -> str:
    """Lines about what was learned, and at the end anything that needs a look."""
    if not outcome.state.step:
        nothing = (
            f"Nothing was learned for '{embedding.placeholder}': no step was completed. The nodes "
            f"after the training are skipped, and nothing is saved."
        )
        return "\n".join([nothing, *outcome.notes])
    lines = [
        f"Learned '{embedding.placeholder}' ({embedding.shapes}) from "
        f"{counted(len(concept.images), 'image')}, {beginning(embedding)}.",
        *cost(outcome),
        gain(embedding, outcome),
        why_ended(outcome.state),
        *what_was_asked(outcome),
        *figures(embedding, outcome),
    ]
    lines += queued_again(outcome)
    return "\n".join([*lines, *warnings(concept, embedding, outcome)])


def queued_again(outcome: Outcome) -> list[str]:
    """Where the run is stored, and what the same run does when it is queued again."""
    if not outcome.stored:
        anew = outcome.state.ended == "user"
        return (
            ["It is not stored: with another number of steps it starts from the beginning."]
            if anew
            else []
        )
    again = "its word is loaded" if is_over(outcome.state, outcome.settings) else "it continues"
    return [f"Stored in {outcome.stored}. If you queue the same run again, {again} from there."]


def why_ended(state: RunState) -> str:
    """Why a run is at its end, in words."""
    if state.ended == "user" and not state.step:
        return "Stopped by the user before the first step; nothing was learned."
    return ENDED[state.ended].format(
        step=state.step,
        planned=state.planned,
        trouble=state.trouble,
        rollbacks=counted(MAX_ROLLBACKS, "time"),
    )


def what_was_asked(outcome: Outcome) -> list[str]:
    """Noise levels, and whatever else of the objective is not as usual."""
    objective, levels = outcome.settings.objective, outcome.state.origin.get("noise_levels")
    said = [f"Noise levels: {levels}"] if levels else []
    if objective.weighting != "none":
        gamma = "" if objective.weighting == "debiased" else f", gamma {objective.gamma:g}"
        said.append(f"weighting: {objective.weighting}{gamma}")
    if objective.offset_noise:
        said.append(f"offset noise: {objective.offset_noise:g}")
    if objective.guidance != Objective.guidance:
        said.append(f"guidance: {objective.guidance:g}")
    return ["; ".join(said) + "."] if said else []


def explained(first: float, last: float) -> float:
    """Per cent of a validation loss that is gone."""
    return 100.0 * (first - last) / first


def cost(outcome: Outcome) -> list[str]:
    """Steps, time and memory."""
    state = outcome.state
    lines = [
        f"{counted(state.step, 'step')} in {state.seconds:.1f} s "
        f"({state.seconds / state.step:.2f} s per step)."
    ]
    if outcome.taken_up_at == state.step:
        lines.append("All steps were done in an earlier run; nothing was trained now.")
    elif outcome.taken_up_at:
        lines.append(f"Of these, {counted(outcome.taken_up_at, 'step')} came from an earlier run.")
    if outcome.peak is not None:
        lines.append(f"Peak memory: {outcome.peak / 2**30:.2f} GiB.")
    return lines


def gain(embedding: Embedding, outcome: Outcome) -> str:
    """What the validation says of the vectors that were kept."""
    state, keep = outcome.state, outcome.settings.keep
    first = state.initializer_loss or state.validations[0].loss
    last = state.kept_loss(keep)
    best = state.choice.step
    steps = f"step {best}" if keep == "best" else f"step {state.step}, best at {best}"
    start = f"'{embedding.initializer}'" if embedding.has_origin else "the word as it was loaded"
    return (
        f"Validation loss {first:.5f} -> {last:.5f} ({keep} vectors, {steps}): "
        f"{explained(first, last):.1f} % lower than with {start}."
    )


def beginning(embedding: Embedding) -> str:
    """What the training started from."""
    if embedding.has_origin:
        return f"initialized from '{embedding.initializer}'"
    return "trained on from the vectors that were loaded"


def figures(embedding: Embedding, outcome: Outcome) -> list[str]:
    """Length, angle and neighbors of each encoder's vectors."""
    lines = []
    for key, rows in embedding.vectors.items():
        known = outcome.vocabulary[key]
        norm = float(rows.norm(dim=-1).mean())
        line = f"{key} vectors: norm {norm:.3f} (vocabulary {known.norm:.3f})"
        if embedding.has_origin:
            angle = turned(embedding.initial[key], rows)
            line += f", turned by {angle:.0f} degrees from '{embedding.initializer}'"
        near = dict.fromkeys(one.token for row in known.nearest for one in row)
        lines.append(f"{line}; nearest words: {', '.join(near)}.")
    return lines


def warnings(concept: Concept, embedding: Embedding, outcome: Outcome) -> list[str]:
    """What needs a look."""
    norms = {key: known.norm for key, known in outcome.vocabulary.items()}
    lines = [
        *outcome.notes,
        *settings_warnings(outcome.settings, embedding.vectors, norms),
        *embedding_warnings(embedding.placeholder, embedding.vectors, norms, outcome.state.history),
    ]
    if outcome.state.rollbacks and outcome.state.ended != "not finite":
        lines.append(
            f"The run went back to its best vectors and halved the learning rate "
            f"{counted(outcome.state.rollbacks, 'time')}. The last cause: {outcome.state.trouble}"
        )
    if outcome.state.overshoots:
        lines.append(
            f"The first steps made the word worse than its start "
            f"({counted(outcome.state.overshoots, 'time')}), so the training went back to the "
            f"start, and on with {OVERSHOOT_FACTOR**outcome.state.overshoots:g} of the learning "
            f"rate."
        )
    if outcome.state.closing_trouble:
        lines.append(
            f"The word after the last step was not kept, so this is the best one before it: "
            f"{outcome.state.closing_trouble}"
        )
    if outcome.settings.hold_out and not held_out(concept):
        lines.append(
            f"No image was held out for validation: that needs {FEWEST_TO_HOLD_OUT} images or "
            f"more, and there {'is' if len(concept.images) == 1 else 'are'} "
            f"{len(concept.images)}."
        )
    lacking = concept.lacking(embedding.placeholder)
    if lacking:
        lines.append(
            f"The trigger word was missing from the captions of {counted(len(lacking), 'image')} "
            f"and was put in front: {', '.join(image.name for image in lacking)}."
        )
    return [*lines, *other_spellings(concept, embedding.placeholder)]
