"""BlendTextualInversions: one word out of two, or of fewer vectors."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.word.blending import (
    Mix,
    average,
    blended,
    check_second,
    concatenate,
    slerp,
    subtract,
    with_fewer_vectors,
)
from ..ti_core.word.embedding import Embedding
from ..ti_core.word.formats.file_names import check_new_word
from ..ti_core.word.inspection import inspection_report
from .checked import CheckedNode, checked
from .sockets import CATEGORY, EmbeddingSocket

BALANCE = io.Float.Input(
    "balance",
    default=0.5,
    min=0.0,
    max=1.0,
    step=0.05,
    tooltip="0 = the first word, 1 = the second, 0.5 = equal parts. 0.3 to 0.7 is usual.",
)
AMOUNT = io.Float.Input(
    "amount",
    default=0.5,
    min=-2.0,
    max=2.0,
    step=0.05,
    tooltip="How much of the second word is subtracted; 0.2 to 1 is usual. Negative values add it.",
)
MIXES = {"average": average, "slerp": slerp, "subtract": subtract}


class BlendTextualInversions(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="BlendTextualInversions",
            display_name="Blend Embeddings",
            category=CATEGORY,
            description="Mixes two words for the same kind of model into a new one, or reduces the "
            "number of vectors of a word.",
            search_aliases=["textual inversion", "merge embeddings", "slerp", "compress embedding"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                EmbeddingSocket.Input("first", tooltip="The first word."),
                EmbeddingSocket.Input(
                    "second",
                    optional=True,
                    tooltip="The second word, made for the same text encoders. Not needed for "
                    "'first only'.",
                ),
                io.String.Input(
                    "placeholder",
                    display_name="trigger word",
                    default="my-blend",
                    tooltip="The new word, as you will write it in prompts.",
                ),
                io.DynamicCombo.Input(
                    "mode",
                    options=[
                        io.DynamicCombo.Option("slerp", [BALANCE]),
                        io.DynamicCombo.Option("average", [BALANCE]),
                        io.DynamicCombo.Option("concatenate", []),
                        io.DynamicCombo.Option("subtract", [AMOUNT]),
                        io.DynamicCombo.Option("first only", []),
                    ],
                    tooltip="'slerp' interpolates directions and keeps the norm (the usual "
                    "choice). 'average' is the arithmetic mean, which is shorter and weaker. "
                    "'concatenate' puts one after the other. 'subtract' removes the second from "
                    "the first. 'first only' keeps the first, to rename or shorten it.",
                ),
                io.Int.Input(
                    "vectors",
                    default=0,
                    min=0,
                    max=256,
                    advanced=True,
                    tooltip="Maximum number of vectors in the result; 0 = no limit. Fewer vectors "
                    "use fewer tokens of the prompt. Half as many is usual.",
                ),
                io.Combo.Input(
                    "shorten",
                    options=["merge", "prune"],
                    default="merge",
                    advanced=True,
                    tooltip="How to reduce the number of vectors: 'merge' replaces similar vectors "
                    "by their mean, 'prune' keeps one of them unchanged.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The new word, for Apply Embedding to CLIP or Save Embedding.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Encoders, vectors and norms of the new word."
                ),
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("placeholder") is not None:
            check_new_word(given["placeholder"].strip())
        chosen = dict(given.get("mode") or {})
        if "second" not in given and "mode" in chosen:
            check_second(None, chosen_mix(chosen))

    @classmethod
    @checked
    def execute(
        cls,
        first: Embedding,
        placeholder: str,
        mode: dict[str, Any],
        vectors: int,
        shorten: Any,
        second: Embedding | None = None,
    ) -> io.NodeOutput:
        name = placeholder.strip()
        check_new_word(name)
        made = blended(first, second, chosen_mix(mode), name)
        made = with_fewer_vectors(made, vectors, shorten) if vectors else made
        report = inspection_report(made, {})
        return io.NodeOutput(made, report, ui=ui.PreviewText(report))


def chosen_mix(mode: dict[str, Any]) -> Mix | None:
    """The function behind a choice and its numbers; None where there is nothing to mix."""
    numbers = dict(mode)
    name = numbers.pop("mode")
    if name in MIXES:
        return MIXES[name](**numbers)
    return concatenate if name == "concatenate" else None
