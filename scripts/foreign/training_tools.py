"""The loading code of trainers, and of the library that most of them use. Each function imports it
from a checkout, with empty modules in place of what is heavy, and gives what loads a case.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from foreign.case import Case, ImageInfo, Load, NoPlace, Refused, modules_of
from foreign.small_encoders import Encoder, encoders_for
from foreign.stand_ins import replace
from safetensors.torch import load_file
from torch import Tensor

# Its setups with the text encoders in its order.
ONETRAINER = {
    "StableDiffusion": ("clip_l",),
    "StableDiffusion ": ("clip_h",),
    "StableDiffusionXL": ("clip_l", "clip_g"),
    "StableDiffusion3": ("clip_l", "clip_g", "t5xxl"),
    "Flux": ("clip_l", "t5xxl"),
    "Chroma": ("t5xxl",),
    "HiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "HunyuanVideo": ("llama", "clip_l"),
}
PIPELINES = {
    "StableDiffusionPipeline": ("clip_l",),
    "StableDiffusionPipeline ": ("clip_h",),
    "StableDiffusionXLPipeline": ("clip_l", "clip_g"),
    "StableDiffusion3Pipeline": ("clip_l", "clip_g", "t5xxl"),
    "FluxPipeline": ("clip_l", "t5xxl"),
    "ChromaPipeline": ("t5xxl",),
    "HiDreamImagePipeline": ("clip_l", "clip_g", "t5xxl", "llama"),
    "HunyuanVideoPipeline": ("llama", "clip_l"),
    "ZImagePipeline": ("qwen3_4b",),
}
OUR_NAME_FOR_T5, THEIR_NAME_FOR_T5 = "t5xxl", "t5"


def onetrainer(checkout: Path) -> Load:
    """The loader of embeddings, and the setup that gives them to the text encoders."""
    replace("parse", "mgds", "accelerate", "gguf", "torch.utils.tensorboard")
    loader, names = modules_of(
        checkout, "modules.modeloader.mixin.EmbeddingLoaderMixin", "modules.util.ModelNames"
    )

    def load(case: Case) -> ImageInfo:
        kind, order = next(
            ((kind, order) for kind, order in ONETRAINER.items() if case.is_for(*order)), ("", ())
        )
        if not kind:
            raise NoPlace
        (setup,) = modules_of(checkout, f"modules.modelSetup.Base{kind.strip()}Setup")
        numbers = [""] if len(order) == 1 else [f"_{n}" for n in range(1, len(order) + 1)]
        model = model_for_onetrainer(
            encoders_for(case.widths), dict(zip(order, numbers, strict=True))
        )
        wanted = names.ModelNames(embedding=names.EmbeddingName("", str(case.files[0])))
        loader.EmbeddingLoaderMixin()._load(model, case.folder, wanted)
        set_up(getattr(setup, f"Base{kind.strip()}Setup"), model, case)
        parts = {
            key: getattr(model.embedding, f"text_encoder{number}_embedding").vector
            for key, number in zip(order, numbers, strict=True)
        }
        return ImageInfo({key: rows for key, rows in parts.items() if rows is not None})

    return load


def model_for_onetrainer(encoders: dict[str, Encoder], numbers: dict[str, str]) -> Any:
    """What its setup asks a model for."""
    model = SimpleNamespace(embedding_state_dicts={})
    for key, number in numbers.items():
        setattr(model, f"text_encoder{number}", encoders[key].model)
        setattr(model, f"tokenizer{number}", encoders[key].tokenizer)
        setattr(model, f"all_text_encoder{number}_embeddings", list)
    return model


def set_up(setup: Any, model: Any, case: Case) -> None:
    """Its setup of embeddings, told what its configuration would tell."""
    about = SimpleNamespace(uuid="", placeholder=case.word, is_output_embedding=False)
    config = SimpleNamespace(all_embedding_configs=lambda: [about], embedding=about)
    device = torch.device("cpu")
    itself = SimpleNamespace(
        train_device=device, temp_device=device, _add_embeddings_to_tokenizer=lambda *_: None
    )
    setup._setup_embeddings(itself, model, config)


def kohya(checkout: Path) -> Load:
    """`--weights` of its two scripts."""
    replace("library", "accelerate", "toml", "regex")
    single, double = modules_of(checkout, "train_textual_inversion", "sdxl_train_textual_inversion")
    trainers = {
        ("clip_l",): single.TextualInversionTrainer,
        ("clip_h",): single.TextualInversionTrainer,
        ("clip_l", "clip_g"): double.SdxlTextualInversionTrainer,
    }

    def load(case: Case) -> ImageInfo:
        keys = tuple(case.widths)
        if keys not in trainers:
            raise NoPlace
        rows = trainers[keys].load_weights(None, str(case.files[0]))
        return ImageInfo(dict(zip(keys, rows, strict=True)))

    return load


def ai_toolkit(checkout: Path) -> Load:
    """The embedding that it goes on with."""
    replace("info", "toolkit.metadata")
    (reading,) = modules_of(checkout, "toolkit.embedding")

    def load(case: Case) -> ImageInfo:
        if tuple(case.widths) not in (("clip_l",), ("clip_h",), ("clip_l", "clip_g")):
            raise NoPlace
        encoders = list(encoders_for(case.widths).values())
        model = SimpleNamespace(
            tokenizer=[one.tokenizer for one in encoders],
            text_encoder=[one.model for one in encoders],
            is_xl=len(encoders) == 2,
        )
        asked = SimpleNamespace(trigger=case.word, tokens=2, init_words="cat dog")
        embedding = reading.Embedding(model, asked)
        embedding.load_embedding_from_file(str(case.files[0]), "cpu")
        rows = [embedding.vec, embedding.vec2] if model.is_xl else [embedding.vec]
        return ImageInfo(dict(zip(case.widths, rows, strict=True)))

    return load


def diffusers(checkout: Path) -> Load:
    """`load_textual_inversion` of the pipeline for such models, asked in the ways that it has."""
    (library,) = modules_of(checkout, "diffusers")
    mixin = library.loaders.TextualInversionLoaderMixin

    def load(case: Case) -> ImageInfo:
        kind = next((kind for kind, keys in PIPELINES.items() if case.is_for(*keys)), "")
        if not kind or not issubclass(getattr(library, kind.strip()), mixin):
            raise NoPlace
        words = ""
        for ask, asked in WAYS.items():
            pipeline = type("Pipeline", (mixin,), {"components": {}, "hf_device_map": None})()
            encoders = encoders_for(case.widths)
            try:
                ask(pipeline, encoders, case)
            except Exception as error:
                words = words or str(error)
                continue
            if found := added(encoders, case.word):
                return ImageInfo(found, asked)
        raise Refused(words or "under another name")

    return load


def alone(pipeline: Any, encoders: dict[str, Encoder], case: Case, **options: str) -> None:
    """A call per file, which may be two for two encoders."""
    for path, one in zip(case.files, encoders.values(), strict=False):
        pipeline.load_textual_inversion(
            str(path), text_encoder=one.model, tokenizer=one.tokenizer, **options
        )


def named(pipeline: Any, encoders: dict[str, Encoder], case: Case) -> None:
    """The same with the word, which is the file's otherwise."""
    alone(pipeline, encoders, case, token=case.word)


def per_encoder(pipeline: Any, encoders: dict[str, Encoder], case: Case) -> None:
    """A call for each tensor of one file, as its documentation advises for SDXL."""
    path = case.files[0]
    tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path)
    for key, one in encoders.items():
        rows = tensors.get(key, tensors.get(THEIR_NAME_FOR_T5 if key == OUR_NAME_FOR_T5 else key))
        pipeline.load_textual_inversion(
            rows, token=case.word, text_encoder=one.model, tokenizer=one.tokenizer
        )


WAYS = {alone: "", named: "with token=", per_encoder: "with one call per encoder"}


def added(encoders: dict[str, Encoder], word: str) -> dict[str, Tensor]:
    """The vectors of a word in each of the encoders; nothing unless all have it."""
    known = {key: one.tokenizer.get_added_vocab() for key, one in encoders.items()}
    tokens = {key: [name for name in of if name.split("_")[0] == word] for key, of in known.items()}
    return (
        {key: one.rows(tokens[key]) for key, one in encoders.items()}
        if all(tokens.values())
        else {}
    )
