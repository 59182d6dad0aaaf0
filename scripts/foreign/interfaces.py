"""The loading code of programs that draw images. Each function imports it from a checkout, with
empty modules in place of what is heavy, and gives what loads a case.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from foreign.case import Case, ImageInfo, Load, NoPlace, Refused, modules_of
from foreign.small_encoders import encoders_for
from foreign.stand_ins import replace
from torch import Tensor

CLIP = ("clip_l", "clip_g", "clip_h")
Said = list[BaseException | None]


def automatic1111(checkout: Path) -> Load:
    """The folder of embeddings, as it is read once a model is loaded. SD 3 came with 1.10."""
    said: Said = []
    inversion = "modules.textual_inversion"
    replace(
        *(f"modules.{name}" for name in ("sd_hijack", "sd_models", "images", "sd_samplers")),
        *("modules.sd_hijack_checkpoint", "torch.utils.tensorboard", f"{inversion}.dataset"),
        *(f"{inversion}.{name}" for name in ("learn_schedule", "logging", "saving_settings")),
        contents={
            "modules.shared": {
                "opts": SimpleNamespace(textual_inversion_print_at_load=False),
                "cmd_opts": SimpleNamespace(disable_safe_unpickle=False),
            },
            "modules.devices": {"device": "cpu"},
            "modules.errors": {"report": lambda *_, **__: said.append(sys.exc_info()[1])},
            "modules.hashes": {"sha256": lambda *_: "0" * 64},
        },
    )
    shared, _, reading = modules_of(
        checkout, "modules.shared", "modules.safe", f"{inversion}.textual_inversion"
    )
    with_sd3 = (checkout / "modules" / "models" / "sd3").is_dir()

    def load(case: Case) -> ImageInfo:
        clip = widths_of_clip(case)
        if len(clip) < len(case.widths) and not (with_sd3 and case.is_for(*clip, "t5xxl")):
            raise NoPlace
        said.clear()
        shared.sd_model = model_of_width(sum(clip.values()))
        database = reading.EmbeddingDatabase()
        database.add_embedding_dir(case.folder)
        database.load_textual_inversion_embeddings(force_reload=True)
        return ImageInfo(by_key(word_in(database, case, said).vec, clip))

    return load


def widths_of_clip(case: Case) -> dict[str, int]:
    """The text encoders of a model that AUTOMATIC1111 and Forge have embeddings for."""
    clip = {key: width for key, width in case.widths.items() if key in CLIP}
    if not clip or "llama" in case.widths:
        raise NoPlace
    return clip


def model_of_width(width: int) -> Any:
    """What AUTOMATIC1111 asks a model when it reads embeddings: tokens, and how wide they are."""
    encoder = SimpleNamespace(
        tokenize=lambda texts: [[1] for _ in texts],
        encode_embedding_init_text=lambda _, count: torch.zeros(count, width),
    )
    return SimpleNamespace(cond_stage_model=encoder)


def word_in(database: Any, case: Case, said: Said) -> Any:
    """The word in a database of embeddings; Refused says what else became of it."""
    if case.word in database.word_embeddings:
        return database.word_embeddings[case.word]
    if case.word in database.skipped_embeddings:
        raise Refused("skipped")
    raise Refused(str(said[0]) if said else "not listed")


def by_key(vectors: Any, clip: dict[str, int]) -> dict[str, Tensor]:
    """The tensors of a file that has one for each encoder, or one for the only one."""
    named: dict[str, Tensor] = (
        vectors if isinstance(vectors, dict) else {key: vectors for key in clip}
    )
    return {key: named[key] for key in clip}


def forge(checkout: Path) -> Load:
    """The folder of embeddings, as it is read for each text encoder: SDXL's two share a width."""
    said: Said = []
    (reading,) = modules_of(checkout, "backend.text_processing.textual_inversion")
    reading.print = lambda *_: said.append(sys.exc_info()[1])

    def load(case: Case) -> ImageInfo:
        clip = widths_of_clip(case)
        vectors: dict[str, Tensor] = {}
        for key, width in clip.items():
            said.clear()
            tokenizer = encoders_for({key: width})[key].tokenizer
            expected = sum(clip.values()) if case.is_for("clip_l", "clip_g") else width
            database = reading.EmbeddingDatabase(tokenizer, expected)
            database.add_embedding_dir(case.folder)
            database.load_textual_inversion_embeddings()
            vectors |= by_key(word_in(database, case, said).vec, {key: width})
        return ImageInfo(vectors)

    return load


def sdnext(checkout: Path) -> Load:
    """The folder of embeddings, put into the text encoders of a pipeline."""
    quiet = SimpleNamespace(**dict.fromkeys(("info", "error", "trace", "debug"), lambda *_: None))
    options = {"diffusers_enable_embed": True, "diffusers_convert_embed": False}
    replace(
        "modules.errors",
        contents={
            "modules.shared": {
                "opts": SimpleNamespace(**options, embeddings_dir="."),
                "sd_loaded": True,
                "log": quiet,
            },
            "modules.devices": {"device": "cpu", "inference_context": torch.inference_mode},
            "modules.logger": {"log": quiet},
        },
    )
    shared, reading = modules_of(checkout, "modules.shared", "modules.textual_inversion")

    def load(case: Case) -> ImageInfo:
        encoders = encoders_for(case.widths)
        shared.sd_model, shared.sd_model_type = SimpleNamespace(), kind_for_sdnext(case)
        for number, one in zip(("", "_2", "_3", "_4"), encoders.values(), strict=False):
            setattr(shared.sd_model, f"text_encoder{number}", one.model)
            setattr(shared.sd_model, f"tokenizer{number}", one.tokenizer)
        if shared.sd_model_type not in reading.supported_models:
            raise NoPlace
        database = reading.EmbeddingDatabase()
        database.add_embedding_dir(case.folder)
        database.load_textual_inversion_embeddings(force_reload=True)
        tokens = word_in(database, case, []).tokens
        return ImageInfo({key: one.rows(tokens) for key, one in encoders.items()})

    return load


def kind_for_sdnext(case: Case) -> str:
    """SD.Next's name for a kind of model, as far as its embeddings ask for it."""
    return {("clip_l",): "sd", ("clip_h",): "sd", ("clip_l", "clip_g"): "sdxl"}.get(
        tuple(case.widths), "other"
    )


def invokeai(checkout: Path) -> Load:
    """The probe of the model manager, the loader, and the patch of the text encoders; what scans
    pickles for it is the real one where that is installed.
    """
    clean = SimpleNamespace(infected_files=0, scan_err=False)
    scanner = {"picklescan": {}, "picklescan.scanner": {"scan_file_path": lambda _: clean}}
    replace(
        *("cv2", "deprecated", "onnx", "onnxruntime", "accelerate", "gguf", "compel"),
        "invokeai.backend.quantization",
        contents={} if find_spec("picklescan") else scanner,
    )
    probes, disk, reading, patcher = modules_of(
        checkout,
        "invokeai.backend.model_manager.configs.textual_inversion",
        "invokeai.backend.model_manager.model_on_disk",
        "invokeai.backend.textual_inversion",
        "invokeai.backend.model_patcher",
    )
    kinds = {("clip_l",): "SD1", ("clip_h",): "SD2", ("clip_l", "clip_g"): "SDXL"}

    def load(case: Case) -> ImageInfo:
        if tuple(case.widths) not in kinds:
            raise NoPlace
        probe = getattr(probes, f"TI_File_{kinds[tuple(case.widths)]}_Config")
        path = case.files[0]
        about = {"hash": "", "path": str(path), "file_size": 0, "name": case.word}
        about |= {"source": str(path), "source_type": "path"}
        try:
            probe.from_model_on_disk(disk.ModelOnDisk(path), about)
        except Exception as error:
            raise Refused(str(error)) from error
        word = reading.TextualInversionModelRaw.from_checkpoint(path)
        return ImageInfo(patched(patcher.ModelPatcher, word, case))

    return load


def patched(patcher: Any, word: Any, case: Case) -> dict[str, Tensor]:
    """What InvokeAI puts into the text encoders for a word."""
    vectors = {}
    for key, one in encoders_for(case.widths).items():
        known = len(one.tokenizer)
        with patcher.apply_ti(one.tokenizer, one.model, [(case.word, word)]) as (tokenizer, _):
            weight = one.model.get_input_embeddings().weight
            vectors[key] = weight[known : len(tokenizer)].detach().clone()
    return vectors


def comfyui(checkout: Path) -> Load:
    """`embedding:name` in a prompt, as the tokenizer of each text encoder reads it; without its
    attention, because each version asks for its own kernels.
    """
    replace("comfy.ldm.modules.attention")
    (options,) = modules_of(checkout, "comfy.cli_args")
    options.args.cpu = True
    (reading,) = modules_of(checkout, "comfy.sd1_clip")

    def load(case: Case) -> ImageInfo:
        vectors = {}
        for key, width in case.widths.items():
            tokenizer = reading.SDTokenizer(
                embedding_directory=[case.folder], embedding_size=width, embedding_key=key
            )
            chunks = tokenizer.tokenize_with_weights(f"embedding:{case.word}")
            rows = [token for chunk in chunks for token, _ in chunk if torch.is_tensor(token)]
            if rows:
                vectors[key] = torch.stack(rows)
        if not vectors:
            raise Refused("not read")
        return ImageInfo(vectors)

    return load
