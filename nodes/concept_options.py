"""The small nodes beside LoadImagesAsConcept: how pictures are cut, captions drawn and masks
weighed.
"""

from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.caption_files import CaptionFiles, check_typed
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
            description="Sets how pictures are cut to size: squares or aspect-ratio buckets, "
            "random crops, flips and colours.",
            search_aliases=["textual inversion", "bucket", "aspect ratio", "augmentation", "crop"],
            inputs=[
                io.Combo.Input(
                    "shape",
                    options=["buckets", "square"],
                    default="buckets",
                    tooltip="'buckets' keeps wide pictures wide and tall ones tall, at the "
                    "resolution's area. 'square' makes all square.",
                ),
                io.Combo.Input(
                    "method",
                    options=["crop", "pad", "squash"],
                    default="crop",
                    tooltip="'crop' cuts off what does not fit, 'pad' adds grey that is not "
                    "learned, 'squash' distorts the picture.",
                ),
                io.Combo.Input(
                    "position",
                    options=["centre", "top", "random"],
                    default="centre",
                    tooltip="What to keep when cropping: the centre, the top (standing people), or "
                    "a random part.",
                ),
                fraction_input(
                    "flip",
                    0.0,
                    "Probability of mirroring a picture. 0.5 helps with symmetric things. Use 0 "
                    "for faces, text and everything with a left and a right.",
                ),
                fraction_input(
                    "zoom",
                    0.0,
                    "Random crops zoom in by up to this fraction. 0.1 to 0.2 are usual; 0 = off.",
                    advanced=True,
                ),
                fraction_input(
                    "colour",
                    0.0,
                    "Brightness, contrast and saturation vary by up to this fraction. 0.05 to 0.1 "
                    "are usual. The default 0 = off, because colours are learned too.",
                    0.5,
                    advanced=True,
                ),
                io.Int.Input(
                    "variants",
                    default=4,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="How many random crops to make of each picture; training draws one "
                    "each time. 4 to 16 are usual. If nothing is random, one is made.",
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
                    tooltip="Bucket sides are multiples of this. 64 is usual; larger values give "
                    "fewer buckets.",
                ),
                pixels_input("smallest", "Shortest side of a bucket; 0 = half the resolution."),
                pixels_input("largest", "Longest side of a bucket; 0 = twice the resolution."),
                io.Combo.Input(
                    "latents",
                    options=["deterministic", "once", "random"],
                    default="deterministic",
                    advanced=True,
                    tooltip="How the VAE's latents are used (names from AUTOMATIC1111): "
                    "'deterministic' = their mean, 'once' = one random sample, 'random' = a new "
                    "sample every step. The difference is small.",
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
            description="Your own templates, and the caption options of kohya's trainer and "
            "AUTOMATIC1111.",
            search_aliases=["textual inversion", "template", "shuffle", "dropout", "keep tokens"],
            inputs=[
                io.String.Input(
                    "templates",
                    default="",
                    multiline=True,
                    placeholder="your own templates, one per line:\na photo of {}, [filewords]",
                    tooltip="Sentences to use instead of the built-in ones, one per line. {} or "
                    "[name] is the new word, [filewords] the picture's caption. Empty lines and "
                    "lines that start with # are skipped. Empty = the built-in ones.",
                ),
                text_input(
                    "template_file",
                    "",
                    "Instead of the text above: a template file in input/ or datasets/, for "
                    "example 'input/my-templates.txt'.",
                ),
                io.Boolean.Input(
                    "shuffle",
                    default=False,
                    tooltip="Shuffle a caption's tags (the parts between commas) each time. For "
                    "tag lists, not for sentences.",
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
                    "Probability of leaving out a tag. 0.05 to 0.2 are usual. A tag with the new "
                    "word always stays.",
                ),
                fraction_input(
                    "caption_dropout",
                    0.0,
                    "Probability of leaving out the whole caption, so that only the word (or the "
                    "template) remains. 0.05 to 0.1 are usual.",
                ),
                io.Combo.Input(
                    "missing",
                    options=["add", "error"],
                    default="add",
                    tooltip="If captions do not contain the word: 'add' puts it in front, 'error' "
                    "stops and lists them.",
                ),
                io.Combo.Input(
                    "source",
                    options=["auto", "text files", "metadata", "folder names", "file names"],
                    default="auto",
                    advanced=True,
                    tooltip="Where to find captions if none are typed or connected: 'auto' takes a "
                    ".txt or .caption file beside the picture, else a metadata file (kohya's "
                    "JSON), else the words of a folder '20_cat', else the words of the file name.",
                ),
                text_input(
                    "extension", "", "Extension of the caption files. Empty = .txt, then .caption."
                ),
                text_input(
                    "metadata_file",
                    "",
                    "Name of the metadata file in the picture folder, or its path in input/ or "
                    "datasets/. Empty = metadata.json, metadata.jsonl, meta_cap.json or "
                    "meta_clean.json.",
                ),
                text_input(
                    "name_pattern",
                    "",
                    "For file names: {} stands where the words are, * for text to skip. "
                    "'photo_*_{}' finds 'red cat' in 'photo_003_red cat.png'. Empty = the whole "
                    "name without the number in front.",
                ),
                text_input(
                    "name_joiner",
                    " ",
                    "For file names: the text to put between the words, where the pattern has "
                    "several {}.",
                ),
                text_input("prefix", "", "Text before every caption. Its tags are shuffled too."),
                text_input("suffix", "", "Text after every caption. Its tags are shuffled too."),
                text_input("separator", ",", "The separator between tags."),
                text_input(
                    "keep_separator",
                    "",
                    "For example ||| : tags before it (and after a second one) stay in place. "
                    "Replaces keep_tokens.",
                ),
                text_input(
                    "secondary_separator",
                    "",
                    "For example ;;; : between tags that are shuffled and dropped together.",
                ),
                io.Boolean.Input(
                    "wildcards",
                    default=False,
                    advanced=True,
                    tooltip="Choose one of {red|green|blue} each time, and one line of a caption "
                    "with several lines. {{ and }} write braces.",
                ),
                io.Boolean.Input(
                    "weights",
                    default=False,
                    advanced=True,
                    tooltip="Read (word:1.2) in caption files as prompt weights. Off: parentheses "
                    "are plain text. Text that you type on the nodes is always read like a prompt.",
                ),
                io.Int.Input(
                    "caption_dropout_rounds",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                    tooltip="Leave out the captions in every n-th round over the pictures, so that "
                    "only the word (or the template) remains. 0 = off (kohya's "
                    "caption_dropout_every_n_epochs).",
                ),
                io.Int.Input(
                    "warmup_min",
                    default=1,
                    min=0,
                    max=100,
                    advanced=True,
                    tooltip="With warmup_steps: number of tags at the start.",
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
        for what in ("prefix", "suffix", "separator", "keep_separator", "secondary_separator"):
            check_typed(what, switches[what])
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
            description="Sets where masks come from, and how much of a picture counts outside of "
            "them.",
            search_aliases=["textual inversion", "masked loss", "alpha mask", "weight"],
            inputs=[
                io.Combo.Input(
                    "source",
                    options=["auto", "files", "alpha", "none"],
                    default="auto",
                    tooltip="'files' uses 'picture_mask.png' beside the picture, 'alpha' its "
                    "transparency, 'auto' the file, else the transparency. 'none' uses neither. "
                    "Connected masks always come first.",
                ),
                fraction_input(
                    "unmasked",
                    0.0,
                    "How much the rest of the picture counts. 0 learns only what is white; 0.05 to "
                    "0.2 learns a little from the surroundings.",
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
                    tooltip="Learn what is black. Needed for masks that Load Image makes from "
                    "transparency.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(BACKGROUNDS),
                    default="white",
                    advanced=True,
                    tooltip="The colour behind transparent areas.",
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
