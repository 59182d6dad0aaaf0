"""CreateEmbedding and ApplyEmbeddingToCLIP: a new word, and its use in prompts."""

from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.host.models.text import apply_embedding, create_embedding, created
from ..ti_core.host.page.unsaid import Heard, watch_again
from ..ti_core.word.embedding import Embedding, check_initialiser, check_placeholder
from .sockets import CATEGORY, EmbeddingSocket


class CreateEmbedding(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CreateEmbedding",
            display_name="Create Embedding",
            category=CATEGORY,
            description="Makes a new word for the text encoders of a model. Until it is trained, "
            "it means the same as its initialiser.",
            search_aliases=["textual inversion", "new token", "placeholder", "init word"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP to train with. The word gets vectors for each of its text "
                    "encoders.",
                ),
                io.String.Input(
                    "placeholder",
                    default="my-concept",
                    tooltip="The new word, as you will write it in prompts. Letters, digits, '_', "
                    "'-' and '.'. Choose one that does not exist yet (my-cat, not cat).",
                ),
                io.String.Input(
                    "initialiser",
                    default="object",
                    tooltip="What it is, in one or a few words: cat, vase, woman, painting. The "
                    "closer it is, the fewer steps you need.",
                ),
                io.Int.Input(
                    "vectors",
                    default=1,
                    min=0,
                    max=64,
                    tooltip="How many vectors the word has. 1 to 4 are usual. More hold more "
                    "detail, but take more room in the prompt and weaken the other words. 0 = as "
                    "many as the initialiser has tokens.",
                ),
                io.String.Input(
                    "encoders",
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Which text encoders learn, by name with commas between: 'clip_l' or "
                    "'clip_l, t5xxl'. 'auto' = all; the node shows their names. The others read "
                    "the initialiser.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The untrained word, for Train Textual Inversion.",
                ),
                io.String.Output(
                    display_name="word",
                    tooltip="The placeholder as text, to put it into a prompt.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, placeholder: str | None = None, initialiser: str | None = None
    ) -> bool:
        """Refuses at Run what no prompt can say; what comes over a wire is None here. Raises
        ValueError, which the host tells once; a text it would tell for both inputs.
        """
        if placeholder is not None:
            check_placeholder(placeholder.strip())
        if initialiser is not None:
            check_initialiser(initialiser.strip(), needed=True)
        return True

    @classmethod
    def execute(
        cls, clip: Any, placeholder: str, initialiser: str, vectors: int, encoders: str = "auto"
    ) -> io.NodeOutput:
        named = (placeholder.strip(), initialiser.strip())
        word = create_embedding(clip, *named, vectors, encoders)
        return io.NodeOutput(word, word.placeholder, ui=ui.PreviewText(created(clip, word)))


class ApplyEmbeddingToCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyEmbeddingToCLIP",
            display_name="Apply Embedding to CLIP",
            category=CATEGORY,
            description="Makes the word usable in every prompt that is encoded with the output "
            "CLIP: 'a photo of my-cat', '(my-cat:1.2)' or 'embedding:my-cat'. You can chain "
            "several.",
            search_aliases=["textual inversion", "use embedding", "load embedding"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP that should know the word. It stays unchanged; the output is "
                    "a copy that shares its weights.",
                ),
                EmbeddingSocket.Input("embedding", tooltip="The word, trained or not."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    tooltip="0 = the initialiser, 1 = as learned, between them a mixture; above 1 "
                    "exaggerates. Lower it if the word drowns out the rest of the prompt. 0.6 to 1 "
                    "are usual.",
                ),
            ],
            outputs=[io.Clip.Output(display_name="clip", tooltip="The CLIP that knows the word.")],
        )

    @classmethod
    def fingerprint_inputs(cls, **rest: Any) -> bool:
        """Nothing that changes; but the host asks at each Run, also where it has the result."""
        watch_again()
        return True

    @classmethod
    def execute(cls, clip: Any, embedding: Embedding, strength: float) -> io.NodeOutput:
        heard = Heard(embedding.placeholder, str(cls.hidden.unique_id))
        return io.NodeOutput(apply_embedding(clip, embedding, strength, heard))
