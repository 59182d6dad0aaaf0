"""Does the model draw what captions say? `python toyworld/gate.py CHECKPOINT`.

With COMFYUI_PATH set. Samples captions with the host's own sampler and lets the judge look. Prints
the share of right pictures per attribute, for compositions that the model was trained on and for
the held-out ones.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [os.environ["COMFYUI_PATH"], str(Path(__file__).resolve().parents[1])]
from comfy.cli_args import args as host_arguments  # noqa: E402

host_arguments.cpu = not torch.cuda.is_available()

import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402

from toyworld import judge, world  # noqa: E402

STEPS, GUIDANCE = 25, 4.0
BATCH = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--captions", type=int, default=500)
    parser.add_argument("--sheet", type=Path, help="where to put the first 64 pictures")
    chosen = parser.parse_args()
    model, clip, vae = loaded(chosen.checkpoint)
    sheets = []
    for kind, texts in (
        ("trained", full_captions(chosen.captions)),
        ("held out", held_out_captions(chosen.captions // 2)),
    ):
        pictures = list(sampled(model, clip, vae, texts))
        print(kind, table(texts, pictures), flush=True)
        sheets += pictures[:32]
    if chosen.sheet:
        contact_sheet(sheets).save(chosen.sheet)


def full_captions(count: int) -> list[str]:
    """Captions of trained compositions: "a striped red star on sand"."""
    draws, texts = Random(11), []
    while len(texts) < count:
        thing = draws.choice(world.ALL_NAMED)
        if thing not in world.HELD_OUT:
            texts.append(whole(world.random_scene(draws, thing)))
    return texts


def held_out_captions(count: int) -> list[str]:
    """Captions of compositions that no training scene shows."""
    draws = Random(12)
    things = (world.HELD_OUT[index % len(world.HELD_OUT)] for index in range(count))
    return [whole(world.random_scene(draws, thing)) for thing in things]


def whole(scene: world.Scene) -> str:
    """A caption that names thing and background."""
    return f"a photo of a {world.describe(scene.thing)} {world.place_words(scene)[1]}"


def loaded(checkpoint: Path) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a checkpoint, as the stock loader gives them."""
    return comfy.sd.load_checkpoint_guess_config(str(checkpoint))[:3]


@torch.inference_mode()
def sampled(
    model: Any, clip: Any, vae: Any, texts: Sequence[str], seed: int = 0
) -> Iterator[Image.Image]:
    """A picture of each text, each with noise of its own."""
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        latents = torch.zeros(len(part), 4, world.SIZE // 8, world.SIZE // 8)
        noise = comfy.sample.prepare_noise(latents, seed + start)
        known = {text: encoded(clip, text) for text in dict.fromkeys(part)}
        positive = [[torch.cat([known[text] for text in part]), {}]]
        negative = [[encoded(clip, ""), {}]]
        made = comfy.sample.sample(
            *(model, noise, STEPS, GUIDANCE, "euler", "normal", positive, negative, latents),
            disable_pbar=True,
            seed=seed,
        )
        for pixels in vae.decode(made):
            yield Image.fromarray(np.rint(pixels.clamp(0, 1).numpy() * 255).astype("u1"))


def encoded(clip: Any, text: str) -> torch.Tensor:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]


def table(texts: Sequence[str], pictures: Sequence[Image.Image]) -> Mapping[str, float]:
    """Share of pictures that show what their text says, per attribute."""
    results = defaultdict(list)
    for text, picture in zip(texts, pictures, strict=True):
        for field, right in judge.fulfilled(world.said(text), picture).items():
            results[field].append(right)
    return {field: round(float(np.mean(right)), 4) for field, right in results.items()}


def contact_sheet(pictures: Sequence[Image.Image], across: int = 8) -> Image.Image:
    """Pictures in rows, twice as large."""
    side = 2 * world.SIZE
    rows = -(-len(pictures) // across)
    sheet = Image.new("RGB", (across * side, rows * side))
    for index, picture in enumerate(pictures):
        place = (index % across * side, index // across * side)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), place)
    return sheet


if __name__ == "__main__":
    main()
