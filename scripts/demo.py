"""Set everything up and run the main job once: images in, a learned word out, used at once.

`python scripts/demo.py [--output FOLDER]` starts ComfyUI without a browser, sends it the first
template with the checkpoint of a small world (toyworld/), and leaves the embedding, a loss
curve, and a strip of images: the concept, a prompt before and after the training, new prompts.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import time
import urllib.parse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, Any

from environment import CACHE, REPO, SetupFailure, prepare, run_child, step
from headless import Server
from template_plans import LEARN_A_WORD
from workflow import to_prompt

sys.path.append(str(REPO))  # where toyworld lies; behind the rest, for it has a folder nodes too

if TYPE_CHECKING:  # there in the prepared Python only
    from PIL.Image import Image

CHECKPOINT = "toyworld.safetensors"
SUBJECT = "demo-subject"
CONCEPT = "purple striped star"  # one of those that toyworld's model was never shown
IMAGES = range(5, 10)  # of all that can be drawn: in most of these the thing is large
WORD = "my-concept"
EXAMPLE = f"a photo of a {WORD} on sand"
SAMPLING = {"steps": 25, "cfg": 4.0}
# What the template says for a real model, made to fit the small one; by the node's class.
OVERRIDES: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": CHECKPOINT},
    "LoadImagesAsConcept": {"folder": f"input/{SUBJECT}", "resolution": 64},
    "CreateEmbedding": {"placeholder": WORD, "initializer": "star"},
    "TrainingPreviews": {"prompt": EXAMPLE, "width": 64, "height": 64, **SAMPLING},
}
NEW_PROMPTS = (
    f"a photo of a {WORD} in the sky",
    f"a photo of a {WORD} at the top on bricks",
    f"a photo of a {WORD} on the left at night",
)

Prompt = dict[str, Any]


def main() -> None:
    """Prepare, then go on in the prepared Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPO / "demo_output", metavar="FOLDER")
    parser.add_argument("--prepared", type=Path, metavar="COMFYUI", help=argparse.SUPPRESS)
    options = parser.parse_args()
    output = options.output.absolute()
    if options.prepared:
        run_demo(options.prepared, output)
        return
    host = prepare()
    command = (host.python, __file__, "--output", output, "--prepared", host.comfyui)
    # The reports may hold characters that a console of another encoding cannot show.
    env = {"COMFYUI_PATH": str(host.comfyui), "PYTHONIOENCODING": ":replace"}
    sys.exit(run_child(command, env))


def run_demo(comfyui: Path, output: Path) -> None:
    """Run the first template in a fresh base directory and keep what it made."""
    start = time.monotonic()
    server = Server(comfyui, Path(sys.executable), CACHE / "demo")
    lay_out_base(server.directory)
    try:
        with ExitStack() as stack:
            with step("Starting ComfyUI"):
                stack.enter_context(server)
            prompt = demo_prompt(server.object_info())
            with step("Training and sampling"):
                entry = server.wait(server.queue(prompt), ProgressLine())
            keep_results(server, prompt, entry["outputs"], output)
    except (RuntimeError, OSError, ValueError, LookupError) as error:
        raise SetupFailure(f"The demo failed: {error}\nComfyUI's log: {server.log}") from error
    print(f"The demo took {time.monotonic() - start:.0f} s.")


class ProgressLine:
    """Shows progress on one line that is written over; a line every ten seconds in a log file."""

    def __init__(self) -> None:
        self.told = self.sample_text = time.monotonic()

    def __call__(self, value: int, maximum: int, text: str) -> None:
        now = time.monotonic()
        if text:
            self.sample_text = now
        elif now - self.sample_text < 2:
            return  # the node's own words say more than the count that comes with each step
        line = text.splitlines()[0] if text else f"{value}/{maximum}"
        if sys.stdout.isatty():
            print(f"\rTraining and sampling ... {line[:70]:70}", end=" ", flush=True)
        elif now - self.told > 10:
            self.told = now
            print(f"\n  {line}", end=" ", flush=True)


# What goes in


def lay_out_base(base: Path) -> None:
    """A fresh base directory with the checkpoint and the images of the subject."""
    shutil.rmtree(base, ignore_errors=True)
    models = base / "models" / "checkpoints"
    models.mkdir(parents=True)
    link_or_copy(checkpoint(), models / CHECKPOINT)
    folder = base / "input" / SUBJECT
    folder.mkdir(parents=True)
    for index in IMAGES:
        subject(index).save(folder / f"{index}.png")


def checkpoint() -> Path:
    """Toyworld's checkpoint, assembled anew when its parts have changed."""
    from toyworld.assembly import assembled

    with step("Assembling the demo's checkpoint"):
        return assembled("toyworld")


def link_or_copy(source: Path, target: Path) -> None:
    """Put a large file in a second place, without a copy where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def subject(index: int) -> Image:
    """An image of the concept, somewhere in front of something."""
    from toyworld.world import Thing
    from toyworld.worlds import TOYWORLD

    return TOYWORLD.render(TOYWORLD.random_scene(Random(index), Thing(*CONCEPT.split())))


def demo_prompt(object_info: dict[str, Any]) -> Prompt:
    """The first template in the API format, made small, with images before and after."""
    prompt = to_prompt(LEARN_A_WORD.workflow(), object_info)
    for name, inputs in OVERRIDES.items():
        node = prompt[only(prompt, name)]
        if unknown := inputs.keys() - node["inputs"].keys():
            raise ValueError(f"{name} in {LEARN_A_WORD.name} has no input {sorted(unknown)}.")
        node["inputs"].update(inputs)
    add_image(prompt, "before", "CreateEmbedding", EXAMPLE)
    add_image(prompt, "after", "TrainTextualInversion", EXAMPLE)
    for text in NEW_PROMPTS:
        add_image(prompt, text, "TrainTextualInversion", text)
    return prompt


def only(prompt: Prompt, kind: str) -> str:
    """Id of the one node of a class."""
    found = [key for key, node in prompt.items() if node["class_type"] == kind]
    if len(found) != 1:
        raise ValueError(f"{LEARN_A_WORD.name} has {len(found)} nodes '{kind}'; one is expected.")
    return found[0]


def add_image(prompt: Prompt, title: str, source: str, text: str) -> None:
    """What a user puts behind the template: an image of a text, with the word of a node."""
    loader, word = only(prompt, "CheckpointLoaderSimple"), only(prompt, source)

    def add(kind: str, **inputs: Any) -> list[Any]:
        key = f"{title}: {kind} {len(prompt)}"
        prompt[key] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        return [key, 0]

    clip = add("ApplyEmbeddingToCLIP", clip=[loader, 1], embedding=[word, 0], strength=1.0)
    latent = add(
        "KSampler",
        model=[loader, 0],
        positive=add("CLIPTextEncode", clip=clip, text=text),
        negative=add("CLIPTextEncode", clip=[loader, 1], text=""),
        latent_image=add("EmptyLatentImage", width=64, height=64, batch_size=1),
        seed=1,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
        **SAMPLING,
    )
    pixels = add("VAEDecode", samples=latent, vae=[loader, 2])
    add("SaveImage", images=pixels, filename_prefix="demo")


# What comes out


def keep_results(server: Server, prompt: Prompt, outputs: dict[str, Any], output: Path) -> None:
    """Write what the run made to the output folder, and say where it is and how it went."""
    output.mkdir(parents=True, exist_ok=True)
    trained = next(shown for shown in outputs.values() if "ti_loss" in shown)
    losses = [float(loss) for loss in trained["ti_loss"]]
    embedding = next((server.directory / "models" / "embeddings").rglob("*.safetensors"))
    shutil.copyfile(embedding, output / embedding.name)
    titles = ("before", "after", *NEW_PROMPTS)
    images = [shown_image(server, prompt, outputs, title) for title in titles]
    first, *rest = (text.replace("a photo of ", "") for text in (EXAMPLE, *NEW_PROMPTS))
    labels = (f"one of {len(IMAGES)} images", f"before: {first}", f"after: {first}", *rest)
    strip = side_by_side([subject(IMAGES[1]), *images], labels)
    strip.save(output / "before_after.png")
    draw_curve(losses).save(output / "loss.png")
    print("\n".join(trained.get("text", [])))
    tenth = max(1, len(losses) // 10)
    first, last = mean(losses[:tenth]), mean(losses[-tenth:])
    print(f"Mean loss of the first and of the last {tenth} steps: {first:.4f}, {last:.4f}")
    for name in (embedding.name, "before_after.png", "loss.png"):
        print(f"  {output / name}")


def shown_image(server: Server, prompt: Prompt, outputs: dict[str, Any], title: str) -> Image:
    """The first image of the saving or previewing node with this title."""
    from PIL import Image

    for node_id, shown in outputs.items():
        if title == prompt[node_id]["_meta"]["title"] and shown.get("images"):
            query = urllib.parse.urlencode(shown["images"][0])
            return Image.open(io.BytesIO(server.get(f"/view?{query}"))).convert("RGB")
    raise ValueError(f"{LEARN_A_WORD.name} shows no image titled '{title}'.")


def side_by_side(images: Sequence[Image], labels: Sequence[str], size: int = 256) -> Image:
    """Images in a row, each under its label."""
    from PIL import Image, ImageDraw

    row = Image.new("RGB", (size * len(images), size + 32), "white")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row.paste(image.resize((size, size), Image.Resampling.BICUBIC), (index * size, 32))
        ImageDraw.Draw(row).text((index * size + 6, 8), label, "black", font_size=13)
    return row


def draw_curve(losses: Sequence[float], width: int = 768, height: int = 416) -> Image:
    """The loss of each step, pale, under its running mean."""
    from PIL import Image, ImageDraw

    chart = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(chart)
    low, high = min(losses), max(losses)

    def place(step: int, loss: float) -> tuple[float, float]:
        across = step / max(1, len(losses) - 1)
        down = (high - loss) / ((high - low) or 1.0)
        return 70 + across * (width - 90), 40 + down * (height - 80)

    draw.rectangle((70, 40, width - 20, height - 40), outline="#cccccc")
    for values, color, thickness in ((losses, "#bcd3ea", 1), (running_mean(losses), "#1f5fa8", 3)):
        draw.line([place(*point) for point in enumerate(values)], color, thickness)
    for loss in (low, high):
        draw.text((8, place(0, loss)[1] - 8), f"{loss:.4f}", "black", font_size=14)
    draw.text((70, 12), "training loss, its running mean", "black", font_size=16)
    draw.text((width - 110, height - 32), f"{len(losses)} steps", "black", font_size=14)
    return chart


def running_mean(values: Sequence[float], window: int = 25) -> list[float]:
    """The mean of each value and those before it in the window."""
    return [mean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


if __name__ == "__main__":
    main()
