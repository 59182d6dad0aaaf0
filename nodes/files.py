"""SaveEmbedding: the word as a file that every tool reads."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.embedding import Embedding
from ..ti_core.formats import file_metadata, file_tensors, free_path, write_safetensors
from ..ti_core.host.files import embedding_path
from ..ti_core.host.progress import say
from .sockets import CATEGORY, EmbeddingSocket


class SaveEmbedding(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveEmbedding",
            display_name="Save Embedding",
            category=CATEGORY,
            description="Writes the word to the embeddings folder, from where any prompt can use "
            "it as 'embedding:name'. AUTOMATIC1111, Forge and diffusers read the file too.",
            search_aliases=["textual inversion", "export embedding"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                EmbeddingSocket.Input("embedding", tooltip="The word to save."),
                io.String.Input(
                    "name",
                    default="",
                    placeholder="empty = the word itself",
                    tooltip="File name, with '/' for a sub-folder of the embeddings folder "
                    "(pets/my-cat). Empty = the placeholder. A name that is taken gets a number, "
                    "unless overwrite is on.",
                ),
                io.Combo.Input(
                    "storage",
                    options=["fp32", "fp16"],
                    default="fp32",
                    advanced=True,
                    tooltip="fp32 keeps the vectors exactly; fp16 halves a file of a few "
                    "kilobytes.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    advanced=True,
                    tooltip="Replace a file of that name instead of counting up.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file is.")],
        )

    @classmethod
    def execute(
        cls, embedding: Embedding, name: str, storage: Any, overwrite: bool
    ) -> io.NodeOutput:
        path = embedding_path(name.strip() or embedding.placeholder)
        path = path if overwrite else free_path(path)
        write_safetensors(path, file_tensors(embedding, storage), file_metadata(embedding))
        text = f"Saved {path}"
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(str(path), ui=ui.PreviewText(text))
