"""Textual inversion inside the ComfyUI graph: registration only."""

from comfy_api.latest import ComfyExtension, io

from .nodes.audit import ConceptAudit
from .nodes.blend import BlendTextualInversions
from .nodes.concept import ConceptFromKohyaDataset, ConceptJoin, LoadImagesAsConcept
from .nodes.concept_options import ConceptCaptionOptions, ConceptMaskOptions, ConceptPictureFit
from .nodes.embedding import ApplyEmbeddingToCLIP, CreateEmbedding
from .nodes.files import ConvertTextualInversion, LoadTextualInversion, SaveEmbedding
from .nodes.inspection import InspectTextualInversion
from .nodes.previews import TrainingPreviews
from .nodes.train import TrainTextualInversion
from .ti_core.host.page.stop_and_keep import add_route

WEB_DIRECTORY = "./web"


class TextualInversionExtension(ComfyExtension):
    """The nodes of this pack, and the route of "Stop and keep"."""

    async def on_load(self) -> None:
        add_route()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadImagesAsConcept,
            ConceptPictureFit,
            ConceptCaptionOptions,
            ConceptMaskOptions,
            ConceptJoin,
            ConceptFromKohyaDataset,
            ConceptAudit,
            CreateEmbedding,
            TrainTextualInversion,
            TrainingPreviews,
            SaveEmbedding,
            LoadTextualInversion,
            InspectTextualInversion,
            ConvertTextualInversion,
            BlendTextualInversions,
            ApplyEmbeddingToCLIP,
        ]


async def comfy_entrypoint() -> TextualInversionExtension:
    """What ComfyUI asks the pack for."""
    return TextualInversionExtension()
