"""SaveEmbedding, LoadTextualInversion and ConvertTextualInversion: words as files, read from every
trainer and written for every tool.
"""

from collections.abc import Mapping
from pathlib import Path
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
    namesakes_note,
    save_embedding,
)
from ..ti_core.host.file_state import states_of
from ..ti_core.host.models.text import missing_vectors
from ..ti_core.host.page.kept_results import holds_while, holds_while_same, times_given_anew
from ..ti_core.host.page.queued_prompt import this_node
from ..ti_core.word.embedding import Embedding, check_initializer
from ..ti_core.word.formats import FORMATS, NumberType, file_advice
from ..ti_core.word.formats.file_names import check_new_word, name_to_write
from ..ti_core.word.formats.other_tools import everywhere
from ..ti_core.word.inspection import inspection_report
from .checked import CheckedNode, checked
from .sockets import CATEGORY, EmbeddingSocket
from .typed_words import typed_word

FILE_HELP = (
    "A file in ComfyUI's embeddings folder, from any trainer: .safetensors, .pt, .pti, .bin, or "
    "an image that contains an embedding. You can also drop a file onto the node."
)
NO_FILE = "none"
FORMAT_HELP = (
    "'standard' is the .safetensors file that most tools read, including ComfyUI. 'automatic1111' "
    "is that tool's .pt. 'diffusers' names the vectors by the word (two files for SDXL). "
    "'onetrainer' uses that tool's keys. 'share image' is a PNG card that contains the vectors "
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
        tooltip="Which word to read from a file that holds several: a word bundled in a LoRA, a "
        "layer of an XTI file. Leave it empty for other files. If a choice is needed, the error "
        "lists the words.",
    )


def name_input(own: str = "") -> io.Input:
    """The name of the file to write; `own` says what is replaced unasked."""
    return io.String.Input(
        "name",
        default="",
        placeholder="empty = the word itself",
        tooltip="File name, with '/' for a subfolder of the embeddings folder (pets/my-cat). "
        f"Empty = the trigger word. {own}If the file exists, a number is added, unless overwrite "
        "is on.",
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
    """Number format, and whether a file of the same name is replaced."""
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


def image_input() -> io.Input:
    """A sample for card and thumbnail."""
    return io.Image.Input(
        "image",
        optional=True,
        tooltip="An image generated with the word: shown on the share image, or the "
        "thumbnail of a standard file. The first of a batch is used.",
    )


def saved(
    node: type[io.ComfyNode],
    embedding: Embedding,
    name: str,
    kind: str,
    storage: NumberType,
    overwrite: bool,
    image: Tensor | None,
) -> io.NodeOutput:
    """Write the files, and tell where they are."""
    hidden = node.hidden
    export = export_settings(storage, image, hidden.prompt, hidden.extra_pnginfo)
    paths = save_embedding(embedding, name.strip(), kind, export, overwrite)
    names = ", ".join(name_below(path) for path in paths)
    prompt = in_prompts(paths[0], embedding, kind)
    lines = [f"Saved as {names}.", *embedding.notes, file_advice(embedding)]
    shown = {"text": ["\n".join(filter(None, lines))], "ti_prompt": [prompt]}
    return io.NodeOutput("\n".join(map(str, paths)), ui=shown)


def holds_while_there(made: io.NodeOutput, read: str = "") -> io.NodeOutput:
    """What was saved, to be saved again where the files are gone or others by then, or the one that
    was `read` for it.
    """
    paths = [Path(path) for path in str(made.args[0]).splitlines()]

    def state() -> object:
        return states_of(paths), file_state(read) if read else ""

    written = state()
    holds_while(lambda: state() == written)
    return made


def check_name(name: str | None, word: str = "") -> None:
    """Raise ValueError for a name that no file can have; an empty one is that of the word."""
    if name is not None and (name.strip() or word):
        name_to_write(name.strip() or word)


class EmbeddingFileNode(CheckedNode):
    """What the nodes with an input `file` have in common: a dropped file lies in input/, and is
    allowed without being offered. The choice is None as long as it is to come over a wire.
    """

    found_by_node = ("file",)

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("file") not in (None, NO_FILE):
            chosen_file(given["file"])
        if (given.get("placeholder") or "").strip():
            check_new_word(given["placeholder"].strip())
        check_initializer((given.get("initializer") or "").strip())
        check_name(given.get("name"))


class SaveEmbedding(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveEmbedding",
            display_name="Save Embedding",
            category=CATEGORY,
            description=(
                f"Saves the word to the embeddings folder. Prompts can then use it as "
                f"'embedding:name'; if the model's text encoder cannot, the node says so. "
                f"{everywhere('standard')} also read words for SD 1.x, SD 2.x and SDXL."
            ),
            search_aliases=["textual inversion", "export embedding", "share embedding"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                EmbeddingSocket.Input("embedding", tooltip="The word to save."),
                name_input("A file saved by the same run is replaced. "),
                *storage_inputs(),
                format_input(optional=True),
                image_input(),
            ],
            outputs=[
                io.String.Output(
                    display_name="path",
                    tooltip="The path of the file; one line per file of a pair.",
                )
            ],
        )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> None:
        check_name(given.get("name"), typed_word(this_node()))

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> int:
        return times_given_anew()

    @classmethod
    @checked
    def execute(
        cls,
        embedding: Embedding,
        name: str,
        storage: NumberType,
        overwrite: bool,
        format: str = "standard",
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        made = saved(cls, embedding, name, format, storage, overwrite, image)
        return holds_while_there(made)


class LoadTextualInversion(EmbeddingFileNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadTextualInversion",
            display_name="Load Embedding",
            category=CATEGORY,
            description="Reads an embedding from any trainer's file or from an image, to use it "
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
                    "makes strength 0 in Apply Embedding to CLIP mean the init word, if it is "
                    "known.",
                ),
                io.String.Input(
                    "placeholder",
                    display_name="trigger word",
                    default="",
                    optional=True,
                    placeholder="empty = the file's name",
                    tooltip=(
                        "The word to use in prompts. Empty = the file's name, as in ComfyUI, "
                        "AUTOMATIC1111 and Forge; for images and for words in a LoRA, the name "
                        "stored in the file. Characters that prompts cannot contain become '-'."
                    ),
                ),
                io.String.Input(
                    "initializer",
                    display_name="init word",
                    default="",
                    optional=True,
                    advanced=True,
                    placeholder="empty = as in the file",
                    tooltip="What the subject is, in one or a few words (cat, painting). Used for "
                    "encoders without vectors in the file, and as strength 0 if clip is connected. "
                    "Empty = as stored in the file. If nothing is stored, the words of the trigger "
                    "word are used, and strength scales the length.",
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
    def fingerprint_inputs(cls, file: str | None, **others: Any) -> str:
        """Changes with the file, so that a new one of the same name is read."""
        return f"{file_state(file) if file is not None else ''} {times_given_anew(shared=True)}"

    @classmethod
    @checked
    def execute(
        cls,
        file: str,
        clip: Any = None,
        placeholder: str = "",
        initializer: str = "",
        word: str = "",
    ) -> io.NodeOutput:
        holds_while_same(lambda: file_state(file), "file")
        if placeholder.strip():
            check_new_word(placeholder.strip())
        found = load_embedding(file, word.strip(), clip, placeholder.strip(), initializer.strip())
        missing = "" if clip is None else missing_vectors(found, clip)
        others = "" if placeholder.strip() else namesakes_note(file)
        report = inspection_report(found, {}, missing, others)
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
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *embedding_files()],
                    default=NO_FILE,
                    tooltip=f"{FILE_HELP} '{NO_FILE}' writes nothing.",
                ),
                format_input(),
                name_input(),
                *storage_inputs(),
                word_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Rarely needed: only if the file does not name the encoder of its "
                    "vectors and it is not the usual one of that width.",
                ),
                image_input(),
            ],
            outputs=[
                io.String.Output(
                    display_name="path",
                    tooltip="The path of the file; one line per file of a pair.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **others: Any) -> str:
        return f"{file_state(file) if file not in (None, NO_FILE) else ''} {times_given_anew()}"

    @classmethod
    @checked
    def execute(
        cls,
        file: str,
        format: str,
        name: str,
        storage: NumberType,
        overwrite: bool,
        word: str = "",
        clip: Any = None,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        if file == NO_FILE:
            text = "Nothing was written. Choose a file, or drop one onto the node."
            return io.NodeOutput("", ui=ui.PreviewText(text))
        found = load_embedding(file, word.strip(), clip, "", "")
        made = saved(cls, found, name, format, storage, overwrite, image)
        return holds_while_there(made, file)
