"""Our files in diffusers' own `load_textual_inversion`, on small pipelines with random weights."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from sample_embeddings import (  # pyright: ignore[reportMissingImports]
    FAMILIES,
    embedding,
    same_vectors,
    write,
)
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from ti_core.word.formats import read_embedding

pytestmark = pytest.mark.slow
LIBRARY: Any = diffusers  # Its names appear on their first use, where no type checker sees them.


@pytest.fixture(autouse=True)
def inference_mode() -> Any:
    """Diffusers runs as its users run it."""
    with torch.no_grad():
        yield


def text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        projection_dim=width,
    )


def parts(comfyui: Path, context: int) -> dict[str, Any]:
    """What both pipelines have."""
    unet = LIBRARY.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32,),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=8,
        cross_attention_dim=context,
    )
    return {
        "vae": LIBRARY.AutoencoderKL(block_out_channels=(32,), norm_num_groups=8),
        "unet": unet,
        "scheduler": LIBRARY.DDIMScheduler(steps_offset=1, clip_sample=False),
        "text_encoder": CLIPTextModel(text_config(768)),
        "tokenizer": CLIPTokenizer.from_pretrained(comfyui / "comfy" / "sd1_tokenizer"),
    }


@pytest.fixture
def sd1(comfyui: Path) -> Any:
    """A whole SD 1.x pipeline."""
    return LIBRARY.StableDiffusionPipeline(
        **parts(comfyui, 768),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture
def sdxl(comfyui: Path) -> Any:
    """A whole SDXL pipeline."""
    return LIBRARY.StableDiffusionXLPipeline(
        **parts(comfyui, 2048),
        text_encoder_2=CLIPTextModelWithProjection(text_config(1280)),
        tokenizer_2=CLIPTokenizer.from_pretrained(comfyui / "comfy" / "sd1_tokenizer"),
    )


def rows_of(pipeline: Any, tokenizer: Any, encoder: Any, prompt: str) -> Tensor:
    """The vectors that the pipeline looks up for the new tokens of a prompt."""
    written = pipeline.maybe_convert_prompt(prompt, tokenizer)
    ids = [i for i in tokenizer(written)["input_ids"] if i > 49407]
    return encoder.get_input_embeddings().weight[ids]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("standard", {"token": "my-cat"}),
        ("onetrainer", {"token": "my-cat"}),
        ("diffusers", {}),
        ("automatic1111", {"weight_name": "other.pt", "use_safetensors": False}),
    ],
)
def test_every_file_for_sd1_loads(sd1: Any, kind: str, options: dict[str, Any], tmp_path: Path):
    made = embedding(**FAMILIES["SD 1"])
    (path,) = write(tmp_path / "other", made, kind)
    sd1.load_textual_inversion(str(tmp_path), **{"weight_name": path.name, **options})
    found = rows_of(sd1, sd1.tokenizer, sd1.text_encoder, "a photo of my-cat")
    assert found.equal(made.vectors["clip_l"])


def test_the_pair_for_sdxl_loads_file_by_file(sdxl: Any, tmp_path: Path):
    made = embedding(**FAMILIES["SDXL"])
    files = write(tmp_path / "my-cat", made, "diffusers")
    encoders = [
        ("clip_l", sdxl.tokenizer, sdxl.text_encoder),
        ("clip_g", sdxl.tokenizer_2, sdxl.text_encoder_2),
    ]
    for path, (key, tokenizer, encoder) in zip(files, encoders, strict=True):
        sdxl.load_textual_inversion(str(path), tokenizer=tokenizer, text_encoder=encoder)
        found = rows_of(sdxl, tokenizer, encoder, "a photo of my-cat")
        assert found.equal(made.vectors[key])


def test_the_standard_file_for_sdxl_loads_key_by_key(sdxl: Any, tmp_path: Path):
    made = embedding(**FAMILIES["SDXL"])
    (path,) = write(tmp_path / "my-cat", made, "standard")
    state = load_file(path)
    for key, tokenizer, encoder in (
        ("clip_l", sdxl.tokenizer, sdxl.text_encoder),
        ("clip_g", sdxl.tokenizer_2, sdxl.text_encoder_2),
    ):
        sdxl.load_textual_inversion(
            state[key], token="my-cat", tokenizer=tokenizer, text_encoder=encoder
        )
        assert rows_of(sdxl, tokenizer, encoder, "my-cat").equal(made.vectors[key])


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_what_diffusers_script_takes_out_of_its_text_encoder_loads_here(
    sd1: Any, ending: str, tmp_path: Path
):
    """As its `save_progress` does it: a slice of the grown table, under the placeholder."""
    names = ["<my-cat>", "<my-cat>_1"]
    sd1.tokenizer.add_tokens(names)
    sd1.text_encoder.resize_token_embeddings(len(sd1.tokenizer))
    ids = sd1.tokenizer.convert_tokens_to_ids(names)
    weight = sd1.text_encoder.get_input_embeddings().weight
    learned = {"<my-cat>": weight[min(ids) : max(ids) + 1].detach().cpu()}
    path = tmp_path / f"learned_embeds{ending}"
    if ending == ".safetensors":
        save_file(learned, path, metadata={"format": "pt"})
    else:
        torch.save(learned, path)
    found = read_embedding(path)
    assert found.vectors["clip_l"].equal(weight[ids])
    assert found.placeholder == "learned_embeds"
    assert "Inside, the file calls it '<my-cat>'" in found.notes[0]
    (again,) = write(tmp_path / "again", found, "diffusers")
    same_vectors(read_embedding(again), found)
