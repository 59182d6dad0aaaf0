"""LoadImagesAsConcept and its relatives: pictures and captions, ready to train on."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..ti_core.concept.audit import concept_report, crops_batch
from ..ti_core.concept.concept import Concept, joined_concepts
from ..ti_core.concept.gather import CaptionOptions
from ..ti_core.concept.masks import MaskSettings
from ..ti_core.host.page.linked_outputs import is_linked
from ..ti_core.host.pictures.concept_requests import (
    Request,
    check_choices,
    folder_state,
    load_concept,
)
from ..ti_core.host.pictures.dataset_files import dataset_file_state, load_dataset_file
from ..ti_core.host.pictures.folders import NO_FOLDER
from ..ti_core.host.pictures.picture_folders import picture_folders
from .concept_options import PictureFitting
from .sockets import (
    CATEGORY,
    CaptionOptionsSocket,
    ConceptSocket,
    MaskOptionsSocket,
    PictureFitSocket,
)

KINDS = ["object", "style", "captions", "object and captions", "style and captions"]
CROPS = 1  # number of the output
CONCEPT_OUTPUTS: list[Any] = [
    ConceptSocket.Output(
        display_name="concept", tooltip="Pictures and captions, for Train Textual Inversion."
    ),
    io.Image.Output(
        display_name="crops",
        tooltip="The exact pictures for training. Smaller ones are placed on grey. Made only "
        "if connected, because they take four times the memory of the concept.",
    ),
    io.String.Output(display_name="report", tooltip="What was found, and warnings."),
]


def concept_outputs(concept: Concept, notes: list[str]) -> io.NodeOutput:
    """The outputs of a node that makes a concept, with its report on the node."""
    text = "\n".join([concept_report(concept), *notes])
    crops = crops_batch(concept) if is_linked(CROPS) else None
    return io.NodeOutput(concept, crops, text, ui=ui.PreviewText(text))


def crops_state() -> str:
    """Changes when the crops output is linked, so that the host asks for it again."""
    return f"crops {is_linked(CROPS)}"


class LoadImagesAsConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImagesAsConcept",
            display_name="Load Images as Concept",
            category=CATEGORY,
            description="Loads 3 to 20 pictures of one thing or style, crops them to squares, and "
            "adds the captions to train with.",
            search_aliases=["textual inversion", "dataset", "training images", "concept"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            is_input_list=True,
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=picture_folders(),
                    default=NO_FOLDER,
                    tooltip="Sub-folder of ComfyUI's input/ or datasets/ folder with the pictures. "
                    "'none' if they come from the images input. If both are given, all are used. "
                    "Folders inside it named '20_cat' are repeated 20 times, as in kohya's "
                    "trainer.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Pictures from the graph, as a batch or a list.",
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=64,
                    max=2048,
                    step=64,
                    tooltip="Side of the square that is cut from the middle of each picture, in "
                    "pixels (with buckets in Picture Fit: the same area). Use what the model was "
                    "made for: 512 for SD 1.x, 768 for SD 2.x, 1024 for SDXL. Lower is faster but "
                    "loses detail.",
                ),
                io.Combo.Input(
                    "kind",
                    options=KINDS,
                    default="object",
                    tooltip="'object' trains with sentences like 'a photo of my-cat', 'style' with "
                    "'a painting in the style of my-style'. 'captions' uses the captions below, or "
                    "caption files if that is empty. '... and captions' adds the caption after the "
                    "sentence.",
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    placeholder="for kind 'captions': one line per picture, or one for all; empty "
                    "= from files",
                    optional=True,
                    tooltip="For the kinds with captions: one line per picture, or one line for "
                    "all. Empty = from text files, metadata or file names in the folder. You can "
                    "connect a list of STRINGs, one per picture. {} or [name] stands for the "
                    "placeholder; if it is missing, it is put in front. Describe what is NOT the "
                    "concept (size, position, background, light, pose): what the caption says is "
                    "not learned; the word is, in fewer steps.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="Where to learn: white is learned, black is not. One mask per picture "
                    "of the images input (of the folder if no images are connected), or one for "
                    "all. Without it, files named 'picture_mask.png' are used.",
                ),
                PictureFitSocket.Input(
                    "fit",
                    optional=True,
                    tooltip="From Picture Fit: buckets, random crops, flips. Without it, squares "
                    "are cut from the middle.",
                ),
                CaptionOptionsSocket.Input(
                    "caption_options",
                    optional=True,
                    tooltip="From Caption Options: your own templates, shuffling, dropout, and "
                    "where to find captions.",
                ),
                MaskOptionsSocket.Input(
                    "mask_options",
                    optional=True,
                    tooltip="From Mask Options: transparency as mask, and the weight of the rest "
                    "of the picture.",
                ),
                io.Int.Input(
                    "repeats",
                    default=1,
                    min=1,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="How often each picture is shown in a round. Only matters with other "
                    "concepts (Join Concepts): 1 to 20, to balance few pictures with many.",
                ),
                io.Boolean.Input(
                    "subfolders",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Also read the sub-folders of the folder.",
                ),
                io.Combo.Input(
                    "unreadable",
                    options=["stop", "skip"],
                    default="stop",
                    optional=True,
                    advanced=True,
                    tooltip="What to do with broken, huge or tiny picture files: 'stop' lists them "
                    "in an error, 'skip' leaves them out and lists them in the report.",
                ),
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def validate_inputs(
        cls,
        folder: list[Any],
        kind: Sequence[Any] = ("",),
        captions: Sequence[Any] = ("",),
        images: Sequence[None] = (),
        caption_options: Sequence[None] = (),
        subfolders: Sequence[Any] = (True,),
        unreadable: Sequence[Any] = ("stop",),
    ) -> bool:
        """Refuses at Run what cannot work; what comes over a wire is None here. Raises ValueError,
        which the host tells once; a text it would tell for every input.
        """
        chosen = (folder[0], kind[0], captions[0], subfolders[0], unreadable[0])
        if None in chosen:
            return True
        if kind[0] not in ("", *KINDS):
            raise ValueError(f"There is no kind {kind[0]!r}. Choose one of {', '.join(KINDS)}.")
        as_typed = "captions" in kind[0] and not caption_options and unreadable[0] == "stop"
        typed = captions[0] if as_typed else ""
        check_choices(folder[0], bool(images), typed, subfolders[0])
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: list[str], **rest: Any) -> str:
        state = folder[0] if folder[0] == NO_FOLDER else folder_state(folder[0])
        return f"{state} {crops_state()}"

    @classmethod
    def execute(
        cls,
        folder: list[str],
        resolution: list[int],
        kind: list[Any],
        images: list[torch.Tensor] | None = None,
        captions: list[str] | None = None,
        masks: list[torch.Tensor] | None = None,
        fit: list[PictureFitting] | None = None,
        caption_options: list[CaptionOptions] | None = None,
        mask_options: list[MaskSettings] | None = None,
        repeats: list[int] | None = None,
        subfolders: list[bool] | None = None,
        unreadable: list[Any] | None = None,
    ) -> io.NodeOutput:
        fitting = (fit or [PictureFitting()])[0]
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


class ConceptJoin(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = io.Autogrow.TemplatePrefix(
            ConceptSocket.Input("concept", tooltip="Pictures of the same thing or style."),
            prefix="concept",
            min=2,
            max=16,
        )
        return io.Schema(
            node_id="ConceptJoin",
            display_name="Join Concepts",
            category=CATEGORY,
            description="Trains one word on pictures from several sources. Each keeps its own "
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
    def execute(cls, concepts: dict[str, Concept]) -> io.NodeOutput:
        return concept_outputs(joined_concepts(list(concepts.values())), [])


class ConceptFromKohyaDataset(io.ComfyNode):
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
                    options=["captions", "object", "style"],
                    default="captions",
                    tooltip="'captions' trains with the captions of the dataset. 'object' and "
                    "'style' use built-in sentences, like kohya's use_object_template and "
                    "use_style_template.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    advanced=True,
                    tooltip="Decides random crops, flips and colours.",
                ),
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None, kind: Any = None, **rest: Any) -> str:
        return f"{dataset_file_state(file, kind)} {crops_state()}"

    @classmethod
    def execute(cls, file: str, kind: Any, seed: int) -> io.NodeOutput:
        concept, notes = load_dataset_file(file, kind, seed)
        return concept_outputs(concept, notes)
