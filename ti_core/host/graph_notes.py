"""What a user should know of the models and captions in a graph before a run on them."""

from collections.abc import Iterator

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ..concept.concept import Concept
from ..concept.placeholder import fold, weighted
from .models.borrow import empty_condition
from .models.overlay import known_words
from .models.patches import without_effect
from .models.text import without_weights


def graph_notes(model: ModelPatcher, clip: CLIP, concept: Concept, word: str) -> Iterator[str]:
    """What training leaves out or replaces, one note after another."""
    if has_weight(concept, word) and (unweighted := without_weights(clip)):
        yield (
            f"Captions give '{word}' a weight, but prompt weights are plain text to "
            f"{', '.join(unweighted)}. Leave the weight out, and use strength in Apply "
            f"Embedding to CLIP."
        )
    if fold(word) in known_words(clip.tokenizer):
        yield (
            f"A word '{word}' is already applied to this CLIP. The trained word replaces it; "
            f"connect the CLIP from before Apply Embedding to CLIP, or choose another trigger "
            f"word."
        )
    if empty := empty_condition(model):
        yield empty
    if idle := without_effect(model):
        yield (
            f"These patches of the model have no effect in training, because they act on "
            f"guidance, on a whole sampling, or on speed alone: {', '.join(idle)}."
        )


def has_weight(concept: Concept, word: str) -> bool:
    """Whether a caption gives the word a weight, `(word:1.2)`."""
    return any(weighted(concept.text(image, word), word) for image in range(len(concept.images)))
