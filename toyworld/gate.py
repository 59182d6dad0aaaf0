"""Does a world's model draw what captions say? `python toyworld/gate.py [WORLD [--files FILES]]`.

With COMFYUI_PATH set. Samples captions with the host's own sampler and lets the judge look. Prints
the share of right images per attribute, for compositions that the model was trained on and for
the held-out ones.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [os.environ["COMFYUI_PATH"], str(Path(__file__).resolve().parents[1])]
from comfy.cli_args import args as host_arguments  # noqa: E402

host_arguments.cpu = not torch.cuda.is_available()

import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.text_encoders.z_image as z_image  # noqa: E402
import comfy.utils  # noqa: E402
import folder_paths  # noqa: E402
from comfy.supported_models_base import ClipTarget  # noqa: E402

from toyworld import assembly, judge  # noqa: E402
from toyworld.drawing import SIZE  # noqa: E402
from toyworld.world import Scene, World  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

BATCH = 25


class Sampling(NamedTuple):
    """How images are sampled, with Euler's method."""

    steps: int = 25
    guidance: float = 4.0
    scheduler: str = "normal"


PLAIN, TURBO = Sampling(), Sampling(4, 1.0, "simple")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", nargs="?", choices=WORLDS, default="toyworld")
    parser.add_argument("--files", type=Path, help="of the model; assembled if not given")
    parser.add_argument("--turbo", action="store_true", help="the turbo model: 4 steps, unguided")
    parser.add_argument("--captions", type=int, default=500)
    parser.add_argument("--sheet", type=Path, help="where to put the first 64 images")
    chosen = parser.parse_args()
    files, world = chosen.files or assembly.assembled(chosen.world), WORLDS[chosen.world]
    model, clip, vae = loaded(files, chosen.turbo)
    sheets = []
    for kind, texts in (
        ("trained", full_captions(world, chosen.captions)),
        ("held out", held_out_captions(world, chosen.captions // 2)),
    ):
        sampling = TURBO if chosen.turbo else PLAIN
        images = list(sampled(model, clip, vae, texts, sampling=sampling))
        print(kind, table(world, texts, images), flush=True)
        sheets += images[:32]
    if chosen.sheet:
        contact_sheet(sheets).save(chosen.sheet)


def full_captions(world: World, count: int) -> list[str]:
    """Captions of trained compositions: "a striped red star on sand"."""
    draws, texts = Random(11), []
    while len(texts) < count:
        thing = draws.choice(world.named)
        if thing not in world.held_out:
            texts.append(whole(world, world.random_scene(draws, thing)))
    return texts


def held_out_captions(world: World, count: int) -> list[str]:
    """Captions of compositions that no training scene shows."""
    draws = Random(12)
    things = (world.held_out[index % len(world.held_out)] for index in range(count))
    return [whole(world, world.random_scene(draws, thing)) for thing in things]


def whole(world: World, scene: Scene) -> str:
    """A caption that names thing and background."""
    return f"a photo of a {world.describe(scene.thing)} {world.place_words(scene)[1]}"


def loaded(files: Path, turbo: bool = False) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE as the stock loaders give them: of a checkpoint, or of a folder."""
    if files.is_file():
        return comfy.sd.load_checkpoint_guess_config(str(files))[:3]
    network = files / ("turbo.safetensors" if turbo else "diffusion_model.safetensors")
    model = comfy.sd.load_diffusion_model(str(network))
    vae = comfy.sd.VAE(comfy.utils.load_torch_file(str(files / "vae.safetensors")))
    return model, language_model(files / "text_encoder.safetensors"), vae


def language_model(file: Path) -> Any:
    """The CLIP of a text encoder's file as the host makes that of Z-Image (core sd.py
    load_text_encoder_state_dicts), which knows it in one size only.
    """
    target = ClipTarget(z_image.ZImageTokenizer, z_image.te())
    target.params = {}
    clip = comfy.sd.CLIP(
        target,
        embedding_directory=cast(Any, folder_paths.get_folder_paths("embeddings")),
        state_dict=[comfy.utils.load_torch_file(str(file))],
        model_options={"qwen3_4b_model_config": assembly.QWEN.layout},
    )
    clip.tokenizer.qwen3_4b.embedding_size = assembly.QWEN.width  # of the files that it reads
    return clip


@torch.inference_mode()
def sampled(
    model: Any,
    clip: Any,
    vae: Any,
    texts: Sequence[str],
    seed: int = 0,
    sampling: Sampling = PLAIN,
) -> Iterator[Image.Image]:
    """An image of each text, each with noise of its own."""
    form = model.model.latent_format
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        latents = torch.zeros(len(part), form.latent_channels, SIZE // 8, SIZE // 8)
        noise = comfy.sample.prepare_noise(latents, seed + start)
        made = latents.clone()
        for rows, positive in grouped(clip, part):
            made[rows] = comfy.sample.sample(
                *(model, noise[rows], sampling.steps, sampling.guidance, "euler"),
                *(sampling.scheduler, [[positive, {}]], [[encoded(clip, ""), {}]], latents[rows]),
                disable_pbar=True,
                seed=seed,
            )
        for pixels in vae.decode(made):
            yield Image.fromarray(np.rint(pixels.clamp(0, 1).numpy() * 255).astype("u1"))


def grouped(clip: Any, texts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Texts whose conditioning has one length: their places, and their conditioning."""
    known = {text: encoded(clip, text) for text in dict.fromkeys(texts)}
    lengths: dict[int, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        lengths[known[text].shape[1]].append(place)
    for rows in lengths.values():
        yield rows, torch.cat([known[texts[row]] for row in rows])


def encoded(clip: Any, text: str) -> torch.Tensor:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]


def table(world: World, texts: Sequence[str], images: Sequence[Image.Image]) -> Mapping[str, float]:
    """Share of images that show what their text says, per attribute."""
    results = defaultdict(list)
    for text, image in zip(texts, images, strict=True):
        seen = judge.judge_of(world).fulfilled(world.said(text), image)
        for field, right in seen.items():
            results[field].append(right)
    return {field: round(float(np.mean(right)), 4) for field, right in results.items()}


def contact_sheet(images: Sequence[Image.Image], across: int = 8) -> Image.Image:
    """Images in rows, twice as large."""
    side = 2 * SIZE
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (across * side, rows * side))
    for index, image in enumerate(images):
        place = (index % across * side, index // across * side)
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), place)
    return sheet


if __name__ == "__main__":
    main()
