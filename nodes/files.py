"""SaveEmbedding, LoadTextualInversion and ConvertTextualInversion: words as files, read from every
trainer and written for every tool.
"""

import time
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..ti_core.host.embedding_files import (
    chosen_file,
    embedding_files,
    export_settings,
    file_state,
    in_prompts,
    load_embedding,
    name_below,
    save_embedding,
)
from ..ti_core.word.embedding import Embedding
from ..ti_core.word.formats import FORMATS, NumberType, file_advice
from ..ti_core.word.inspection import inspection_report
from .sockets import CATEGORY, EmbeddingSocket

FILE_HELP = (
    "A file in ComfyUI's embeddings folder, from any trainer: .safetensors, .pt, .bin, or a "
    "picture that contains an embedding. You can also drop a file onto the node."
)
NO_FILE = "none"
FORMAT_HELP = (
    "'standard' is the .safetensors file that most tools read, including ComfyUI. 'automatic1111' "
    "is that tool's .pt. 'diffusers' names the vectors by the word (two files for SDXL). "
    "'onetrainer' uses that tool's keys. 'share picture' is a PNG card that contains the vectors "
    "and this workflow."
)


def word_input() -> io.Input:
    """Which of several words."""
    return io.String.Input(
        "word",
        default="",
        optional=True,
        advanced=True,
        placeholder="only for files with several words",
        tooltip="Which word to read if the file holds several: a word bundled in a LoRA, a layer "
        "of an XTI file. Leave it empty for other files. If it is needed, the error lists the "
        "words.",
    )


def name_input(own: str = "") -> io.Input:
    """The name of the file to write; `own` says what is replaced unasked."""
    return io.String.Input(
        "name",
        default="",
        placeholder="empty = the word itself",
        tooltip="File name, with '/' for a sub-folder of the embeddings folder (pets/my-cat). "
        f"Empty = the placeholder. {own}If the file exists, a number is added, unless overwrite is "
        "on.",
    )


def format_input(optional: bool = False) -> io.Input:
    """What to write; optional where prompts of before it existed go without."""
    return io.Combo.Input(
        "format",
        options=list(FORMATS),
        default="standard",
        optional=optional,
        tooltip=FORMAT_HELP,
    )


def storage_inputs() -> list[io.Input]:
    """Number format, and what happens to a file of the same name."""
    return [
        io.Combo.Input(
            "storage",
            options=["fp32", "fp16"],
            default="fp32",
            advanced=True,
            tooltip="fp32 keeps the vectors exactly; fp16 halves the file, which has only a few "
            "kilobytes.",
        ),
        io.Boolean.Input(
            "overwrite",
            default=False,
            advanced=True,
            tooltip="Replace an existing file of any run instead of adding a number to the name.",
        ),
    ]


def picture_input() -> io.Input:
    """A sample for card and thumbnail."""
    return io.Image.Input(
        "picture",
        optional=True,
        tooltip="A sample drawn with the word. It is shown on the share picture, or becomes the "
        "thumbnail of a standard file. The first of a batch is used.",
    )


def saved(
    node: type[io.ComfyNode],
    embedding: Embedding,
    name: str,
    kind: str,
    storage: NumberType,
    overwrite: bool,
    picture: Tensor | None,
) -> io.NodeOutput:
    """Write the files, and tell where they are."""
    hidden = node.hidden
    export = export_settings(storage, picture, hidden.prompt, hidden.extra_pnginfo)
    paths = save_embedding(embedding, name.strip(), kind, export, overwrite)
    names = ", ".join(name_below(path) for path in paths)
    prompt = in_prompts(paths[0], embedding, kind)
    lines = [f"Saved as {names}.", *embedding.notes, file_advice(embedding)]
    shown = {"text": ["\n".join(filter(None, lines))], "ti_prompt": [prompt]}
    return io.NodeOutput("\n".join(map(str, paths)), ui=shown)


class EmbeddingFileNode(io.ComfyNode):
    """What the nodes with an input `file` have in common. The choice is None as long as it is to
    come over a wire.
    """

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Instead of the host's own check, because a dropped file lies in input/; what comes over
        a wire is looked for when the node runs.
        """
        try:
            return file is None or bool(chosen_file(file))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **others: Any) -> str:
        """Changes with the file, so that a new one of the same name is read; without a known
        choice at each run.
        """
        return str(time.time_ns()) if file is None else file_state(file)


class SaveEmbedding(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveEmbedding",
            display_name="Save Embedding",
            category=CATEGORY,
            description="Writes the word to the embeddings folder. Prompts can then use it as "
            "'embedding:name'; for models whose text encoders cannot, the node says so. "
            "AUTOMATIC1111, Forge and diffusers read words of SD 1.x, SD 2.x and SDXL too.",
            search_aliases=["textual inversion", "export embedding", "share embedding"],
            is_output_node=True,
            inputs=[
                EmbeddingSocket.Input("embedding", tooltip="The word to save."),
                name_input("A file that the same run has saved is replaced. "),
                *storage_inputs(),
                format_input(optional=True),
                picture_input(),
            ],
            outputs=[
                io.String.Output(
                    display_name="path",
                    tooltip="The path of the file; one line per file of a pair.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        embedding: Embedding,
        name: str,
        storage: NumberType,
        overwrite: bool,
        format: str = "standard",
        picture: Tensor | None = None,
    ) -> io.NodeOutput:
        return saved(cls, embedding, name, format, storage, overwrite, picture)


class LoadTextualInversion(EmbeddingFileNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadTextualInversion",
            display_name="Load Embedding",
            category=CATEGORY,
            description="Reads an embedding from any trainer's file or from a picture, to use it "
            "in prompts, train it further, inspect it or blend it.",
            search_aliases=["textual inversion", "import embedding", "open embedding"],
            has_intermediate_output=True,  # What it says is told again from the cache.
            inputs=[
                io.Combo.Input("file", options=embedding_files(), tooltip=FILE_HELP),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The CLIP to use the word with. If connected, the node checks that the "
                    "file fits it, assigns vectors without an encoder name by their width, and "
                    "makes strength 0 in Apply Embedding to CLIP mean the initialiser, if it is "
                    "known.",
                ),
                io.String.Input(
                    "placeholder",
                    default="",
                    optional=True,
                    placeholder="empty = as in the file",
                    tooltip="The word in prompts. Empty = the name stored in the file, else the "
                    "file name. Characters that prompts cannot contain become '-'.",
                ),
                io.String.Input(
                    "initialiser",
                    default="",
                    optional=True,
                    advanced=True,
                    placeholder="empty = as in the file",
                    tooltip="What it is, in one or a few words (cat, painting). Used for encoders "
                    "without vectors in the file, and as strength 0 if clip is connected. Empty = "
                    "as stored in the file. If nothing is stored, the words of the placeholder are "
                    "used, and strength scales the length.",
                ),
                word_input(),
            ],
            outputs=[
                EmbeddingSocket.Output(
                    display_name="embedding",
                    tooltip="The word, for Apply Embedding to CLIP, Train Textual Inversion or "
                    "Save Embedding.",
                ),
                io.String.Output(
                    display_name="report", tooltip="What was read, and which models it fits."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        file: str,
        clip: Any = None,
        placeholder: str = "",
        initialiser: str = "",
        word: str = "",
    ) -> io.NodeOutput:
        found = load_embedding(file, word.strip(), clip, placeholder.strip(), initialiser.strip())
        report = inspection_report(found, {})
        return io.NodeOutput(found, report, ui=ui.PreviewText(report))


class ConvertTextualInversion(EmbeddingFileNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConvertTextualInversion",
            display_name="Convert Embedding",
            category=CATEGORY,
            description="Reads an embedding file of any trainer and writes it for another tool to "
            "the embeddings folder. The vectors stay the same.",
            search_aliases=["textual inversion", "embedding format", "export embedding"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *embedding_files()],
                    default=NO_FILE,
                    tooltip=f"{FILE_HELP} '{NO_FILE}': nothing is written.",
                ),
                format_input(),
                name_input(),
                *storage_inputs(),
                word_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Rarely needed: only if the file does not say which encoder its "
                    "vectors are for, and it is not the usual one of that width.",
                ),
                picture_input(),
            ],
            outputs=[
                io.String.Output(
                    display_name="path",
                    tooltip="The path of the file; one line per file of a pair.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        return file == NO_FILE or super().validate_inputs(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **others: Any) -> str:
        # Without a known choice always the same: each run would write a file more.
        return file_state(file) if file not in (None, NO_FILE) else ""

    @classmethod
    def execute(
        cls,
        file: str,
        format: str,
        name: str,
        storage: NumberType,
        overwrite: bool,
        word: str = "",
        clip: Any = None,
        picture: Tensor | None = None,
    ) -> io.NodeOutput:
        if file == NO_FILE:
            text = "Nothing was written. Choose a file, or drop one onto the node."
            return io.NodeOutput("", ui=ui.PreviewText(text))
        found = load_embedding(file, word.strip(), clip, "", "")
        return saved(cls, found, name, format, storage, overwrite, picture)
