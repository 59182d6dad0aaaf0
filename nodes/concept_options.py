"""The small nodes beside LoadImagesAsConcept: how pictures are cut, captions drawn and masks
weighed.
"""

from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.caption_files import CaptionFiles
from ..ti_core.concept.concept import LatentChoice
from ..ti_core.concept.fit import FitSettings
from ..ti_core.concept.gather import CaptionOptions
from ..ti_core.concept.masks import BACKGROUNDS, MaskSettings
from ..ti_core.concept.wording import Wording
from ..ti_core.host.pictures.concept_requests import caption_options_state, read_templates
from .sockets import CATEGORY, CaptionOptionsSocket, MaskOptionsSocket, PictureFitSocket


@dataclass(frozen=True)
class PictureFitting:
    """What Picture Fit chose; the resolution is the concept's."""

    settings: FitSettings = FitSettings()
    latents: LatentChoice = "deterministic"

    def at(self, resolution: int) -> FitSettings:
        """The settings at a resolution."""
        return replace(self.settings, width=resolution, height=resolution)


def fraction_input(name: str, default: float, tooltip: str, most: float = 1.0, **more: Any) -> Any:
    """An input between 0 and 1."""
    return io.Float.Input(
        name, default=default, min=0.0, max=most, step=0.01, tooltip=tooltip, **more
    )


def text_input(name: str, default: str, tooltip: str) -> Any:
    """An advanced line of text."""
    return io.String.Input(name, default=default, advanced=True, tooltip=tooltip)


def pixels_input(name: str, tooltip: str) -> Any:
    """An advanced length in pixels, 0 for automatic."""
    return io.Int.Input(name, default=0, min=0, max=4096, step=8, advanced=True, tooltip=tooltip)


class ConceptPictureFit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptPictureFit",
            display_name="Picture Fit",
            category=CATEGORY,
            description="How pictures are cut to size: squares or aspect-ratio buckets, random "
            "crops, flips and colours.",
            search_aliases=["textual inversion", "bucket", "aspect ratio", "augmentation", "crop"],
            inputs=[
                io.Combo.Input(
                    "shape",
                    options=["buckets", "square"],
                    default="buckets",
                    tooltip="'buckets' keeps wide pictures wide and tall ones tall, in the "
                    "resolution's area; 'square' cuts all to squares.",
                ),
                io.Combo.Input(
                    "method",
                    options=["crop", "pad", "squash"],
                    default="crop",
                    tooltip="'crop' cuts what does not fit, 'pad' fills up with grey that is not "
                    "learned, 'squash' distorts.",
                ),
                io.Combo.Input(
                    "position",
                    options=["centre", "top", "random"],
                    default="centre",
                    tooltip="What is kept when cutting: the middle, the top (standing people), or "
                    "another place each time.",
                ),
                fraction_input(
                    "flip",
                    0.0,
                    "Probability that a picture is mirrored. 0.5 helps symmetric things; 0 for "
                    "faces, text and everything with a left and a right.",
                ),
                fraction_input(
                    "zoom",
                    0.0,
                    "Random crops come up to this much closer. 0.1 to 0.2 are usual, 0 = off.",
                    advanced=True,
                ),
                fraction_input(
                    "colour",
                    0.0,
                    "Brightness, contrast and saturation change by up to this fraction. 0.05 to "
                    "0.1 are usual; 0 = off, because colours are learned too.",
                    0.5,
                    advanced=True,
                ),
                io.Int.Input(
                    "variants",
                    default=4,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="How many random crops of each picture are made and encoded; one of "
                    "them is drawn each time. 4 to 16; one is enough where nothing is random.",
                ),
                io.Boolean.Input(
                    "upscale",
                    default=True,
                    advanced=True,
                    tooltip="Enlarge pictures that are smaller than their bucket. Off: they get a "
                    "smaller bucket.",
                ),
                io.Int.Input(
                    "step",
                    default=64,
                    min=8,
                    max=256,
                    step=8,
                    advanced=True,
                    tooltip="Bucket sides are multiples of this. 64 is usual; more gives fewer "
                    "buckets.",
                ),
                pixels_input("smallest", "Shortest side of a bucket; 0 = half the resolution."),
                pixels_input("largest", "Longest side of a bucket; 0 = twice the resolution."),
                io.Combo.Input(
                    "latents",
                    options=["deterministic", "once", "random"],
                    default="deterministic",
                    advanced=True,
                    tooltip="How the VAE's latents are used (as in AUTOMATIC1111): their mean, one "
                    "random sample, or a new sample every step. The difference is small.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    advanced=True,
                    tooltip="Decides the random crops, flips and colours.",
                ),
            ],
            outputs=[
                PictureFitSocket.Output(
                    display_name="fit", tooltip="For the fit input of Load Images as Concept."
                )
            ],
        )

    @classmethod
    def execute(cls, shape: Any, upscale: bool, latents: Any, **rest: Any) -> io.NodeOutput:
        settings = FitSettings(buckets=shape == "buckets", upscale=upscale, **rest)
        return io.NodeOutput(PictureFitting(settings, latents))


class ConceptCaptionOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptCaptionOptions",
            display_name="Caption Options",
            category=CATEGORY,
            description="Own templates, and the caption switches of kohya's trainer and of "
            "AUTOMATIC1111.",
            search_aliases=["textual inversion", "template", "shuffle", "dropout", "keep tokens"],
            inputs=[
                io.String.Input(
                    "templates",
                    default="",
                    multiline=True,
                    placeholder="own templates, one per line:\na photo of {}, [filewords]",
                    tooltip="Sentences instead of the built-in ones, one per line. {} or [name] is "
                    "the new word, [filewords] the picture's caption; empty lines and lines that "
                    "start with # are skipped. Empty: those of the kind.",
                ),
                text_input(
                    "template_file",
                    "",
                    "A file with templates in input/ or datasets/, such as "
                    "'input/my-templates.txt'. Instead of the text above.",
                ),
                io.Boolean.Input(
                    "shuffle",
                    default=False,
                    tooltip="Put a caption's tags (the parts between commas) into another order "
                    "each time. For tag lists, not for sentences.",
                ),
                io.Int.Input(
                    "keep_tokens",
                    default=0,
                    min=0,
                    max=100,
                    tooltip="Keep this many leading tags in place and never drop them. Use 1 if "
                    "the word comes first.",
                ),
                fraction_input(
                    "tag_dropout",
                    0.0,
                    "Probability that a tag is left out. 0.05 to 0.2; the new word always stays.",
                ),
                fraction_input(
                    "caption_dropout",
                    0.0,
                    "Probability that the whole caption is left out, so that only the word (or "
                    "the template) remains. 0.05 to 0.1.",
                ),
                io.Combo.Input(
                    "missing",
                    options=["add", "error"],
                    default="add",
                    tooltip="What to do with captions that do not say the word: put it in front, "
                    "or stop and name them.",
                ),
                io.Combo.Input(
                    "source",
                    options=["auto", "text files", "metadata", "folder names", "file names"],
                    default="auto",
                    advanced=True,
                    tooltip="Where captions are looked for when none are written: 'auto' takes a "
                    ".txt or .caption file beside the picture, a metadata file (kohya's JSON), "
                    "the words of a folder '20_cat', the words of the file name.",
                ),
                text_input(
                    "extension", "", "Ending of the caption files; empty: .txt, then .caption."
                ),
                text_input(
                    "metadata_file",
                    "",
                    "Name of the metadata file in the picture folder, or its place in input/. "
                    "Empty: metadata.json or meta_cap.json, if there is one.",
                ),
                text_input(
                    "name_pattern",
                    "",
                    r"For file names: what counts as a word, as a regular expression, such as "
                    r"[\w-]+. Empty: the whole name without the number in front.",
                ),
                text_input("name_joiner", " ", "For file names: what is put between the words."),
                text_input(
                    "prefix", "", "Put in front of every caption; tags of it are shuffled too."
                ),
                text_input("suffix", "", "Put behind every caption."),
                text_input("separator", ",", "What separates tags."),
                text_input(
                    "keep_separator",
                    "",
                    "Such as ||| : what stands before it (and after a second one) stays in "
                    "place; instead of keep_tokens.",
                ),
                text_input(
                    "secondary_separator",
                    "",
                    "Such as ;;; : parts that are shuffled and dropped together.",
                ),
                io.Boolean.Input(
                    "wildcards",
                    default=False,
                    advanced=True,
                    tooltip="Choose one of {red|green|blue} each time, and one line of a caption "
                    "of several lines. {{ and }} write braces.",
                ),
                io.Boolean.Input(
                    "weights",
                    default=False,
                    advanced=True,
                    tooltip="Read (word:1.2) in caption files as prompt weights. Off: parentheses "
                    "are letters. What is typed on the nodes is always read like a prompt.",
                ),
                io.Int.Input(
                    "caption_dropout_rounds",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                    tooltip="Leave the captions out in every n-th round over the pictures, so that "
                    "only the word (or the template) remains; 0 = off (kohya's "
                    "caption_dropout_every_n_epochs).",
                ),
                io.Int.Input(
                    "warmup_min",
                    default=1,
                    min=0,
                    max=100,
                    advanced=True,
                    tooltip="With warmup_steps: how many tags there are at the start.",
                ),
                io.Int.Input(
                    "warmup_steps",
                    default=0,
                    min=0,
                    max=100000,
                    advanced=True,
                    tooltip="Number of steps over which all tags are phased in; 0 = off (kohya's "
                    "token_warmup_step).",
                ),
            ],
            outputs=[
                CaptionOptionsSocket.Output(
                    display_name="caption_options",
                    tooltip="For the caption_options input of Load Images as Concept.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls, template_file: str | None, metadata_file: str | None, **rest: Any
    ) -> str:
        return caption_options_state(template_file, metadata_file)

    @classmethod
    def execute(
        cls,
        templates: str,
        template_file: str,
        source: Any,
        extension: str,
        metadata_file: str,
        name_pattern: str,
        name_joiner: str,
        wildcards: bool,
        **switches: Any,
    ) -> io.NodeOutput:
        files = CaptionFiles(source, extension, metadata_file, name_pattern, name_joiner)
        wording = Wording(
            read_templates(templates, template_file),
            lines="draw" if wildcards else "join",
            wildcards=wildcards,
            **switches,
        )
        return io.NodeOutput(CaptionOptions(files, wording))


class ConceptMaskOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptMaskOptions",
            display_name="Mask Options",
            category=CATEGORY,
            description="Where masks come from, and how much of a picture counts outside of them.",
            search_aliases=["textual inversion", "masked loss", "alpha mask", "weight"],
            inputs=[
                io.Combo.Input(
                    "source",
                    options=["auto", "files", "alpha", "none"],
                    default="auto",
                    tooltip="'files' takes 'picture_mask.png' beside the picture, 'alpha' its "
                    "transparency, 'auto' the first of both. Connected masks go before; 'none' "
                    "ignores all.",
                ),
                fraction_input(
                    "unmasked",
                    0.0,
                    "How much the rest of the picture counts. 0 learns only what is white; 0.05 "
                    "to 0.2 keeps it calm around the subject.",
                ),
                io.Boolean.Input(
                    "normalise",
                    default=True,
                    tooltip="Let a small subject count as much as a large one.",
                ),
                io.Boolean.Input(
                    "invert",
                    default=False,
                    advanced=True,
                    tooltip="Learn what is black. For masks that Load Image makes of transparency.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(BACKGROUNDS),
                    default="white",
                    advanced=True,
                    tooltip="What is put behind transparent places.",
                ),
            ],
            outputs=[
                MaskOptionsSocket.Output(
                    display_name="mask_options",
                    tooltip="For the mask_options input of Load Images as Concept.",
                )
            ],
        )

    @classmethod
    def execute(cls, background: str, **rest: Any) -> io.NodeOutput:
        return io.NodeOutput(MaskSettings(background=BACKGROUNDS[background], **rest))
