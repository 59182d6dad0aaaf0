"""ConceptAutoCaption: captions that the diffusion model itself finds for the training images."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.concept import Concept
from ..ti_core.concept.fragments import built_in_text, fragments_in
from ..ti_core.host.auto_captions import captioned
from ..ti_core.host.learn import Models
from ..ti_core.training.image_reader import ReadingSettings
from ..ti_core.word.embedding import Embedding
from .checked import CheckedNode, checked
from .sockets import CATEGORY, ConceptSocket, EmbeddingSocket


class ConceptAutoCaption(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptAutoCaption",
            display_name="Auto Caption",
            category=CATEGORY,
            description="Writes captions for images that have none. The diffusion model itself "
            "finds what they show besides the subject (background, position, size, view, light), "
            "so that the word learns the subject alone, and faster.",
            search_aliases=[
                "textual inversion",
                "caption images",
                "tagger",
                "interrogate",
                "describe images",
            ],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to train on."),
                io.Clip.Input("clip", tooltip="The CLIP that the embedding was created with."),
                io.Vae.Input("vae", tooltip="Encodes the images."),
                ConceptSocket.Input(
                    "concept",
                    tooltip="The images. Those with captions of their own keep them.",
                ),
                EmbeddingSocket.Input(
                    "embedding",
                    tooltip="The word to train. Its init word stands for the subject, so use one "
                    "that the model knows, such as 'cat'.",
                ),
                io.String.Input(
                    "captions",
                    display_name="caption text",
                    default="",
                    multiline=True,
                    placeholder="empty = found by the model, and written here after the run",
                    optional=True,
                    tooltip="One line per image: 'cat1.png: a photo of a {} on grass'. {} stands "
                    "for the trigger word. Filled in after the run; edit what is wrong and run "
                    "again. Remove a line, or all, to have it found again.",
                ),
                io.String.Input(
                    "fragments",
                    default=built_in_text(),
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="What a caption may say: first the sentence, then for each [slot] in "
                    "it the fragments to choose from, one per line. Add what your images show. "
                    "The more fragments, the longer it takes.",
                ),
                io.Int.Input(
                    "samples",
                    default=ReadingSettings().samples,
                    min=1,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Noise samples with which fragments are compared. More samples make "
                    "fewer mistakes and take longer. 4 to 16 is usual.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    optional=True,
                    advanced=True,
                    tooltip="Seed of the noise.",
                ),
            ],
            outputs=[
                ConceptSocket.Output(
                    display_name="concept",
                    tooltip="The images with captions, for Train Textual Inversion.",
                ),
                io.String.Output(
                    display_name="captions", tooltip="One line per image: its name and caption."
                ),
                io.String.Output(
                    display_name="report", tooltip="The captions, and what finding them took."
                ),
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("fragments"):
            fragments_in(given["fragments"])

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        concept: Concept,
        embedding: Embedding,
        captions: str = "",
        fragments: str = "",
        samples: int = ReadingSettings().samples,
        seed: int = 0,
    ) -> io.NodeOutput:
        found = captioned(
            Models(model, clip, vae),
            concept,
            embedding,
            fragments_in(fragments or built_in_text()),
            captions,
            ReadingSettings(samples, seed),
        )
        shown = {"text": [found.report], "ti_captions": [found.lines]}
        return io.NodeOutput(found.concept, found.lines, found.report, ui=shown)
