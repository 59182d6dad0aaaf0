"""Every outermost tokenizer of the host, without weights; without anything of the pack.

Tokenizers that the host keeps inside checkpoints (SentencePiece, Mistral's, GPT-OSS's, Gemma 4's)
are trained here on a few sentences.
"""

import base64
import importlib
import io
import json
import pkgutil
from functools import cache
from typing import Any

import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders
import sentencepiece
import torch
from comfy.sd1_clip import SDTokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SENTENCES = [
    "a photo of a cat, on a red table in the garden, and the dog's tail",
    "the cat and the dog sleep; a striped vase (the old one) stands on the table.",
    "Describe the image by its color, shape, size and texture: objects and background",
    "You are an assistant designed to generate superior images from the prompts of users",
] * 20
BYTE_LEVEL_SPECIALS = ["<|endoftext|>", "<|start|>", "<|end|>", "<|turn>", "<turn|>"]
MISTRAL_SPECIALS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
MISTRAL_WORDS = (" cat", " dog", "cat", "dog", " photo", " table", " on", " a", " of")
# What only lends its methods to others, or makes music from numbers of its own.
NO_TOKENIZERS = {"Gemma3_Tokenizer", "Gemma4_Tokenizer", "MiniMaxMusic3Tokenizer"}


@cache
def sentencepiece_model(kind: str, dummy_prefix: bool) -> torch.Tensor:
    """A small SentencePiece model as the host finds it in checkpoints."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=file,
        model_type=kind,
        vocab_size=300 if kind == "unigram" else 420,
        hard_vocab_limit=False,
        add_dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=dummy_prefix,
        byte_fallback=kind == "bpe",
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


@cache
def byte_level_json() -> torch.Tensor:
    """A small byte-level tokenizer as a file of the `tokenizers` library."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=BYTE_LEVEL_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES, trainer)
    return torch.frombuffer(bytearray(made.to_str().encode()), dtype=torch.uint8)


@cache
def mistral_json() -> torch.Tensor:
    """A small tokenizer in Mistral's own format."""
    starts = {word[:end] for word in MISTRAL_WORDS for end in range(2, len(word) + 1)}
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [start.encode() for start in sorted(starts, key=lambda start: (len(start), start))]
    content = {
        "config": {
            "default_vocab_size": len(tokens) + len(MISTRAL_SPECIALS),
            "default_num_special_tokens": len(MISTRAL_SPECIALS),
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode()}
            for rank, token in enumerate(tokens)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": token} for rank, token in enumerate(MISTRAL_SPECIALS)
        ],
    }
    return torch.frombuffer(bytearray(json.dumps(content).encode()), dtype=torch.uint8)


def data(name: str) -> dict[str, Any]:
    """What a checkpoint would bring for a tokenizer class."""
    kind = ("bpe", False) if "gemma" in name.lower() or "Lumina" in name else ("unigram", True)
    pieces = sentencepiece_model(*kind)
    return {
        "spiece_model": pieces,
        "mt5xl.spiece_model": pieces,
        "jina_spiece_model": sentencepiece_model("unigram", True),
        "gemma_spiece_model": sentencepiece_model("bpe", False),
        "tekken_model": mistral_json(),
        "tokenizer_json": byte_level_json(),
    }


def classes() -> dict[str, type]:
    """The host's outermost tokenizer classes, by module and name."""
    folder = comfy.text_encoders
    modules: list[Any] = [comfy.sd1_clip, comfy.sdxl_clip]
    modules += [
        importlib.import_module(f"{folder.__name__}.{found.name}")
        for found in pkgutil.iter_modules(folder.__path__)
    ]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and kind.__module__ == module.__name__
        and hasattr(kind, "tokenize_with_weights")
        and not issubclass(kind, SDTokenizer)
        and name not in NO_TOKENIZERS
    }


@cache
def tokenizer(name: str, folder: str) -> Any:
    """One of the host's outermost tokenizers, which reads embedding files from a folder."""
    return classes()[name](embedding_directory=folder, tokenizer_data=data(name))
