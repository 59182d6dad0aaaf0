"""CreateEmbedding and ApplyEmbeddingToCLIP: a new word, and its use in prompts."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io, ui

from ..ti_core.host.models.text import apply_embedding, create_embedding, created, missing_vectors
from ..ti_core.host.page.unused_words import PromptLog, applied_from, watch_again
from ..ti_core.word.embedding import Embedding, check_initializer
from ..ti_core.word.formats.file_names import check_new_word
from .checked import CheckedNode, checked
from .sockets import CATEGORY, EmbeddingSocket


class CreateEmbedding(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CreateEmbedding",
            display_name="Create Embedding",
            category=CATEGORY,
            description="Makes a new word for the text encoders of a model. Until it is trained, "
            "it means the same as its init word.",
            search_aliases=[
                "textual inversion",
                "new token",
                "placeholder",
                "trigger word",
                "instance prompt",
                "activation text",
                "initializer token",
            ],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP to train with. The word gets vectors for each of its text "
                    "encoders.",
                ),
                io.String.Input(
                    "placeholder",
                    display_name="trigger word",
                    default="my-concept",
                    tooltip="The new word (the placeholder), as you will write it in prompts. Use "
                    "letters of any script, digits, '_', '-' and '.'. Choose a word that does not "
                    "exist yet: my-cat, not cat.",
                ),
                io.String.Input(
                    "initializer",
                    display_name="init word",
                    default="",
                    placeholder="what it is: cat, purple star, oil painting",
                    tooltip="What the subject is, in one or a few words that the model knows: cat, "
                    "vase, woman, oil painting. Training starts from their vectors: the closer the "
                    "words, the fewer steps you need.",
                ),
                io.Int.Input(
                    "vectors",
                    default=1,
                    min=0,
                    max=64,
                    tooltip="How many vectors the word has. 1 to 4 are usual. More vectors hold "
                    "more detail, but use more tokens of the prompt and weaken its other words. 0 "
                    "= as many as the init word has tokens.",
                ),
                io.String.Input(
                    "encoders",
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Text encoders to train, separated by commas: 'clip_l' or 'clip_l, "
                    "t5xxl'. 'auto' = all; the node shows their names. The others read the init "
                    "word.",
                ),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The untrained word, for Train Textual Inversion.",
                ),
                io.String.Output(
                    display_name="word",
                    tooltip="The trigger word as text, for use in a prompt.",
                ),
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("placeholder") is not None:
            check_new_word(given["placeholder"].strip())
        if given.get("initializer") is not None:
            check_initializer(given["initializer"].strip(), needed=True)

    @classmethod
    @checked
    def execute(
        cls, clip: Any, placeholder: str, initializer: str, vectors: int, encoders: str = "auto"
    ) -> io.NodeOutput:
        named = (placeholder.strip(), initializer.strip())
        check_new_word(named[0])
        word = create_embedding(clip, *named, vectors, encoders)
        return io.NodeOutput(word, word.placeholder, ui=ui.PreviewText(created(clip, word)))


class ApplyEmbeddingToCLIP(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyEmbeddingToCLIP",
            display_name="Apply Embedding to CLIP",
            category=CATEGORY,
            description="Makes the word usable in every prompt that is encoded with the output "
            "CLIP: 'a photo of my-cat', '(my-cat:1.2)' or 'embedding:my-cat'. You can chain "
            "several.",
            search_aliases=["textual inversion", "use embedding", "load embedding", "trigger word"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The CLIP to add the word to. It stays unchanged; the output is a copy "
                    "that shares its weights.",
                ),
                EmbeddingSocket.Input("embedding", tooltip="The word, trained or not."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    tooltip="0 = the init word, 1 = as learned, in between = a blend; above 1 "
                    "exaggerates. Lower it if the word drowns out the rest of the prompt. 0.6 to 1 "
                    "is usual.",
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
    @checked
    def execute(cls, clip: Any, embedding: Embedding, strength: float) -> io.NodeOutput:
        source, node = applied_from(embedding, strength), str(cls.hidden.unique_id)
        log = PromptLog(embedding.placeholder, node, source, clip)
        applied = apply_embedding(clip, embedding, strength, log)
        return io.NodeOutput(applied, ui=ui.PreviewText(missing_vectors(embedding, clip)))
