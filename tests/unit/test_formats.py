import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ti_core.embedding import Embedding
from ti_core.formats import file_metadata, file_tensors, free_path, write_safetensors


def embedding(**widths: int) -> Embedding:
    rows = {key: torch.randn(2, width) for key, width in widths.items()}
    return Embedding("my-cat", "cat", rows, rows, {"steps": 400, "prediction": "eps"})


@pytest.mark.parametrize(
    ("widths", "keys"),
    [
        ({"clip_l": 768}, {"emb_params"}),
        ({"clip_h": 1024}, {"emb_params"}),
        ({"clip_l": 768, "clip_g": 1280}, {"clip_l", "clip_g"}),
        ({"clip_l": 768, "clip_g": 1280, "t5xxl": 4096}, {"clip_l", "clip_g", "t5xxl"}),
    ],
)
def test_files_use_the_names_that_most_tools_read(widths: dict[str, int], keys: set[str]):
    assert set(file_tensors(embedding(**widths))) == keys


def test_fp32_comes_back_bit_for_bit_and_fp16_is_half(tmp_path: Path):
    made = embedding(clip_l=768)
    write_safetensors(tmp_path / "sub" / "a.safetensors", file_tensors(made), {})
    assert load_file(tmp_path / "sub" / "a.safetensors")["emb_params"].equal(made.vectors["clip_l"])
    assert file_tensors(made, "fp16")["emb_params"].dtype == torch.float16


def test_metadata_tells_what_it_is_and_how_it_was_made(tmp_path: Path):
    made = embedding(clip_l=768)
    write_safetensors(tmp_path / "a.safetensors", file_tensors(made), file_metadata(made))
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert metadata["modelspec.prediction_type"] == "epsilon"
    recipe = json.loads(metadata["textual_inversion"])
    assert recipe["placeholder"] == "my-cat"
    assert recipe["initialiser"] == "cat"
    assert recipe["steps"] == 400
    assert recipe["vectors"] == 2


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(Exception, match="metadata"):
        write_safetensors(path, {"a": torch.zeros(1)}, {"bad": 1})  # type: ignore[dict-item]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_taken_name_counts_up(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    assert free_path(path) == path
    path.touch()
    (tmp_path / "a-2.safetensors").touch()
    assert free_path(path).name == "a-3.safetensors"
