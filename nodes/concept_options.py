"""The option nodes of LoadImagesAsConcept: crops and buckets, captions, masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io

from ..ti_core.concept.caption_files import CaptionFiles, check_typed
from ..ti_core.concept.caption_settings import CaptionSettings
from ..ti_core.concept.concept import LatentChoice
from ..ti_core.concept.fit import FitSettings, check_bounds
from ..ti_core.concept.gather import CaptionOptions
from ..ti_core.concept.masks import BACKGROUNDS, MaskSettings
from ..ti_core.host.images.concept_requests import caption_options_state, read_templates
from ..ti_core.host.page.kept_results import holds_while_same, times_given_anew
from .checked import CheckedNode, checked
from .sockets import CATEGORY, CaptionOptionsSocket, CropSocket, MaskOptionsSocket


@dataclass(frozen=True)
class CropSettings:
    """What Crop & Buckets chose; the resolution is the concept's."""

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


def bucket_side(name: str, label: str, tooltip: str) -> Any:
    """An advanced length in pixels, 0 for automatic."""
    return io.Int.Input(
        name, label, default=0, min=0, max=4096, step=8, advanced=True, tooltip=tooltip
    )


def check_lengths(given: Mapping[str, Any]) -> None:
    """Raise ValueError for parts of captions that are longer than a caption."""
    for what in ("prefix", "suffix", "separator", "keep_separator", "secondary_separator"):
        check_typed(what, given.get(what) or "")


class ConceptCropAndBuckets(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptCropAndBuckets",
            display_name="Crop & Buckets",
            category=CATEGORY,
            description="Sets how images are cropped: squares or aspect-ratio buckets, random "
            "crops, flips and color changes.",
            search_aliases=["textual inversion", "bucket", "aspect ratio", "augmentation", "crop"],
            inputs=[
                io.Combo.Input(
                    "shape",
                    options=["buckets", "square"],
                    default="buckets",
                    tooltip="'buckets' keeps the aspect ratio of each image, at the area of the "
                    "resolution. 'square' makes all images square.",
                ),
                io.Combo.Input(
                    "method",
                    options=["crop", "pad", "squash"],
                    default="crop",
                    tooltip="'crop' cuts off what does not fit, 'pad' adds gray that is not "
                    "learned, 'squash' distorts the image.",
                ),
                io.Combo.Input(
                    "position",
                    options=["center", "top", "random"],
                    default="center",
                    tooltip="What to keep when cropping: the center, the top (standing people), or "
                    "a random part.",
                ),
                fraction_input(
                    "flip",
                    0.0,
                    "Probability of mirroring an image. 0.5 helps with symmetric subjects. Use 0 "
                    "for faces, text and anything that has a left and a right.",
                ),
                fraction_input(
                    "zoom",
                    0.0,
                    "Random crops zoom in by up to this fraction. 0.1 to 0.2 is usual; 0 = off.",
                    advanced=True,
                ),
                fraction_input(
                    "color",
                    0.0,
                    "Brightness, contrast and saturation vary by up to this fraction. 0.05 to 0.1 "
                    "is usual. The default 0 = off, because colors are learned too.",
                    0.5,
                    advanced=True,
                ),
                io.Int.Input(
                    "variants",
                    default=4,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="Number of random crops made of each image; each sample uses one of "
                    "them. 4 to 16 is usual. If nothing is random, one is made.",
                ),
                io.Boolean.Input(
                    "upscale",
                    default=True,
                    advanced=True,
                    tooltip="Enlarge images that are smaller than their bucket. Off: use a smaller "
                    "bucket for them.",
                ),
                io.Int.Input(
                    "step",
                    display_name="bucket step",
                    default=64,
                    min=8,
                    max=256,
                    step=8,
                    advanced=True,
                    tooltip="Bucket sides are multiples of this. 64 is usual; larger values give "
                    "fewer buckets.",
                ),
                bucket_side(
                    "smallest", "min bucket", "Shortest side of a bucket; 0 = half the resolution."
                ),
                bucket_side(
                    "largest", "max bucket", "Longest side of a bucket; 0 = twice the resolution."
                ),
                io.Combo.Input(
                    "latents",
                    options=["deterministic", "once", "random"],
                    default="deterministic",
                    advanced=True,
                    tooltip="How the VAE's latents are sampled (names from AUTOMATIC1111): "
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
                    tooltip="Seed of the random crops, flips and colors.",
                ),
            ],
            outputs=[
                CropSocket.Output(
                    display_name="fit", tooltip="For the fit input of Load Images as Concept."
                )
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        chosen: dict[str, Any] = {name: given.get(name) for name in ("smallest", "largest", "step")}
        if given.get("shape") == "buckets" and None not in chosen.values():
            check_bounds(**chosen)

    @classmethod
    @checked
    def execute(cls, shape: Any, upscale: bool, latents: Any, **rest: Any) -> io.NodeOutput:
        if shape == "buckets":
            check_bounds(*(rest[name] for name in ("smallest", "largest", "step")))
        settings = FitSettings(buckets=shape == "buckets", upscale=upscale, **rest)
        return io.NodeOutput(CropSettings(settings, latents))


class ConceptCaptionOptions(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptCaptionOptions",
            display_name="Caption Options",
            category=CATEGORY,
            description="Your own templates, and the caption options of kohya's trainer and "
            "AUTOMATIC1111.",
            search_aliases=[
                "textual inversion",
                "template",
                "shuffle",
                "dropout",
                "keep tokens",
                "filewords",
            ],
            inputs=[
                io.String.Input(
                    "templates",
                    default="",
                    multiline=True,
                    placeholder="your own templates, one per line:\na photo of {}, [filewords]",
                    tooltip="Sentences to use instead of the built-in ones, one per line. {} or "
                    "[name] is the trigger word, [filewords] the image's caption. Empty lines and "
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
                    "the trigger word comes first.",
                ),
                fraction_input(
                    "tag_dropout",
                    0.0,
                    "Probability of leaving out a tag. 0.05 to 0.2 is usual. A tag with the "
                    "trigger word always stays.",
                ),
                fraction_input(
                    "caption_dropout",
                    0.0,
                    "Probability of leaving out the whole caption, so that only the trigger word "
                    "(or the template) remains. 0.05 to 0.1 is usual.",
                ),
                io.Combo.Input(
                    "missing",
                    options=["add", "error"],
                    default="add",
                    tooltip="What to do with captions that do not contain the trigger word. 'add': "
                    "put it in front. 'error': stop and list them.",
                ),
                io.Combo.Input(
                    "source",
                    options=["auto", "text files", "metadata", "folder names", "file names"],
                    default="auto",
                    advanced=True,
                    tooltip="Where to find captions if none are typed or connected: 'auto' takes a "
                    ".txt or .caption file beside the image, else a metadata file (kohya's "
                    "JSON), else the words of a folder '20_cat', else the words of the file name.",
                ),
                text_input(
                    "extension", "", "Extension of the caption files. Empty = .txt, then .caption."
                ),
                text_input(
                    "metadata_file",
                    "",
                    "Name of the metadata file in the image folder, or its path in input/ or "
                    "datasets/. Empty = metadata.json, metadata.jsonl, meta_cap.json, "
                    "meta_clean.json or metadata.csv.",
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
                    "caption_dropout_epochs",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                    tooltip="Leave out the captions in every n-th epoch, so that only the trigger "
                    "word (or the template) remains. 0 = off (kohya's "
                    "caption_dropout_every_n_epochs).",
                ),
                io.Int.Input(
                    "warmup_min",
                    display_name="token warmup min",
                    default=1,
                    min=0,
                    max=100,
                    advanced=True,
                    tooltip="Number of tags at the start of token warmup (kohya's "
                    "token_warmup_min).",
                ),
                io.Int.Input(
                    "warmup_steps",
                    display_name="token warmup steps",
                    default=0,
                    min=0,
                    max=100000,
                    advanced=True,
                    tooltip="Number of steps over which all tags are phased in (kohya's "
                    "token_warmup_step). 0 = off.",
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
    def check_together(cls, given: Mapping[str, Any]) -> None:
        check_lengths(given)
        CaptionFiles(
            extension=given.get("extension") or "", pattern=given.get("name_pattern") or ""
        )
        read_templates(given.get("templates") or "", given.get("template_file") or "")

    @classmethod
    def fingerprint_inputs(
        cls, template_file: str | None, metadata_file: str | None, **rest: Any
    ) -> str:
        state = caption_options_state(template_file, metadata_file)
        return f"{state} {times_given_anew(shared=True)}"

    @classmethod
    @checked
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
        named = (template_file, metadata_file)
        holds_while_same(lambda: caption_options_state(*named), "template_file", "metadata_file")
        check_lengths(switches)
        files = CaptionFiles(source, extension, metadata_file, name_pattern, name_joiner)
        caption_settings = CaptionSettings(
            read_templates(templates, template_file),
            typed_templates=not template_file.strip(),
            lines="draw" if wildcards else "join",
            wildcards=wildcards,
            **switches,
        )
        return io.NodeOutput(CaptionOptions(files, caption_settings))


class ConceptMaskOptions(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptMaskOptions",
            display_name="Mask Options",
            category=CATEGORY,
            description="Sets where masks come from, and how much the rest of an image counts.",
            search_aliases=["textual inversion", "masked loss", "alpha mask", "weight"],
            inputs=[
                io.Combo.Input(
                    "source",
                    options=["auto", "files", "alpha", "none"],
                    default="auto",
                    tooltip="'files' uses 'image_mask.png' beside the image, 'alpha' its "
                    "transparency, 'auto' the file, else the transparency. 'none' uses neither. "
                    "Connected masks always come first.",
                ),
                fraction_input(
                    "unmasked",
                    0.0,
                    "How much the rest of the image counts. 0 learns only what is white; 0.05 to "
                    "0.2 learns a little from the surroundings.",
                ),
                io.Boolean.Input(
                    "normalize",
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
                    tooltip="The color behind transparent areas.",
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
    @checked
    def execute(cls, background: str, **rest: Any) -> io.NodeOutput:
        return io.NodeOutput(MaskSettings(background=BACKGROUNDS[background], **rest))
