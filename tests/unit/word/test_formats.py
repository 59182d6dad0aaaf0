"""What we write, and that it comes back."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sample_embeddings import FAMILIES, embedding, same_vectors, write

from ti_core.word.blending import with_fewer_vectors
from ti_core.word.embedding import Embedding
from ti_core.word.families import ENCODERS
from ti_core.word.formats import FORMATS, Export, read_embedding
from ti_core.word.formats.recipe import file_metadata
from ti_core.word.formats.writing import standard_tensors
from ti_core.word.inspection import inspection_report

TWO_ENCODERS = ("SD 1", "SD 2", "SDXL")
EVERY = [(name, kind) for name in FAMILIES for kind in ("standard", "diffusers", "onetrainer")]
EVERY += [(name, kind) for name in TWO_ENCODERS for kind in ("automatic1111", "share image")]


@pytest.mark.parametrize(("family", "kind"), EVERY)
def test_what_is_written_comes_back_bit_for_bit_with_its_recipe(
    family: str, kind: str, tmp_path: Path
):
    made = embedding(**FAMILIES[family])
    for path in write(tmp_path / "other-name", made, kind):
        found = read_embedding(path)
        same_vectors(found, made)
        if (family, kind) != ("SDXL", "automatic1111"):  # It has a place for the vectors only.
            is_image = kind == "share image"
            assert found.placeholder == (made.placeholder if is_image else "other-name")
            assert found.initializer == made.initializer
            assert found.provenance == {**made.provenance, "initializer": "cat"}


def test_a_long_word_comes_back_and_can_be_inspected_and_shortened(tmp_path: Path):
    """As ComfyUI's own templates use for MiniMax H3: up to 142 vectors."""
    rows = 0.02 * torch.randn(142, 5120, generator=torch.Generator().manual_seed(1))
    save_file({"qwen3vl_32b": rows}, tmp_path / "effect.safetensors")
    found = read_embedding(tmp_path / "effect.safetensors")
    assert found.vectors["qwen3vl_32b"].equal(rows)
    assert "Fits MiniMax H3, 142 vectors." in inspection_report(found, {})
    assert with_fewer_vectors(found, 8, "merge").count == 8
    assert with_fewer_vectors(found, 8, "prune").count == 8


@pytest.mark.parametrize("key", ENCODERS)
def test_a_word_of_every_text_encoder_comes_back(key: str, tmp_path: Path):
    made = embedding(**{key: ENCODERS[key].width})
    same_vectors(read_embedding(write(tmp_path / "my-cat", made, "standard")[0]), made)


@pytest.mark.parametrize("kind", FORMATS)
def test_fp16_is_rounded_and_nothing_else(kind: str, tmp_path: Path):
    made = embedding(clip_l=768)
    (path,) = write(tmp_path / "a", made, kind, Export("fp16"))
    found = read_embedding(path).vectors["clip_l"]
    assert found.equal(made.vectors["clip_l"].half().float())


def test_vectors_too_large_for_fp16_are_not_written_as_infinite(tmp_path: Path):
    rows = {"clip_l": torch.full((1, 768), 1e6), "clip_g": torch.ones(1, 1280)}
    with pytest.raises(ValueError, match="do not fit into fp16. Set storage to fp32"):
        write(tmp_path / "a", Embedding("a", "b", rows, rows), "standard", Export("fp16"))


def test_diffusers_finds_clip_l_in_the_first_file_of_a_pair(tmp_path: Path):
    made = embedding(clip_g=1280, clip_l=768)
    first, second = write(tmp_path / "a", made, "diffusers")
    assert (first.name, second.name) == ("a.safetensors", "a_2.safetensors")
    assert load_file(first)["my-cat"].equal(made.vectors["clip_l"])
    assert load_file(second)["my-cat"].equal(made.vectors["clip_g"])
    assert metadata_of(first)["format"] == metadata_of(second)["format"] == "pt"


def test_automatic1111_finds_its_own_entries(tmp_path: Path):
    recipe = {"steps": 400, "base_model": "base.safetensors", "base_model_hash": "ab" * 32}
    made = replace(embedding(clip_l=768), provenance=recipe)
    (path,) = write(tmp_path / "a", made, "automatic1111")
    data = torch.load(path, weights_only=True)
    assert data.pop("string_to_param")["*"].equal(made.vectors["clip_l"])
    assert json.loads(data.pop("textual_inversion"))["base_model_hash"] == "ab" * 32
    assert data == {
        "string_to_token": {"*": 265},
        "name": "my-cat",
        "step": 400,
        "sd_checkpoint": "ababababab",
        "sd_checkpoint_name": "base.safetensors",
    }
    assert read_embedding(path).provenance["base_model_hash"] == "ab" * 32


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("SD 1", {"emb_params"}),
        ("SD 2", {"emb_params"}),
        ("SDXL", {"clip_l", "clip_g"}),
        ("SD 3", {"clip_l", "clip_g", "t5xxl", "t5"}),
        ("Flux", {"clip_l", "t5xxl", "t5"}),
        ("T5 only", {"t5xxl", "t5"}),
        ("Z-Image", {"qwen3_4b"}),
    ],
)
def test_files_use_the_names_that_most_tools_read(family: str, keys: set[str]):
    assert set(standard_tensors(embedding(**FAMILIES[family]))) == keys


@pytest.mark.parametrize("kind", ["automatic1111", "share image"])
def test_what_automatic1111_cannot_hold_is_an_error_with_the_way_out(kind: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"Flux.1 \(clip_l, t5xxl\). Use the format 'standard'"):
        write(tmp_path / "a", embedding(**FAMILIES["Flux"]), kind)


def test_metadata_tells_what_it_is_and_how_it_was_made(tmp_path: Path):
    (path,) = write(tmp_path / "a", embedding(clip_l=768), "standard")
    metadata = metadata_of(path)
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert metadata["modelspec.prediction_type"] == "epsilon"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", metadata["modelspec.date"])
    recipe = json.loads(metadata["textual_inversion"])
    assert recipe["placeholder"] == "my-cat"
    assert recipe["initializer"] == "cat"
    assert recipe["steps"] == 400
    assert recipe["vectors"] == 2
    assert recipe["version"] == 1


def test_the_hash_is_that_of_the_file_without_its_header(tmp_path: Path):
    (path,) = write(tmp_path / "a", embedding(clip_l=768, clip_g=1280), "standard")
    data = path.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert metadata_of(path)["modelspec.hash_sha256"] == f"0x{digest}"


def test_a_sample_becomes_the_thumbnail_and_stays_with_the_word(tmp_path: Path):
    sample = Image.new("RGB", (640, 512), "orange")
    (path,) = write(tmp_path / "a", embedding(clip_l=768), "standard", Export(image=sample))
    thumbnail = metadata_of(path)["modelspec.thumbnail"]
    head, _, data = thumbnail.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as small:
        assert small.size == (256, 205)
    (again,) = write(tmp_path / "b", read_embedding(path), "standard")
    assert metadata_of(again)["modelspec.thumbnail"] == thumbnail


def test_what_a_person_wrote_into_a_file_goes_on_into_the_next(tmp_path: Path):
    known = {"modelspec.author": "Ada", "modelspec.license": "CC0-1.0"}
    version = {"modelspec.implementation_version": "sd-scripts/1a2b"}
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "a.safetensors", {**known, **version})
    found = read_embedding(tmp_path / "a.safetensors")
    assert found.provenance["made_with"] == "sd-scripts/1a2b"
    (again,) = write(tmp_path / "b", found, "standard")
    assert known.items() <= metadata_of(again).items()


def test_a_recipe_tells_of_its_own_file_and_not_of_the_one_before():
    older = {"placeholder": "other", "vectors": 9, "version": 0, "steps": 400}
    made = replace(embedding(clip_l=768), provenance=older)
    recipe = json.loads(file_metadata(made)["textual_inversion"])
    assert recipe == {
        "placeholder": "my-cat",
        "vectors": 2,
        "version": 1,
        "steps": 400,
        "initializer": "cat",
    }


def test_our_recipe_counts_more_than_what_other_entries_tell(tmp_path: Path):
    known = {"step": "900", "textual_inversion": '{"steps": 400, "initializer": " "}'}
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "my-cat.safetensors", known)
    found = read_embedding(tmp_path / "my-cat.safetensors")
    assert found.provenance["steps"] == 400
    assert found.initializer == "my cat"  # Nothing but spaces is no text to start from.


@pytest.mark.parametrize("recipe", ["{", "[]", "7", "[" * 50_000])
def test_a_damaged_recipe_is_none_and_the_vectors_are_read(recipe: str, tmp_path: Path):
    known = {"textual_inversion": recipe}
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "a.safetensors", known)
    assert read_embedding(tmp_path / "a.safetensors").provenance == {}


def test_a_guessed_initializer_is_not_written_as_a_fact(tmp_path: Path):
    save_file({"emb_params": torch.ones(1, 768)}, tmp_path / "my-cat.safetensors")
    found = read_embedding(tmp_path / "my-cat.safetensors")
    assert (found.placeholder, found.initializer, found.has_origin) == ("my-cat", "my cat", False)
    assert "initializer" not in json.loads(file_metadata(found)["textual_inversion"])


def metadata_of(path: Path) -> Mapping[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()
