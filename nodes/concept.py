"""LoadImagesAsConcept and its relatives: pictures and captions, ready to train on."""

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..ti_core.concept.audit import concept_report, crops_batch
from ..ti_core.concept.concept import Concept, joined_concepts
from ..ti_core.concept.gather import CaptionOptions
from ..ti_core.concept.masks import MaskSettings
from ..ti_core.host.page.progress import say
from ..ti_core.host.pictures.concept_requests import Request, folder_state, load_concept
from ..ti_core.host.pictures.dataset_files import dataset_file_state, load_dataset_file
from ..ti_core.host.pictures.folders import NO_FOLDER, picture_folders
from .concept_options import PictureFitting
from .sockets import (
    CATEGORY,
    CaptionOptionsSocket,
    ConceptSocket,
    MaskOptionsSocket,
    PictureFitSocket,
)

KINDS = ["object", "style", "captions", "object and captions", "style and captions"]
CONCEPT_OUTPUTS: list[Any] = [
    ConceptSocket.Output(
        display_name="concept", tooltip="Pictures and captions, for Train Textual Inversion."
    ),
    io.Image.Output(
        display_name="crops",
        tooltip="Exactly the pictures that will be trained on; smaller sizes lie on grey.",
    ),
    io.String.Output(display_name="report", tooltip="What was found, and what needs a look."),
]


def concept_outputs(concept: Concept, notes: list[str], node_id: str | None) -> io.NodeOutput:
    """The outputs of a node that makes a concept, with its report on the node."""
    text = "\n".join([concept_report(concept), *notes])
    say(text, node_id)
    return io.NodeOutput(concept, crops_batch(concept), text, ui=ui.PreviewText(text))


class LoadImagesAsConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImagesAsConcept",
            display_name="Load Images as Concept",
            category=CATEGORY,
            description="Gathers the pictures of one thing or style, 3 to 20 of them, cut to a "
            "square, with the captions to train with.",
            search_aliases=["textual inversion", "dataset", "training images", "concept"],
            is_input_list=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=picture_folders(),
                    default=NO_FOLDER,
                    tooltip="Sub-folder of ComfyUI's input/ or datasets/ folder with the pictures. "
                    "'none' when they come from the images input; with both, all are used. Folders "
                    "inside it named '20_cat' count 20 times, as in kohya's trainer.",
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
                    "pixels (with buckets in Picture Fit: the square of the same area). What the "
                    "model was made for: 512 for SD 1.x, 768 or 1024 for SD 2.x and SDXL. "
                    "Lower trains faster and sees less.",
                ),
                io.Combo.Input(
                    "kind",
                    options=KINDS,
                    default="object",
                    tooltip="'object' trains with sentences such as 'a photo of my-cat', 'style' "
                    "with 'a painting in the style of my-style', 'captions' with the text below, "
                    "or if it is empty with text files beside the pictures. '... and captions' "
                    "puts the caption behind the sentence.",
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    placeholder="for kind 'captions': a line per picture, or one for all; empty: "
                    "from files",
                    optional=True,
                    tooltip="For kind 'captions': one line per picture, or a single line for all; "
                    "empty takes the text files, metadata or file names of the folder. A list of "
                    "STRINGs can be connected, one for each picture. "
                    "{} or [name] stands for the placeholder; where it is missing it is put in "
                    "front. "
                    "Describe what is NOT the concept (place, light, pose): what is said is not "
                    "learned.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="Where to look: white is learned, black is not. One mask per picture "
                    "of the images input (of the folder if that is empty), or one for all. "
                    "Without it, files named 'picture_mask.png' are used.",
                ),
                PictureFitSocket.Input(
                    "fit",
                    optional=True,
                    tooltip="From Picture Fit: buckets, random crops, flips. Without it, squares "
                    "from the middle.",
                ),
                CaptionOptionsSocket.Input(
                    "caption_options",
                    optional=True,
                    tooltip="From Caption Options: own templates, shuffling, dropout, and where "
                    "captions are looked for.",
                ),
                MaskOptionsSocket.Input(
                    "mask_options",
                    optional=True,
                    tooltip="From Mask Options: transparency as mask, and how much the rest of "
                    "the picture counts.",
                ),
                io.Int.Input(
                    "repeats",
                    default=1,
                    min=1,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="How often these pictures are shown in a round. Only matters beside "
                    "other concepts (Join Concepts): 1 to 20, to balance few pictures with many.",
                ),
                io.Boolean.Input(
                    "subfolders",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Also read the folders inside the folder.",
                ),
                io.Combo.Input(
                    "unreadable",
                    options=["stop", "skip"],
                    default="stop",
                    optional=True,
                    advanced=True,
                    tooltip="What to do about broken, huge or tiny picture files: 'stop' names "
                    "them, 'skip' leaves them out and names them in the report.",
                ),
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def fingerprint_inputs(cls, folder: list[str], **rest: Any) -> str:
        return folder[0] if folder[0] == NO_FOLDER else folder_state(folder[0])

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
        return concept_outputs(concept, notes, cls.hidden.unique_id)


class ConceptJoin(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = io.Autogrow.TemplatePrefix(
            ConceptSocket.Input("concept", tooltip="Pictures that show the same thing or style."),
            prefix="concept",
            min=2,
            max=16,
        )
        return io.Schema(
            node_id="ConceptJoin",
            display_name="Join Concepts",
            category=CATEGORY,
            description="Trains one word on the pictures of several sources, each with its own "
            "captions, sizes, masks and repeats.",
            search_aliases=["textual inversion", "merge datasets", "several folders"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Autogrow.Input(
                    "concepts",
                    template=inputs,
                    tooltip="Concepts to join; a new socket appears as the last is used.",
                )
            ],
            outputs=CONCEPT_OUTPUTS,
        )

    @classmethod
    def execute(cls, concepts: dict[str, Concept]) -> io.NodeOutput:
        return concept_outputs(joined_concepts(list(concepts.values())), [], cls.hidden.unique_id)


class ConceptFromKohyaDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptFromKohyaDataset",
            display_name="Load Kohya Dataset",
            category=CATEGORY,
            description="Reads a dataset file (TOML) of kohya's sd-scripts as it is: folders, "
            "repeats, buckets and caption switches.",
            search_aliases=["textual inversion", "kohya", "sd-scripts", "dataset config", "toml"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "file",
                    default="input/dataset.toml",
                    tooltip="The file in ComfyUI's input/ or datasets/ folder, such as "
                    "'input/cats/dataset.toml'. An image_dir of another machine is looked for by "
                    "its last name beside the file and in these folders.",
                ),
                io.Combo.Input(
                    "kind",
                    options=["captions", "object", "style"],
                    default="captions",
                    tooltip="'captions' trains with the captions of the dataset; 'object' and "
                    "'style' with built-in sentences, as kohya's use_object_template and "
                    "use_style_template do.",
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
        return dataset_file_state(file, kind)

    @classmethod
    def execute(cls, file: str, kind: Any, seed: int) -> io.NodeOutput:
        concept, notes = load_dataset_file(file, kind, seed)
        return concept_outputs(concept, notes, cls.hidden.unique_id)
