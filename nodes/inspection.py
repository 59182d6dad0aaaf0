"""InspectTextualInversion: what an embedding is and what it means."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.host.models.text import missing_vectors
from ..ti_core.host.nearest_words import vocabularies
from ..ti_core.word.embedding import Embedding
from ..ti_core.word.inspection import inspection_image, inspection_report
from .checked import CheckedNode, checked
from .sockets import CATEGORY, EmbeddingSocket


class InspectTextualInversion(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InspectTextualInversion",
            display_name="Inspect Embedding",
            category=CATEGORY,
            description="Shows the encoders, vectors, norms and nearest tokens of a word, how it "
            "was trained, which models it fits and which tools can load it.",
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
                    "neighbors",
                    default=5,
                    min=1,
                    max=50,
                    advanced=True,
                    tooltip="How many nearest tokens to list for each vector; 3 to 10 is usual. A "
                    "cosine near 1 means that the vector has hardly moved from that token.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="Everything, as text."),
                io.Image.Output(
                    display_name="image",
                    tooltip="One row per vector: its values, its norm compared with the "
                    "vocabulary's mean (red line), and its nearest tokens.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, embedding: Embedding, clip: Any = None, neighbors: int = 5) -> io.NodeOutput:
        known = vocabularies(embedding, clip, neighbors)
        missing = "" if clip is None else missing_vectors(embedding, clip)
        report = inspection_report(embedding, known, missing)
        image = inspection_image(embedding, known)
        shown = {"text": [report], **ui.PreviewImage(image, cls=cls).as_dict()}
        return io.NodeOutput(report, image, ui=shown)
