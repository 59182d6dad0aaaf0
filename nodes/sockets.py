"""What the wires between the nodes carry."""

from comfy_api.latest import io

CATEGORY = "model/training/textual inversion"

CaptionOptionsSocket = io.Custom("TI_CAPTION_OPTIONS")
ConceptSocket = io.Custom("TI_CONCEPT")
EmbeddingSocket = io.Custom("TI_EMBEDDING")
LossMapSocket = io.Custom("LOSS_MAP")
MaskOptionsSocket = io.Custom("TI_MASK_OPTIONS")
ObjectiveSocket = io.Custom("TI_OBJECTIVE")
CropSocket = io.Custom("TI_CROP")
PreviewsSocket = io.Custom("TI_PREVIEWS")
