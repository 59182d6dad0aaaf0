"""The graph's face: schemas, tooltips, sockets, executes that translate; and the list of nodes."""

from comfy_api.latest import ComfyExtension, io

from ..ti_core.host.page.folder_routes import add_folder_routes
from ..ti_core.host.page.requests import add_routes
from .audit import ConceptAudit
from .auto_caption import ConceptAutoCaption
from .blend import BlendTextualInversions
from .concept import ConceptFromKohyaDataset, ConceptJoin, LoadImagesAsConcept
from .concept_options import ConceptCaptionOptions, ConceptCropAndBuckets, ConceptMaskOptions
from .embedding import ApplyEmbeddingToCLIP, CreateEmbedding
from .files import ConvertTextualInversion, LoadTextualInversion, SaveEmbedding
from .init_word import ConceptInitWord
from .inspection import InspectTextualInversion
from .objective import TrainingObjective
from .previews import TrainingPreviews
from .train import TrainTextualInversion


class TextualInversionExtension(ComfyExtension):
    """The nodes of this pack, and the routes of its page."""

    async def on_load(self) -> None:
        add_routes()
        add_folder_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadImagesAsConcept,
            ConceptCropAndBuckets,
            ConceptCaptionOptions,
            ConceptMaskOptions,
            ConceptJoin,
            ConceptFromKohyaDataset,
            ConceptAutoCaption,
            ConceptInitWord,
            ConceptAudit,
            CreateEmbedding,
            TrainTextualInversion,
            TrainingObjective,
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
