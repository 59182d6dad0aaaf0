"""Images that carry an embedding, in AUTOMATIC1111's layout."""

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_embeddings import FAMILIES, embedding, rows, same_vectors, write

from ti_core.word.formats import Export, read_embedding
from ti_core.word.formats.card import card, footer_text

SAMPLE = Image.effect_noise((192, 128), 60).convert("RGB")


def noise(count: int) -> np.ndarray:
    """The layout's fixed sequence, one by one."""
    state, found = 0, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        found.append(state % 255 & 15)
    return np.array(found, np.uint8)


def dict_in_panels(image: Image.Image) -> dict:
    """What the layout's description says about reading the panels, step by step."""
    low_halves = np.asarray(image.convert("RGB")) & 15
    black = [x for x in range(image.width) if not low_halves[:, x].any()]
    left, right = low_halves[:, : black[0]], low_halves[:, black[-1] + 1 :]
    low, high = (part.flatten() ^ noise(part.size) for part in (left, right))
    return json.loads(zlib.decompressobj().decompress(((high << 4) | low).tobytes()))


def panels(data: dict, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The two panels as the layout's description says, without its dots."""
    payload = np.frombuffer(zlib.compress(json.dumps(data).encode(), 9), np.uint8)
    size = len(payload) + height - len(payload) % height
    size += 3 * height - size % (3 * height)
    halves = (np.resize(payload & 15, size), np.resize(payload >> 4, size))
    low, high = ((half ^ noise(size) | 64).reshape(height, -1, 3) for half in halves)
    return low, high


def theirs(count: int, width: int) -> dict:
    """The dict that AUTOMATIC1111 puts into an image."""
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": {"TORCHTENSOR": rows(count, width).tolist()}},
        "name": "my-cat-500",
        "step": 500,
        "sd_checkpoint": "81761151",
        "sd_checkpoint_name": "v1-5",
    }


@pytest.mark.parametrize("family", ["SD 1", "SD 2", "SDXL"])
def test_chunk_and_panels_hold_what_automatic1111_reads(family: str, tmp_path: Path):
    made = embedding(**FAMILIES[family])
    (path,) = write(tmp_path / "a", made, "share image", Export(image=SAMPLE))
    with Image.open(path) as opened:
        text = opened.text["sd-ti-embedding"]  # type: ignore[attr-defined]
        for data in (json.loads(base64.b64decode(text)), dict_in_panels(opened)):
            if family == "SDXL":  # It takes every entry for a tensor, so there must be no other.
                found = data
            else:
                (key,) = made.vectors
                assert (data["name"], data["step"]) == ("my-cat", 400)
                found = {key: data["string_to_param"]["*"]}
            for key, value in made.vectors.items():
                assert torch.tensor(found[key]["TORCHTENSOR"]).equal(value)


@pytest.mark.parametrize("family", ["SD 1", "SD 2", "SDXL"])
def test_an_image_that_lost_its_text_still_reads(family: str, tmp_path: Path):
    made = embedding(**FAMILIES[family])
    (path,) = write(tmp_path / "a", made, "share image", Export(image=SAMPLE))
    with Image.open(path) as opened:
        opened.convert("RGB").save(tmp_path / "bare.png")
        opened.convert("RGB").save(tmp_path / "bare.webp", lossless=True)
    for name in ("bare.png", "bare.webp"):
        same_vectors(read_embedding(tmp_path / name), made)


@pytest.mark.parametrize("ending", [".png", ".webp"])
@pytest.mark.parametrize(
    ("count", "width", "height"), [(1, 768, 512), (8, 768, 96), (3, 1024, 201)]
)
def test_images_of_automatic1111_read_from_their_panels(
    ending: str, count: int, width: int, height: int, tmp_path: Path
):
    low, high = panels(theirs(count, width), height)
    middle = np.asarray(Image.effect_noise((64, height), 90).convert("RGB"))
    divider = np.zeros((height, 1, 3), np.uint8)
    image = Image.fromarray(np.concatenate([low, divider, middle, divider, high], axis=1))
    image.save(tmp_path / f"a{ending}", lossless=True)  # Which PNG is anyway.
    found = read_embedding(tmp_path / f"a{ending}")
    assert next(iter(found.vectors.values())).equal(rows(count, width))
    assert found.placeholder == "my-cat-500"
    assert found.provenance["steps"] == 500


def test_a_black_frame_around_the_card_does_no_harm(tmp_path: Path):
    made = embedding(clip_l=768)
    (path,) = write(tmp_path / "a", made, "share image", Export(image=SAMPLE))
    with Image.open(path) as opened:
        framed = Image.new("RGB", (opened.width + 30, opened.height + 20))
        framed.paste(opened, (10, 15))
    framed.save(tmp_path / "framed.png")
    same_vectors(read_embedding(tmp_path / "framed.png"), made)


@pytest.mark.parametrize("count", [1, 32, 75])
def test_a_card_needs_no_sample_and_holds_as_many_vectors_as_a_prompt(count: int, tmp_path: Path):
    made = embedding(clip_l=768, clip_g=1280)
    vectors = {"clip_l": rows(count, 768), "clip_g": rows(count, 1280)}
    made = type(made)("my-cat", "cat", vectors, vectors)
    (path,) = write(tmp_path / "a", made, "share image")
    same_vectors(read_embedding(path), made)


def test_the_graph_travels_with_the_card(tmp_path: Path):
    export = Export(image=SAMPLE, text={"workflow": '{"nodes": []}', "prompt": "{}"})
    (path,) = write(tmp_path / "a", embedding(clip_l=768), "share image", export)
    with Image.open(path) as opened:
        assert opened.text["workflow"] == '{"nodes": []}'  # type: ignore[attr-defined]


@pytest.mark.parametrize("spoil", ["jpeg", "resize"])
def test_a_card_that_lost_its_exact_pixels_says_so(spoil: str, tmp_path: Path):
    (path,) = write(tmp_path / "a", embedding(clip_l=768), "share image", Export(image=SAMPLE))
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if spoil == "jpeg":
        image.save(tmp_path / "b.jpg", quality=90)
        image = Image.open(tmp_path / "b.jpg")
    else:
        image = image.resize((300, 200))
    image.save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="panels are damaged|without an embedding"):
        read_embedding(tmp_path / "c.png")


def test_the_panels_wear_the_shades_of_the_first_vector(tmp_path: Path):
    made = embedding(clip_l=768)
    (path,) = write(tmp_path / "a", made, "share image", Export(image=SAMPLE))
    first = made.vectors["clip_l"][0].abs()
    shades = (first / first.max() * 255).to(torch.uint8) & 0xF0
    with Image.open(path) as opened:
        tiles = np.asarray(opened)[::8, 0, 0] & 0xF0  # Tiles of 8 pixels, from the top.
    assert tiles.tolist() == shades[: len(tiles)].tolist()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 768), (512, 768)),
        ((2048, 1024), (1024, 512)),
        ((128, 192), (256, 384)),
        ((4000, 100), (1024, 26)),
    ],
)
def test_a_card_has_a_size_to_look_at(size: tuple[int, int], expected: tuple[int, int]):
    assert card(embedding(clip_l=768), Image.new("RGB", size)).size == expected


def test_a_card_tells_base_model_short_hash_vectors_and_steps():
    made = embedding(clip_l=768)
    recipe = {"base_model": "base.safetensors", "base_model_hash": "ab" * 32, "steps": 400}
    known = replace(made, provenance=recipe)
    assert footer_text(known) == "base.safetensors   [ababababab]   2v 400s"
    assert footer_text(replace(made, provenance={})) == "2v"


@pytest.mark.parametrize("name", ["my-cat", "a-word-" * 9])
def test_the_word_stands_above_the_sample_and_inside_it(name: str):
    sample = Image.new("RGB", (512, 512), "navy")
    drawn = np.asarray(card(replace(embedding(clip_l=768), placeholder=name), sample))
    title = drawn[: 512 // 12 * 2].min(axis=2)  # White is what has all three colors.
    columns = np.flatnonzero((title > 200).any(axis=0))
    assert 10 < columns[0] < 40
    assert columns[-1] < 500
