"""Textual inversion inside the ComfyUI graph: registration only."""

from comfy_api.latest import ComfyExtension, io

from .nodes.concept import LoadImagesAsConcept
from .nodes.embedding import ApplyEmbeddingToCLIP, CreateEmbedding
from .nodes.files import SaveEmbedding
from .nodes.train import TrainTextualInversion

WEB_DIRECTORY = "./web"


class TextualInversionExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadImagesAsConcept,
            CreateEmbedding,
            TrainTextualInversion,
            SaveEmbedding,
            ApplyEmbeddingToCLIP,
        ]


async def comfy_entrypoint() -> TextualInversionExtension:
    """What ComfyUI asks the pack for."""
    return TextualInversionExtension()
