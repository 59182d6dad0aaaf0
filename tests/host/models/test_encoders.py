"""Which text encoder reads which tokens: the host's own classes, without weights."""

import importlib
from types import SimpleNamespace
from typing import Any

import host_tokenizers
import pytest
import torch

from ti_core.host.models.text import encoders, without_weights

# Of each kind of model: its tokenizer, the class (or what makes it) of its text encoders, and the
# keys and widths of the vectors that a word has there.
KINDS = {
    "pixart_t5.PixArtTokenizer": ("pixart_t5.pixart_te", {"t5xxl": 4096}),  # and Chroma
    "lt.LTXVT5Tokenizer": ("lt.ltxv_te", {"t5xxl": 4096}),
    "genmo.MochiT5Tokenizer": ("genmo.mochi_te", {"t5xxl": 4096}),
    "cosmos.CosmosT5Tokenizer": ("cosmos.te", {"t5xxl": 1024}),
    "cogvideo.CogVideoXTokenizer": ("cogvideo.cogvideo_te", {"t5xxl": 4096}),
    "aura_t5.AuraT5Tokenizer": ("aura_t5.AuraT5Model", {"pile_t5xl": 2048}),
    "wan.WanT5Tokenizer": ("wan.te", {"umt5xxl": 4096}),
    "hydit.HyditTokenizer": ("hydit.HyditModel", {"chinese_roberta": 1024, "mt5xl": 2048}),
    "lumina2.LuminaTokenizer": ("lumina2.te", {"gemma2_2b": 2304}),
    "newbie.NewBieTokenizer": ("newbie.te", {"gemma3_4b": 2560, "jina_clip_2": 1024}),
    "hunyuan_video.HunyuanVideoTokenizer": (
        "hunyuan_video.hunyuan_video_clip",
        {"clip_l": 768, "llama": 4096},
    ),
    # ByT5 reads quoted text alone: no word is learned for it.
    "hunyuan_image.HunyuanImageTokenizer": ("hunyuan_image.te", {"qwen25_7b": 3584}),
    "kandinsky5.Kandinsky5Tokenizer": ("kandinsky5.te", {"qwen25_7b": 3584, "clip_l": 768}),
    "qwen_image.QwenImageTokenizer": ("qwen_image.te", {"qwen25_7b": 3584}),
    "longcat_image.LongCatImageTokenizer": ("longcat_image.te", {"qwen25_7b": 3584}),
    "z_image.ZImageTokenizer": ("z_image.te", {"qwen3_4b": 2560}),
    "krea2.Krea2Tokenizer": ("krea2.te", {"qwen3vl_4b": 2560}),
    "ideogram4.Ideogram4Tokenizer": ("ideogram4.te", {"qwen3vl_8b": 4096}),
    "minimax.MiniMaxH3Tokenizer": ("minimax.te", {"qwen3vl_32b": 5120}),
    "ovis.OvisTokenizer": ("ovis.te", {"qwen3_2b": 2048}),
    "omnigen2.Omnigen2Tokenizer": ("omnigen2.te", {"qwen25_3b": 2048}),
    # T5's tokens go to the diffusion model as numbers: no word is learned for it.
    "anima.AnimaTokenizer": ("anima.te", {"qwen3_06b": 1024}),
}
NUMBERS_ALONE = {
    "hidream_o1.HiDreamO1Tokenizer": "hidream_o1.HiDreamO1TE",
    "gpt_oss.LensTokenizer": "gpt_oss.lens_te",
}


# As docs/models.md says; brackets and figures are text to the others.
READ_WEIGHTS = {"clip_l", "t5xxl", "pile_t5xl", "umt5xxl", "chinese_roberta", "mt5xl", "gemma2_2b"}
READ_WEIGHTS |= {"qwen25_3b", "llama", "jina_clip_2"}


def clip_without_weights(tokenizer: str, model: str) -> Any:
    """Tokenizer and text encoders of a kind of model, with weights that have shapes alone."""
    module, _, name = model.partition(".")
    made: Any = getattr(importlib.import_module(f"comfy.text_encoders.{module}"), name)
    kind = made if isinstance(made, type) else made()
    return SimpleNamespace(
        tokenizer=host_tokenizers.tokenizer(tokenizer, "embeddings"),
        cond_stage_model=kind(device="meta", dtype=torch.float16, model_options={}),
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_text_encoders_of_a_model_are_found(name: str):
    model, expected = KINDS[name]
    found = encoders(clip_without_weights(name, model))
    assert {key: encoder.width for key, encoder in found.items()} == expected


@pytest.mark.parametrize("name", KINDS)
def test_the_text_encoders_that_read_weights_of_words_are_told_apart(name: str):
    model, keys = KINDS[name]
    found = without_weights(clip_without_weights(name, model))
    assert set(found) == keys.keys() - READ_WEIGHTS


@pytest.mark.parametrize("name", NUMBERS_ALONE)
def test_a_model_that_takes_numbers_of_tokens_is_refused(name: str):
    with pytest.raises(ValueError, match="passes token IDs"):
        encoders(clip_without_weights(name, NUMBERS_ALONE[name]))
