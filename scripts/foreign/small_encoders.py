"""Text encoders with few tokens and layers, as wide as the real ones, for tools that put a word
into them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
WORDS = (*SPECIAL.values(), "cat", "dog", ",", "*")


class Words(PreTrainedTokenizerFast):
    """A tokenizer of a few words. Lists are lists of tokens, as CLIP's has it up to transformers 4,
    for which the trainers were written.
    """

    def encode(self, text: Any, **options: Any) -> Any:
        return (
            self.convert_tokens_to_ids(text)
            if isinstance(text, list)
            else super().encode(text, **options)
        )


class Encoder(NamedTuple):
    """A text encoder with its tokenizer."""

    model: Any
    tokenizer: Any

    def rows(self, tokens: list[str]) -> Tensor:
        """The vectors of some tokens `[n, width]`."""
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        return self.model.get_input_embeddings().weight[ids].detach().clone()


def encoders_for(widths: dict[str, int]) -> dict[str, Encoder]:
    """New encoders of these widths, by our keys."""
    return {key: Encoder(model_for(key, width), words()) for key, width in widths.items()}


def words() -> Words:
    """The tokenizer."""
    known = {word: number for number, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(known, unk_token=SPECIAL["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Words(tokenizer_object=inner, model_max_length=77, **SPECIAL)


def model_for(key: str, width: int) -> torch.nn.Module:
    """A text encoder of the kind that a key stands for."""
    size: dict[str, Any] = {"vocab_size": len(WORDS), "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 1, "intermediate_size": 8}
    if key.startswith("clip"):
        return CLIPTextModel(CLIPTextConfig(hidden_size=width, projection_dim=8, **size, **heads))
    if key.startswith("t5"):
        small: dict[str, Any] = {"d_kv": 8, "d_ff": 8, "num_layers": 1, "num_heads": 1}
        return T5EncoderModel(T5Config(vocab_size=len(WORDS), d_model=width, **small))
    return LlamaModel(LlamaConfig(hidden_size=width, **size, **heads))
