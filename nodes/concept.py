"""LoadImagesAsConcept and its relatives: images and captions, ready to train on."""

from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..ti_core.concept.audit import concept_report, crops_batch
from ..ti_core.concept.concept import Concept, joined_concepts
from ..ti_core.concept.fit import FitSettings, check_buckets
from ..ti_core.concept.gather import CaptionOptions
from ..ti_core.concept.masks import MaskSettings
from ..ti_core.host.images.concept_requests import (
    Request,
    check_choices,
    folder_state,
    load_concept,
)
from ..ti_core.host.images.dataset_files import (
    check_dataset_file,
    dataset_file_state,
    load_dataset_file,
)
from ..ti_core.host.images.folders import NO_FOLDER
from ..ti_core.host.images.image_folders import image_folders
from ..ti_core.host.page.kept_results import holds_while_same, times_given_anew
from ..ti_core.host.page.linked_outputs import is_linked
from ..ti_core.host.page.queued_prompt import Sent, source, this_node
from ..ti_core.quoted import quoted
from .checked import CheckedNode, checked
from .concept_options import CropSettings
from .sockets import (
    CATEGORY,
    CaptionOptionsSocket,
    ConceptSocket,
    CropSocket,
    MaskOptionsSocket,
)

KINDS = ["object", "style", "captions", "object and captions", "style and captions"]
CROPS = 1  # number of the output
CONCEPT_OUTPUTS: list[Any] = [
    ConceptSocket.Output(
        display_name="concept", tooltip="Images and captions, for Train Textual Inversion."
    ),
    io.Image.Output(
        display_name="crops",
        tooltip="The exact crops that are trained on; smaller ones are placed on gray. Only "
        "made if connected, because they take four times the memory of the concept.",
    ),
    io.String.Output(display_name="report", tooltip="What was loaded, and warnings."),
]


def concept_outputs(concept: Concept, notes: list[str]) -> io.NodeOutput:
    """The outputs of a node that makes a concept, with its report on the node."""
    text = "\n".join([concept_report(concept), *notes])
    crops = crops_batch(concept) if is_linked(CROPS) else None
    return io.NodeOutput(concept, crops, text, ui=ui.PreviewText(text))


def crops_state() -> str:
    """Changes when the crops output is linked, so that the host asks for it again."""
    return f"crops {is_linked(CROPS)}"


def state_of_choice(folder: str | None) -> str:
    """Changes when anything in a chosen folder does; one that comes over a wire is not known."""
    return folder_state(folder) if folder not in (None, NO_FOLDER) else str(folder)


def check_fit(fit: Sent | None, resolution: int | None) -> None:
    """Raise ValueError where Crop & Buckets leaves no bucket at a resolution."""
    names = ("step", "smallest", "largest", "upscale")
    given: dict[str, Any] = {name: fit.inputs.get(name) for name in names} if fit else {}
    typed = all(isinstance(value, int) for value in given.values())
    if fit and fit.inputs.get("shape") == "buckets" and typed and resolution is not None:
        check_buckets(FitSettings(resolution, resolution, True, **given))


class LoadImagesAsConcept(CheckedNode):
    found_by_node = ("folder", "kind")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImagesAsConcept",
            display_name="Load Images as Concept",
            category=CATEGORY,
            description="Loads 3 to 20 images of one subject or style, crops them, and pairs "
            "them with captions.",
            search_aliases=[
                "textual inversion",
                "dataset",
                "training images",
                "concept",
                "instance images",
            ],
            has_intermediate_output=True,  # What it says is told again from the cache.
            is_input_list=True,
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=image_folders(),
                    default=NO_FOLDER,
                    tooltip="Folder with the images, inside ComfyUI's input/ or datasets/. 'none' "
                    "if they come from the images input; with both, all are used. Subfolders named "
                    "'20_cat' are repeated 20 times, as in kohya's trainer.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Images from the graph, as a batch or a list.",
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=64,
                    max=2048,
                    step=64,
                    tooltip="Side of the square cut from the center of each image, in pixels (with "
                    "buckets from Crop & Buckets: the same area). Use the model's own: 512 for SD "
                    "1.x, 768 for SD 2.x, 1024 for SDXL. Lower is faster but loses detail.",
                ),
                io.Combo.Input(
                    "kind",
                    display_name="captions",
                    options=KINDS,
                    default="object",
                    tooltip="What the images are paired with. 'object': built-in sentences such as "
                    "'a photo of my-cat'. 'style': 'a painting in the style of my-style'. "
                    "'captions': the caption text below, or caption files if it is empty. '... and "
                    "captions': a sentence followed by the caption.",
                ),
                io.String.Input(
                    "captions",
                    display_name="caption text",
                    default="",
                    multiline=True,
                    placeholder="captions: one line per image, or one for all; empty = from files",
                    optional=True,
                    tooltip="One line per image, or one line for all. Empty = from text files, "
                    "metadata or file names in the folder. You can connect a list of STRINGs, one "
                    "per image. {} or [name] stands for the trigger word; if it is missing, it is "
                    "put in front. Describe everything but the subject (size, position, "
                    "background, light, pose); the word then learns the subject, faster.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="Parts of the images to learn: white counts, black does not. One mask "
                    "per image of the images input (of the folder if no images are connected), or "
                    "one for all. Without masks, files named 'image_mask.png' are used.",
                ),
                CropSocket.Input(
                    "fit",
                    optional=True,
                    tooltip="From Crop & Buckets: buckets, random crops, flips. Without it, "
                    "squares are cut from the middle.",
                ),
                CaptionOptionsSocket.Input(
                    "caption_options",
                    optional=True,
                    tooltip="From Caption Options: your own templates, shuffling, dropout, and the "
                    "source of captions.",
                ),
                MaskOptionsSocket.Input(
                    "mask_options",
                    optional=True,
                    tooltip="From Mask Options: transparency as mask, and the weight of the rest "
                    "of the image.",
                ),
                io.Int.Input(
                    "repeats",
                    default=1,
                    min=1,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="How often each image is used per epoch. Only matters with Join "
                    "Concepts: 1 to 20, to balance a small set with a large one.",
                ),
                io.Boolean.Input(
                    "subfolders",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Also read subfolders.",
                ),
                io.Combo.Input(
                    "unreadable",
                    options=["stop", "skip"],
                    default="stop",
                    optional=True,
                    advanced=True,
                    tooltip="What to do with broken, huge or tiny image files. 'stop': an error "
                    "that lists them. 'skip': leave them out and list them in the report.",
                ),
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        check_fit(source(this_node(), "fit"), given.get("resolution"))
        names = ("folder", "kind", "captions", "subfolders", "unreadable")
        chosen = {"captions": "", "subfolders": True, "unreadable": "stop", **given}
        folder, kind, captions, subfolders, unreadable = (chosen.get(name) for name in names)
        if kind is not None and kind not in KINDS:
            raise ValueError(
                f"captions cannot be {quoted(kind)}. Choose one of {', '.join(KINDS)}."
            )
        if folder is not None and kind is not None and subfolders is not None:
            plain = "caption_options" not in given and unreadable == "stop"
            typed = captions if plain and "captions" in kind else ""
            check_choices(folder, "images" in given, typed or "", subfolders)

    @classmethod
    def fingerprint_inputs(cls, folder: list[Any], **rest: Any) -> str:
        return f"{state_of_choice(folder[0])} {crops_state()} {times_given_anew(shared=True)}"

    @classmethod
    @checked
    def execute(
        cls,
        folder: list[str],
        resolution: list[int],
        kind: list[Any],
        images: list[torch.Tensor] | None = None,
        captions: list[str] | None = None,
        masks: list[torch.Tensor] | None = None,
        fit: list[CropSettings] | None = None,
        caption_options: list[CaptionOptions] | None = None,
        mask_options: list[MaskSettings] | None = None,
        repeats: list[int] | None = None,
        subfolders: list[bool] | None = None,
        unreadable: list[Any] | None = None,
    ) -> io.NodeOutput:
        holds_while_same(lambda: state_of_choice(folder[0]), "folder")
        fitting = (fit or [CropSettings()])[0]
        concept, notes = load_concept(
            Request(
                folder[0],
                images or [],
                kind[0],
                captions or [],
                fitting.at(resolution[0]),
                masks or [],
                (caption_options or [CaptionOptions()])[0],
                (mask_options or [MaskSettings()])[0],
                fitting.latents,
                (repeats or [1])[0],
                (subfolders or [True])[0],
                (unreadable or ["stop"])[0] == "skip",
            )
        )
        return concept_outputs(concept, notes)


class ConceptJoin(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = io.Autogrow.TemplatePrefix(
            ConceptSocket.Input("concept", tooltip="Images of the same subject or style."),
            prefix="concept",
            min=2,
            max=16,
        )
        return io.Schema(
            node_id="ConceptJoin",
            display_name="Join Concepts",
            category=CATEGORY,
            description="Trains one word on images from several sources. Each keeps its own "
            "captions, sizes, masks and repeats.",
            search_aliases=["textual inversion", "merge datasets", "several folders"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Autogrow.Input(
                    "concepts",
                    template=inputs,
                    tooltip="Concepts to join. A new input appears when you use the last one.",
                )
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def fingerprint_inputs(cls, **rest: Any) -> str:
        return crops_state()

    @classmethod
    @checked
    def execute(cls, concepts: dict[str, Concept]) -> io.NodeOutput:
        return concept_outputs(joined_concepts(list(concepts.values())), [])


class ConceptFromKohyaDataset(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptFromKohyaDataset",
            display_name="Load Kohya Dataset",
            category=CATEGORY,
            description="Reads a dataset file (TOML) of kohya's sd-scripts unchanged: folders, "
            "repeats, buckets and caption options.",
            search_aliases=["textual inversion", "kohya", "sd-scripts", "dataset config", "toml"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.String.Input(
                    "file",
                    default="input/dataset.toml",
                    tooltip="A file in ComfyUI's input/ or datasets/ folder, for example "
                    "'input/cats/dataset.toml'. An image_dir from another computer is found by its "
                    "folder name, beside the file or in these folders.",
                ),
                io.Combo.Input(
                    "kind",
                    display_name="captions",
                    options=["captions", "object", "style"],
                    default="captions",
                    tooltip="'captions' uses the captions of the dataset. 'object' and 'style' use "
                    "built-in sentences, like kohya's use_object_template and use_style_template.",
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
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("file") is not None:
            check_dataset_file(given["file"], given.get("kind"))

    @classmethod
    def fingerprint_inputs(cls, file: str | None, kind: Any = None, **rest: Any) -> str:
        state = dataset_file_state(file, kind)
        return f"{state} {crops_state()} {times_given_anew(shared=True)}"

    @classmethod
    @checked
    def execute(cls, file: str, kind: Any, seed: int) -> io.NodeOutput:
        holds_while_same(lambda: dataset_file_state(file, kind), "file", "kind")
        concept, notes = load_dataset_file(file, kind, seed)
        return concept_outputs(concept, notes)
