"""What the server's tests put in, and what comes out."""

import json
from pathlib import Path
from typing import Any

from demo import CHECKPOINT, lay_out_base
from headless import Server, link_folder
from PIL import Image, ImageDraw

Prompt = dict[str, dict[str, Any]]
SMALL_MODELS = Path(__file__).with_name("small_models_node")
STEPS = 6
COLORS = ("crimson", "navy", "seagreen", "orange", "orchid")


def graph(**changes: Any) -> Prompt:
    """Train, save, and sample with the learned word, on models that are small and know nothing;
    `changes` are inputs as `node__input`.
    """
    nodes: Prompt = {
        "load": node("SmallModels"),
        "concept": node(
            "LoadImagesAsConcept", folder="input/stars", resolution=64, kind="object", captions=""
        ),
        "word": node(
            "CreateEmbedding",
            clip=["load", 1],
            placeholder="my-star",
            initializer="star",
            vectors=2,
        ),
        "train": node(
            "TrainTextualInversion",
            model=["load", 0],
            clip=["load", 1],
            vae=["load", 2],
            concept=["concept", 0],
            embedding=["word", 0],
            steps=STEPS,
            method="spherical",
            **{"method.learning_rate": "0.05", "method.prior": 1e-4},
            schedule="cosine",
            warmup=0,
            batch_size=2,
            accumulation=1,
            seed=1,
            precision="auto",
            checkpointing="auto",
            resume="off",  # Tests share a server, and are not to find each other's runs.
        ),
        "save": node(
            "SaveEmbedding", embedding=["train", 0], name="", storage="fp32", overwrite=False
        ),
        "apply": node("ApplyEmbeddingToCLIP", clip=["load", 1], embedding=["train", 0], strength=1),
        **sampling("apply", "a photo of my-star"),
    }
    for name, value in changes.items():
        owner, _, input_name = name.partition("__")
        nodes[owner]["inputs"][input_name.replace("__", ".")] = value
    return nodes


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def option_inputs(**changes: Any) -> dict[str, Any]:
    """What a new Caption Options sends."""
    texts = ("templates", "extension", "metadata_file", "name_pattern", "prefix", "suffix")
    return {
        **dict.fromkeys((*texts, "keep_separator", "secondary_separator"), ""),
        **{"template_file": "", "name_joiner": " ", "separator": ","},
        **{"shuffle": False, "wildcards": False, "weights": False, "missing": "add"},
        **{"keep_tokens": 0, "tag_dropout": 0.0, "caption_dropout": 0.0, "source": "auto"},
        **{"caption_dropout_epochs": 0, "warmup_min": 1, "warmup_steps": 0},
        **changes,
    }


def sampling(clip: str, text: str, clip_output: int = 0) -> Prompt:
    """Prompt, sampler, decoder and a saved image."""
    return {
        "prompt": node("CLIPTextEncode", clip=[clip, clip_output], text=text),
        "empty": node("CLIPTextEncode", clip=["load", 1], text=""),
        "size": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sample": node(
            "KSampler",
            model=["load", 0],
            positive=["prompt", 0],
            negative=["empty", 0],
            latent_image=["size", 0],
            seed=1,
            steps=4,
            cfg=4.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "image": node("SaveImage", images=["decode", 0], filename_prefix="sampled"),
    }


def run(server: Server, prompt: Prompt, **more: Any) -> dict[str, Any]:
    """The outputs of a prompt, by node."""
    return server.wait(server.queue(prompt), **more)["outputs"]


def run_with_workflow(server: Server, prompt: Prompt, workflow: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a prompt that is queued with its graph, as the page does it."""
    body = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
    answer = json.loads(server._request("/prompt", body))
    return server.wait(answer["prompt_id"])["outputs"]


def image(server: Server, outputs: dict[str, Any]) -> bytes:
    """Pixels of the saved image."""
    entry = outputs["image"]["images"][0]
    with Image.open(server.directory / "output" / entry["filename"]) as opened:
        return opened.tobytes()


def saved_path(server: Server, outputs: dict[str, Any]) -> Path:
    """The first file that Save or Convert Embedding has written, by what it says of it."""
    said = outputs["save"]["text"][0].splitlines()[0]
    name = said.removeprefix("Saved as ").removesuffix(".").split(", ")[0]
    return server.directory / "models" / "embeddings" / name


def from_checkpoint(prompt: Prompt) -> Prompt:
    """The prompt with the demo's checkpoint, as a user loads it."""
    return {**prompt, "load": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)}


def lay_out(base: Path) -> None:
    """A base directory with the demo's checkpoint and images, small models, and five stars."""
    lay_out_base(base)
    (base / "custom_nodes").mkdir()
    link_folder(base / "custom_nodes" / "small-models", SMALL_MODELS)
    draw_images(base / "input" / "stars")


def draw_images(folder: Path) -> None:
    """Five images of one subject, with names whose natural order is not the alphabetical one."""
    folder.mkdir(parents=True)
    for number, color in enumerate(COLORS, 8):
        image = Image.new("RGB", (96, 80), color)
        ImageDraw.Draw(image).regular_polygon((48, 40, 30), 5, fill="gold", outline="black")
        image.save(folder / f"star {number}.png")
