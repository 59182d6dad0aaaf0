"""LoadImagesAsConcept: pictures and captions, ready to train on."""

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..ti_core.concept import Concept, captions_for, centre_crop
from ..ti_core.host.pictures import NO_FOLDER, folder_state, picture_folders, read_pictures
from ..ti_core.host.progress import say
from .sockets import CATEGORY, ConceptSocket

FEW, MANY = 3, 50


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
                    "'none' when they come from the images input; with both, all are used.",
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
                    "pixels. What the model was made for: 512 for SD 1.x, 768 or 1024 for SD 2.x "
                    "and SDXL. "
                    "Lower trains faster and sees less.",
                ),
                io.Combo.Input(
                    "kind",
                    options=["object", "style", "captions"],
                    default="object",
                    tooltip="'object' trains with sentences such as 'a photo of my-cat', 'style' "
                    "with 'a painting in the style of my-style', 'captions' with the text below.",
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    placeholder="for kind 'captions': a line per picture, or one for all",
                    optional=True,
                    tooltip="For kind 'captions': one line per picture, or a single line for all. "
                    "{} or [name] stands for the placeholder; where it is missing it is put in "
                    "front. "
                    "Describe what is NOT the concept (place, light, pose): what is said is not "
                    "learned.",
                ),
            ],
            outputs=[
                ConceptSocket.Output(
                    display_name="concept",
                    tooltip="Pictures and captions, for Train Textual Inversion.",
                ),
                io.Image.Output(
                    display_name="crops", tooltip="Exactly the pictures that will be trained on."
                ),
                io.String.Output(
                    display_name="report", tooltip="What was found, and what needs a look."
                ),
            ],
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
    ) -> io.NodeOutput:
        sources = [] if folder[0] == NO_FOLDER else read_pictures(folder[0])
        from_graph = [picture[..., :3] for batch in images or [] for picture in batch]
        sources += [(f"image {number}", picture) for number, picture in enumerate(from_graph, 1)]
        if not sources:
            raise ValueError("There are no pictures: choose a folder, or connect the images input.")
        lines = (
            captions_for("\n".join(captions or []), len(sources)) if kind[0] == "captions" else ()
        )
        crops = tuple(centre_crop(picture, resolution[0], resolution[0]) for _, picture in sources)
        concept = Concept(crops, tuple(name for name, _ in sources), kind[0], lines)
        text = report(
            concept, [(picture.shape[1], picture.shape[0]) for _, picture in sources], resolution[0]
        )
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(concept, torch.stack(crops), text, ui=ui.PreviewText(text))


def report(concept: Concept, sizes: list[tuple[int, int]], resolution: int) -> str:
    """What was gathered, one line per picture, and what needs a look."""
    lines = [
        f"{len(concept.pictures)} pictures at {resolution} x {resolution}, kind '{concept.kind}'."
    ]
    for index, (name, (width, height)) in enumerate(zip(concept.names, sizes, strict=True)):
        caption = f": {concept.captions[index]}" if concept.captions else ""
        enlarged = ", enlarged" if min(width, height) < resolution else ""
        lines.append(f"{name} ({width} x {height}{enlarged}){caption}")
    if len(sizes) < FEW:
        lines.append(
            f"Fewer than {FEW} pictures: the word will also learn what they have in common by "
            f"chance, such as the background."
        )
    if len(sizes) > MANY:
        lines.append(
            f"More than {MANY} pictures: a few vectors cannot hold that much variety; choose the 5 "
            f"to 20 best."
        )
    return "\n".join(lines)
