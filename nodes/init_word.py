"""ConceptInitWord: an init word that the diffusion model itself finds for the training images."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.concept import Concept
from ..ti_core.concept.fragments import built_in_looks, fragments_in
from ..ti_core.host.init_words import BARE_RATE, DESCRIBED_RATE, described
from ..ti_core.host.learn import Models
from ..ti_core.training.image_reader import ReadingSettings
from ..ti_core.word.embedding import check_initializer
from .checked import CheckedNode, checked
from .sockets import CATEGORY, ConceptSocket


class ConceptInitWord(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptInitWord",
            display_name="Find Init Word",
            category=CATEGORY,
            description="Finds out what the subject looks like, for the init word of Create "
            "Embedding. The diffusion model itself compares some 200 words (color, pattern, "
            "material, form, style) on all images: 'star' becomes 'purple striped star'.",
            search_aliases=[
                "textual inversion",
                "initializer",
                "interrogate",
                "describe subject",
                "caption images",
            ],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to train on."),
                io.Clip.Input("clip", tooltip="The CLIP to train with."),
                io.Vae.Input("vae", tooltip="Encodes the images."),
                ConceptSocket.Input(
                    "concept",
                    tooltip="The images. All of them show the subject; captions that name the "
                    "rest, such as the background, help to tell it apart.",
                ),
                io.String.Input(
                    "noun",
                    default="",
                    placeholder="what it is: cat, vase, painting",
                    tooltip="What the subject is, in one word that the model knows: cat, vase, "
                    "woman, painting. The words that are found stand in front of it.",
                ),
                io.String.Input(
                    "looks",
                    default="",
                    display_name="looks like",
                    placeholder="empty = found by the model, and written here after the run",
                    optional=True,
                    tooltip="The init word. Filled in after the run; edit what is wrong and run "
                    "again. Clear it to have it found again.",
                ),
                io.String.Input(
                    "fragments",
                    default=built_in_looks(),
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="The words to choose from: first how they stand around the noun, {}, "
                    "then for each [slot] its words, one per line. The more words, the longer it "
                    "takes.",
                ),
                io.Int.Input(
                    "samples",
                    default=ReadingSettings().samples,
                    min=1,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Noise samples with which words are compared: twice as many in all, "
                    "at least one per image. More samples make fewer mistakes and take longer. 4 "
                    "to 16 is usual.",
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
                io.String.Output(
                    display_name="init word",
                    tooltip="Connect it to the init word of Create Embedding.",
                ),
                io.String.Output(
                    display_name="report", tooltip="What was found, and what finding it took."
                ),
                io.String.Output(
                    display_name="learning rate",
                    tooltip="For Train Textual Inversion with method 'spherical': 0.1 where the "
                    "init word has more than the noun, because the word then starts close to its "
                    "goal; 0.4 otherwise.",
                ),
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("fragments"):
            fragments_in(given["fragments"])
        if given.get("noun") is not None:
            if not given["noun"].strip():
                raise ValueError(
                    "The noun is empty. Write what the subject is, in one word that the model "
                    "knows: cat, vase, painting."
                )
            check_initializer(given["noun"])

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        concept: Concept,
        noun: str,
        looks: str = "",
        fragments: str = "",
        samples: int = ReadingSettings().samples,
        seed: int = 0,
    ) -> io.NodeOutput:
        if typed := looks.strip():
            return shown(typed, f"Init word: {typed} (from the field).", noun)
        found = described(
            Models(model, clip, vae),
            concept,
            noun.strip(),
            fragments_in(fragments or built_in_looks()),
            ReadingSettings(samples, seed),
        )
        return shown(found.words, found.report, noun)


def shown(words: str, report: str, noun: str) -> io.NodeOutput:
    """What the node gives and shows."""
    rate = BARE_RATE if words == noun.strip() else DESCRIBED_RATE
    return io.NodeOutput(words, report, rate, ui={"text": [report], "ti_looks": [words]})
