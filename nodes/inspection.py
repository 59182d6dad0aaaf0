"""InspectTextualInversion: what an embedding is and what it means."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.host.nearest_words import vocabularies
from ..ti_core.word.embedding import Embedding
from ..ti_core.word.inspection import inspection_picture, inspection_report
from .sockets import CATEGORY, EmbeddingSocket


class InspectTextualInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspectTextualInversion",
            display_name="Inspect Embedding",
            category=CATEGORY,
            description="Shows what a word is made of: encoders, vectors, their length and nearest "
            "ordinary words, how it was trained, which models it fits and which tools can load it.",
            search_aliases=["textual inversion", "embedding info", "nearest tokens"],
            is_output_node=True,
            inputs=[
                EmbeddingSocket.Input("embedding", tooltip="The word: trained, loaded or blended."),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The CLIP that the word is for. If connected, the vectors are compared "
                    "with its vocabulary.",
                ),
                io.Int.Input(
                    "neighbours",
                    default=5,
                    min=1,
                    max=50,
                    advanced=True,
                    tooltip="How many nearest tokens to list for each vector; 3 to 10 are usual. A "
                    "cosine near 1 means that the vector has hardly moved away from that token.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="Everything, as text."),
                io.Image.Output(
                    display_name="picture",
                    tooltip="One row per vector: its values, its length compared with the "
                    "vocabulary's mean (red line), and its nearest tokens.",
                ),
            ],
        )

    @classmethod
    def execute(cls, embedding: Embedding, clip: Any = None, neighbours: int = 5) -> io.NodeOutput:
        known = vocabularies(embedding, clip, neighbours)
        report, picture = inspection_report(embedding, known), inspection_picture(embedding, known)
        shown = {"text": [report], **ui.PreviewImage(picture, cls=cls).as_dict()}
        return io.NodeOutput(report, picture, ui=shown)
