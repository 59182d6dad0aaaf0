"""ConceptAudit: what will be trained on, exactly."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.concept.concept import Concept
from ..ti_core.host.images.token_counts import audit
from ..ti_core.host.page.kept_results import holds_while, times_given_anew
from ..ti_core.host.referenced import references_hold
from ..ti_core.word.embedding import Embedding
from .checked import CheckedNode, checked
from .sockets import CATEGORY, ConceptSocket, EmbeddingSocket


class ConceptAudit(CheckedNode):
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
            hidden=[io.Hidden.unique_id],
            inputs=[
                ConceptSocket.Input("concept", tooltip="The images and captions."),
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
                    tooltip="The value in Train Textual Inversion, to count the steps of an epoch.",
                ),
                io.Int.Input(
                    "accumulation",
                    display_name="gradient accumulation",
                    default=1,
                    min=1,
                    max=256,
                    advanced=True,
                    tooltip="The value in Train Textual Inversion, to count the steps of an epoch.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="sheet",
                    tooltip="Contact sheet: each crop (red where it is masked out) with three "
                    "captions as training uses them. The node shows it.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Counts, one line per image, and warnings."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **rest: Any) -> int:
        return times_given_anew()

    @classmethod
    @checked
    def execute(
        cls,
        concept: Concept,
        batch_size: int,
        accumulation: int,
        embedding: Embedding | None = None,
        clip: Any = None,
    ) -> io.NodeOutput:
        holds_while(references_hold(concept))
        sheet, text = audit(concept, embedding, clip, batch_size, accumulation)
        shown = {"text": [text], **ui.PreviewImage(sheet[None], cls=cls).as_dict()}
        return io.NodeOutput(sheet[None], text, ui=shown)
