"""What the wires between the nodes carry."""

from comfy_api.latest import io

CATEGORY = "training/textual inversion"

ConceptSocket = io.Custom("TI_CONCEPT")
EmbeddingSocket = io.Custom("TI_EMBEDDING")
LossMapSocket = io.Custom("LOSS_MAP")
