"""ConceptAudit: what will be trained on, exactly."""

from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.concept import Concept
from ..ti_core.host.page.progress import say
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
            description="Shows what will be trained on before any time is spent: crops, masks, "
            "drawn captions, counts, and what needs a look.",
            search_aliases=["textual inversion", "debug dataset", "check captions", "preview"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                ConceptSocket.Input("concept", tooltip="The pictures and captions."),
                EmbeddingSocket.Input(
                    "embedding",
                    optional=True,
                    tooltip="The word that will be trained; with it, captions are shown as they "
                    "will be, and checked for it.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="With embedding and CLIP, lengths in tokens are checked, and whether "
                    "the word is an ordinary one.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="As in Train Textual Inversion, to tell how many steps a round takes.",
                ),
                io.Int.Input(
                    "accumulation",
                    default=1,
                    min=1,
                    max=256,
                    advanced=True,
                    tooltip="As in Train Textual Inversion, to tell how many steps a round takes.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="sheet",
                    tooltip="Contact sheet: each crop (red where it does not count) with three "
                    "captions as training draws them. Connect Preview Image.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Counts, pictures, and what needs a look."
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
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(sheet[None], text, ui={"text": [text]})
