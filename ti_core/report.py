"""The report of a run, in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .concept import Concept
from .embedding import Embedding


class Outcome(NamedTuple):
    """What a run measured: losses per step, validation loss before and after, seconds, and the
    vectors' norms beside the vocabulary's, per encoder key.
    """

    losses: Sequence[float]
    before: float
    after: float
    seconds: float
    norms: Mapping[str, float]
    vocabulary_norms: Mapping[str, float]


def explained(outcome: Outcome) -> float:
    """Per cent of the validation loss that the learned word removes, compared with its
    initialiser.
    """
    return 100.0 * (outcome.before - outcome.after) / outcome.before


def training_report(concept: Concept, embedding: Embedding, outcome: Outcome) -> str:
    """Lines about what was learned, and anything that needs a look."""
    steps = len(outcome.losses)
    keys = ", ".join(f"{key} {tuple(rows.shape)}" for key, rows in embedding.vectors.items())
    lines = [
        f"Learned '{embedding.placeholder}' ({keys}) from {len(concept.names)} pictures, "
        f"starting at '{embedding.initialiser}'.",
        f"{steps} steps in {outcome.seconds:.1f} s ({outcome.seconds / steps:.2f} s per step).",
        f"Validation loss {outcome.before:.5f} -> {outcome.after:.5f}: the learned word explains "
        f"{explained(outcome):.1f} % more than '{embedding.initialiser}' does.",
    ]
    lines += [
        f"Norm of the {key} vectors {norm:.3f} (vocabulary: {outcome.vocabulary_norms[key]:.3f})."
        for key, norm in outcome.norms.items()
    ]
    if outcome.after >= outcome.before:
        lines.append(
            "Nothing was learned: the validation loss did not fall. Try more steps, another "
            "initialiser, or another learning rate."
        )
    lacking = concept.lacking(embedding.placeholder)
    if lacking:
        lines.append(
            f"The placeholder was missing from the captions of {len(lacking)} pictures and was put "
            f"in front: {', '.join(lacking)}."
        )
    return "\n".join(lines)
