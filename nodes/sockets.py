"""What the wires between the nodes carry."""

from comfy_api.latest import io

CATEGORY = "training/textual inversion"

CaptionOptionsSocket = io.Custom("TI_CAPTION_OPTIONS")
ConceptSocket = io.Custom("TI_CONCEPT")
EmbeddingSocket = io.Custom("TI_EMBEDDING")
LossMapSocket = io.Custom("LOSS_MAP")
MaskOptionsSocket = io.Custom("TI_MASK_OPTIONS")
ObjectiveSocket = io.Custom("TI_OBJECTIVE")
PictureFitSocket = io.Custom("TI_PICTURE_FIT")
PreviewsSocket = io.Custom("TI_PREVIEWS")
