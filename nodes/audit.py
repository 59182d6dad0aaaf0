"""ConceptAudit: what will be trained on, exactly."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.concept.concept import Concept
from ..ti_core.host.pictures.token_counts import audit
from ..ti_core.word.embedding import Embedding
from .sockets import CATEGORY, ConceptSocket, EmbeddingSocket


class ConceptAudit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAudit",
            display_name="Audit Concept",
            category=CATEGORY,
            description="Shows exactly what will be trained on, before you spend time on it: "
            "crops, masks, captions, counts and warnings.",
            search_aliases=["textual inversion", "debug dataset", "check captions", "preview"],
            is_output_node=True,
            inputs=[
                ConceptSocket.Input("concept", tooltip="The pictures and captions."),
                EmbeddingSocket.Input(
                    "embedding",
                    optional=True,
                    tooltip="The word to train. If connected, captions are shown with it and "
                    "checked for it.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The CLIP to train with. With the embedding, it checks lengths in "
                    "tokens, and whether the word already exists in the vocabulary.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="The value in Train Textual Inversion, to count the steps of a round.",
                ),
                io.Int.Input(
                    "accumulation",
                    default=1,
                    min=1,
                    max=256,
                    advanced=True,
                    tooltip="The value in Train Textual Inversion, to count the steps of a round.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="sheet",
                    tooltip="Contact sheet: each crop (red where it is masked out) with three "
                    "captions as training draws them. The node shows it.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Counts, one line per picture, and warnings."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        concept: Concept,
        batch_size: int,
        accumulation: int,
        embedding: Embedding | None = None,
        clip: Any = None,
    ) -> io.NodeOutput:
        sheet, text = audit(concept, embedding, clip, batch_size, accumulation)
        shown = {"text": [text], **ui.PreviewImage(sheet[None], cls=cls).as_dict()}
        return io.NodeOutput(sheet[None], text, ui=shown)
