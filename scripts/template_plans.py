"""What the templates in example_workflows/ are made of; `build_workflows.py` makes them.

A file's name is what the template browser shows and searches. A widget that is not named here has
the default of its node.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from environment import REPO

Link = tuple[str, str, str, str]  # node and output, node and input


class Node(NamedTuple):
    """A node of a workflow, by the name that links and groups use."""

    name: str
    type: str
    position: tuple[int, int]
    size: tuple[int, int]
    title: str = ""
    widgets: dict[str, Any] = {}
    properties: dict[str, Any] = {}


class Group(NamedTuple):
    """A titled frame around nodes."""

    title: str
    color: str
    members: tuple[str, ...]


class Template(NamedTuple):
    """A workflow. Its id is the same in every build, so that a build without changes changes
    nothing; `cells` are the images of docs/learned.png on its thumbnail, `caption` its last.
    """

    name: str
    id: str
    caption: str
    cells: tuple[int, int, int]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    groups: tuple[Group, ...] = ()

    @property
    def file(self) -> Path:
        """Where its workflow lies."""
        return REPO / "example_workflows" / f"{self.name}.json"

    def workflow(self) -> dict[str, Any]:
        """Its workflow, as the page saved it."""
        return json.loads(self.file.read_text(encoding="utf-8"))


class Blueprint(NamedTuple):
    """A subgraph that the node library offers: `inputs` are its names of widgets (node, widget),
    `outputs` those of outputs (node, output); `id` is as a template's.
    """

    name: str
    id: str
    description: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    inputs: dict[str, tuple[str, str]]
    outputs: dict[str, tuple[str, str]]

    @property
    def file(self) -> Path:
        """Where it lies; ComfyUI shows it by the file's name."""
        return REPO / "subgraphs" / f"{self.name}.json"


class File(NamedTuple):
    """A model's file, and where the page offers to download it from where it is missing."""

    folder: str
    name: str
    address: str

    @property
    def properties(self) -> dict[str, Any]:
        """What the page reads of it on a node."""
        url = f"https://huggingface.co/{self.address}/{self.name}?download=true"
        return {"models": [{"name": self.name, "url": url, "directory": self.folder}]}


SD1 = File(
    "checkpoints",
    "v1-5-pruned-emaonly-fp16.safetensors",
    "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main",
)
SDXL = File(
    "checkpoints",
    "sd_xl_base_1.0.safetensors",
    "stabilityai/stable-diffusion-xl-base-1.0/resolve/main",
)
Z_IMAGE = File(
    "diffusion_models",
    "z_image_bf16.safetensors",
    "Comfy-Org/z_image/resolve/main/split_files/diffusion_models",
)
QWEN = File(
    "text_encoders",
    "qwen_3_4b.safetensors",
    "Comfy-Org/z_image_turbo/resolve/main/split_files/text_encoders",
)
AE = File("vae", "ae.safetensors", "Comfy-Org/z_image_turbo/resolve/main/split_files/vae")
FILES = (SD1, SDXL, Z_IMAGE, QWEN, AE)
WORDS = ("my-concept.safetensors", "my-concept-2.safetensors")  # as Save Embedding names them

LEARN = """\
### Teach the model a new word

1. Drop **3 to 20 images** of one subject, or their folder, onto **Load Images as Concept**.
2. In **Create Embedding**, set the **trigger word**, and as **init word** what the subject is: \
*cat*, *vase*, *backpack*. The closer it is, the faster the word learns.
3. **Run**.

The images *step by step* start with the untrained word and end with the trained one. In their \
prompt, *{}* stands for the word.

The word is saved in *models/embeddings*: write *embedding:my-concept* in any prompt.
"""
STYLE = """\
### Teach the model a style

Put **10 to 20 images** in the style into a folder. Add a text file of the same name for each \
that describes the content, but not the style: *a harbor at night*. The word then learns what \
the captions leave out. Without text files, the file names serve as captions.

Drop the folder onto **Load Images as Concept**, and **Run**. Every prompt encoded after **Apply \
Embedding to CLIP** can use the word. Change the prompt and run again: training is not repeated. \
*{}* stands for the word, whatever you call it.
"""
COMPARE = """\
### Use saved words, and compare them

Choose two embeddings in **Load Embedding**, from any trainer, or drop a file onto it. Both get \
the trigger word *my-concept* here, so that one prompt works for both; size, seed and settings \
are the same.

**strength** 0 is the init word, 1 the word as it was learned.
"""
REFINE = """\
### Train a word further

Choose the word in **Load Embedding** and the images in **Load Images as Concept**: more of the \
same, or others that show what is missing. Training continues from its vectors. The new file gets \
a number after its name; the old file stays.

With few new images, use a lower **learning_rate** (0.1 or 0.2), so that less is forgotten.
"""
LEARN_SDXL = """\
### Teach SDXL a new word

As for other models, but images are trained at **1024** pixels, and the word has vectors for \
both text encoders. Drop 3 to 20 images onto **Load Images as Concept**, set the **init word** in \
**Create Embedding**, and **Run**.

Short of memory? 768 is faster, and still learns the subject.
"""
LEARN_Z_IMAGE = """\
### Teach Z-Image a new word

Model, text encoder and VAE are three files here; the text encoder is a language model. Drop 3 \
to 20 images onto **Load Images as Concept**, set the **init word** in **Create Embedding**, and \
**Run**.

Flux.2 klein, Qwen-Image and Lumina 2 are trained the same way: choose their files, and their \
*type* in **Load CLIP**.
"""

AUTO_CAPTION = """\
### Let the model describe your images

The model that you train on reads your images first. **Find Init Word** says what the subject \
looks like, so that the word starts close to it. **Auto Caption** says what else each image shows, \
so that the word learns the subject alone. Then few steps are needed.

1. Drop **3 to 20 images** of one subject, or their folder, onto **Load Images as Concept**.
2. In **Find Init Word**, set as **noun** what the subject is: *cat*, *vase*, *backpack*.
3. In **Create Embedding**, set the **trigger word**.
4. **Run**.

What is found appears on both nodes. Edit what is wrong, and run again.
"""


def checkpoint(file: File) -> Node:
    """The loader of a checkpoint."""
    named = {"ckpt_name": file.name}
    return Node("model", "CheckpointLoaderSimple", (0, 480), (400, 130), "", named, file.properties)


def note(text: str) -> Node:
    """The note in the upper left corner."""
    return Node("note", "MarkdownNote", (0, 0), (400, 400), "How to use this", {"text": text})


def learning(side: int = 512, previews: dict[str, Any] | None = None, **images: Any) -> list[Node]:
    """What learns a word: its images, previews, training, file, and the images of its steps;
    `side` is that of all images in pixels, `images` are inputs of Load Images as Concept.
    """
    chosen = {"folder": "none", **({} if side == 512 else {"resolution": side}), **images}
    return [
        Node("images", "LoadImagesAsConcept", (470, 0), (390, 480), "", chosen),
        Node("previews", "TrainingPreviews", (930, 0), (350, 560), "", previews or {}),
        # Room below it: it grows while it trains, and with the advanced inputs of Nodes 2.0.
        Node("train", "TrainTextualInversion", (1350, 0), (400, 560)),
        Node("save", "SaveEmbedding", (1820, 580), (420, 230)),
        Node(
            "steps",
            "SaveImage",
            (1820, 0),
            (420, 500),
            "step by step",
            {"filename_prefix": "steps"},
        ),
    ]


CREATE = Node("word", "CreateEmbedding", (470, 780), (390, 150))
LEARNING: tuple[Link, ...] = (
    ("images", "concept", "train", "concept"),
    ("word", "embedding", "train", "embedding"),
    ("previews", "previews", "train", "previews"),
    ("train", "embedding", "save", "embedding"),
    ("train", "previews", "steps", "images"),
)


def models(model: str = "model", clip: str = "model", vae: str = "model") -> tuple[Link, ...]:
    """The links of the models to the training, and of the text encoders to the word."""
    return (
        (clip, "CLIP", "word", "clip"),
        (model, "MODEL", "train", "model"),
        (clip, "CLIP", "train", "clip"),
        (vae, "VAE", "train", "vae"),
    )


SAMPLER = {"cfg": 7.5, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
NEGATIVE = {"text": "blurry, low quality"}


def sampling(left: int, top: int, side: str, text: str = "") -> list[Node]:
    """The nodes that draw an image with a word."""
    return [
        Node(f"apply{side}", "ApplyEmbeddingToCLIP", (left, top), (290, 130)),
        Node(
            f"prompt{side}",
            "CLIPTextEncode",
            (left, top + 200),
            (290, 150),
            f"prompt{side}",
            {"text": text},
        ),
        Node(
            f"sample{side}",
            "KSampler",
            (left + 350, top),
            (290, 330),
            "",
            {**SAMPLER, "control_after_generate": "fixed"},
        ),
        Node(f"decode{side}", "VAEDecode", (left + 350, top + 400), (290, 70)),
        Node(
            f"image{side}",
            "SaveImage",
            (left + 700, top),
            (400, 470),
            f"image{side}",
            {"filename_prefix": f"image{side}"},
        ),
    ]


def sampling_links(side: str, word: str) -> tuple[Link, ...]:
    """The links that draw an image with the word of a node."""
    return (
        ("model", "CLIP", f"apply{side}", "clip"),
        (word, "embedding", f"apply{side}", "embedding"),
        (f"apply{side}", "clip", f"prompt{side}", "clip"),
        ("model", "MODEL", f"sample{side}", "model"),
        (f"prompt{side}", "CONDITIONING", f"sample{side}", "positive"),
        ("negative", "CONDITIONING", f"sample{side}", "negative"),
        ("size", "LATENT", f"sample{side}", "latent_image"),
        (f"sample{side}", "LATENT", f"decode{side}", "samples"),
        ("model", "VAE", f"decode{side}", "vae"),
        (f"decode{side}", "IMAGE", f"image{side}", "images"),
    )


LEARN_A_WORD = Template(
    "Textual Inversion 1 Learn an embedding",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a11",
    "learn a word",
    (0, 1, 2),
    (note(LEARN), checkpoint(SD1), CREATE, *learning()),
    (*models(), *LEARNING),
)
LEARN_A_STYLE = Template(
    "Textual Inversion 2 Style embedding",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a12",
    "learn a style",
    (3, 4, 5),
    (
        note(STYLE),
        checkpoint(SD1),
        CREATE._replace(
            widgets={"placeholder": "my-style", "initializer": "painting", "vectors": 2}
        ),
        *learning(
            previews={"prompt": "a lighthouse in the style of {}"}, kind="style and captions"
        ),
        Node(
            "text",
            "StringReplace",
            (2310, 0),
            (290, 250),
            "prompt, {} is the word",
            {"string": "a castle by the sea in the style of {}", "find": "{}"},
        ),
        Node("negative", "CLIPTextEncode", (2310, 330), (290, 150), "negative prompt", NEGATIVE),
        Node("size", "EmptyLatentImage", (2310, 560), (290, 150)),
        *sampling(2660, 0, ""),
    ),
    (
        *models(),
        *LEARNING,
        ("model", "CLIP", "negative", "clip"),
        ("word", "word", "text", "replace"),
        ("text", "STRING", "prompt", "text"),
        *sampling_links("", "train"),
    ),
)
ONE_WORD = {"placeholder": "my-concept"}
COMPARE_WORDS = Template(
    "Textual Inversion 3 Compare embeddings",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a13",
    "use and compare",
    (1, 2, 3),
    (
        note(COMPARE),
        checkpoint(SD1),
        Node(
            "first",
            "LoadTextualInversion",
            (470, 0),
            (350, 230),
            "",
            {"file": WORDS[0], **ONE_WORD},
        ),
        Node(
            "second",
            "LoadTextualInversion",
            (470, 600),
            (350, 230),
            "",
            {"file": WORDS[1], **ONE_WORD},
        ),
        Node(
            "text",
            "PrimitiveStringMultiline",
            (890, 0),
            (290, 150),
            "prompt for both",
            {"value": "a photo of my-concept on a beach"},
        ),
        Node("negative", "CLIPTextEncode", (890, 230), (290, 150), "negative prompt", NEGATIVE),
        Node("seed", "PrimitiveInt", (890, 460), (290, 110), "seed", {"value": 1}),
        Node("size", "EmptyLatentImage", (890, 650), (290, 150)),
        *sampling(1250, 0, " 1"),
        *sampling(1250, 600, " 2"),
    ),
    (
        ("model", "CLIP", "first", "clip"),
        ("model", "CLIP", "second", "clip"),
        ("model", "CLIP", "negative", "clip"),
        *sampling_links(" 1", "first"),
        *sampling_links(" 2", "second"),
        ("text", "STRING", "prompt 1", "text"),
        ("text", "STRING", "prompt 2", "text"),
        ("seed", "INT", "sample 1", "seed"),
        ("seed", "INT", "sample 2", "seed"),
    ),
    (
        Group("for both", "#b58b2a", ("text", "negative", "seed", "size")),
        Group("word 1", "#3f789e", tuple(node.name for node in sampling(0, 0, " 1"))),
        Group("word 2", "#a88", tuple(node.name for node in sampling(0, 0, " 2"))),
    ),
)
REFINE_A_WORD = Template(
    "Textual Inversion 4 Train an embedding on",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a14",
    "train it further",
    (0, 4, 2),
    (
        note(REFINE),
        checkpoint(SD1),
        Node("word", "LoadTextualInversion", (470, 780), (390, 230), "", {"file": WORDS[0]}),
        *learning(),
    ),
    (*models(), *LEARNING),
)
FOR_SDXL = Template(
    "Textual Inversion 5 Embedding for SDXL",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a15",
    "for SDXL",
    (0, 3, 5),
    (note(LEARN_SDXL), checkpoint(SDXL), CREATE, *learning(1024)),
    (*models(), *LEARNING),
)
FOR_Z_IMAGE = Template(
    "Textual Inversion 6 Embedding for Z-Image",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a16",
    "for Z-Image",
    (0, 5, 4),
    (
        note(LEARN_Z_IMAGE),
        Node(
            "model",
            "UNETLoader",
            (0, 480),
            (400, 110),
            "",
            {"unet_name": Z_IMAGE.name},
            Z_IMAGE.properties,
        ),
        Node(
            "clip",
            "CLIPLoader",
            (0, 670),
            (400, 140),
            "",
            {"clip_name": QWEN.name, "type": "lumina2"},
            QWEN.properties,
        ),
        Node("vae", "VAELoader", (0, 890), (400, 80), "", {"vae_name": AE.name}, AE.properties),
        CREATE,
        *learning(
            1024, {"cfg": 4.0, "steps": 25, "sampler": "res_multistep", "scheduler": "simple"}
        ),
    ),
    (*models("model", "clip", "vae"), *LEARNING),
)
WIDER = 460  # pixels to the right, to make room for a node
CAPTIONED = Template(
    "Textual Inversion 7 Embedding with automatic captions and init word",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0a17",
    "automatic captions",
    (2, 0, 4),
    (
        note(AUTO_CAPTION),
        checkpoint(SD1),
        Node("looks", "ConceptInitWord", (470, 570), (390, 240)),
        CREATE._replace(position=(470, 900), widgets={"vectors": 0}),
        Node("captions", "ConceptAutoCaption", (930, 0), (390, 420)),
        *(
            node._replace(position=(node.position[0] + WIDER, node.position[1]))
            if node.name != "images"
            else node
            for node in learning()
        ),
    ),
    (
        *models(),
        *(link for link in LEARNING if link[0] != "images"),
        ("model", "MODEL", "looks", "model"),
        ("model", "CLIP", "looks", "clip"),
        ("model", "VAE", "looks", "vae"),
        ("images", "concept", "looks", "concept"),
        ("looks", "init word", "word", "initializer"),
        ("looks", "learning rate", "train", "method.learning_rate"),
        ("model", "MODEL", "captions", "model"),
        ("model", "CLIP", "captions", "clip"),
        ("model", "VAE", "captions", "vae"),
        ("images", "concept", "captions", "concept"),
        ("word", "embedding", "captions", "embedding"),
        ("captions", "concept", "train", "concept"),
    ),
)
TEMPLATES = (
    LEARN_A_WORD,
    LEARN_A_STYLE,
    COMPARE_WORDS,
    REFINE_A_WORD,
    FOR_SDXL,
    FOR_Z_IMAGE,
    CAPTIONED,
)
LAST = 4095  # Image From Batch takes the last image for it.
LEARN_A_WORD_BLUEPRINT = Blueprint(
    "Learn a word (textual inversion)",
    "5d4f63a0-7a3c-4c19-9d55-1c2b8f6e0b01",
    "Teaches the model a new word from the images in a folder, and saves it as an embedding. "
    "'init word' is what it is. The CLIP knows the word: encode prompts with it.",
    (
        checkpoint(SD1),
        CREATE,
        *(node for node in learning() if node.name != "steps"),
        Node("apply", "ApplyEmbeddingToCLIP", (1820, 0), (290, 130)),
        Node(
            "last", "ImageFromBatch", (1820, 210), (290, 110), "last image", {"batch_index": LAST}
        ),
    ),
    (
        *models(),
        *(link for link in LEARNING if "steps" not in link),
        ("model", "CLIP", "apply", "clip"),
        ("train", "embedding", "apply", "embedding"),
        ("train", "previews", "last", "image"),
    ),
    {
        "folder": ("images", "folder"),
        "trigger word": ("word", "placeholder"),
        "init word": ("word", "initializer"),
        "checkpoint": ("model", "ckpt_name"),
    },
    {
        "CLIP": ("apply", "clip"),
        "image": ("last", "IMAGE"),
        "embedding": ("train", "embedding"),
    },
)


def registered() -> dict[str, str]:
    """By which name and version the registry knows the nodes of this pack."""
    project = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    found = dict(re.findall(r'^(name|version) = "(.+)"$', project, re.MULTILINE))
    return {"cnr_id": found["name"], "ver": found["version"]}
