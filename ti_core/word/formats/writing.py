"""What is written for whom: each format gives the bytes of its files."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from ..embedding import Embedding
from ..families import family, host_reading, in_order
from .card import card
from .embedding_image import with_embedding
from .other_tools import COMFYUI, in_words, tools_for
from .recipe import RECIPE, file_metadata, thumbnail_address, with_hash
from .storage import Files
from .torch_archive import archive_bytes

NumberType = Literal["fp32", "fp16"]
NUMBER_TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
SINGLE = ({"clip_l"}, {"clip_h"})
SDXL = {"clip_l", "clip_g"}
OUR_WAY = "Load Embedding and Apply Embedding to CLIP"
OURS = "this pack"
HOST_READS = {
    "signs": (
        "As 'embedding:name' ComfyUI inserts a space between the word and a following comma, full "
        "stop or other sign."
    ),
    "blanks": "As 'embedding:name' ComfyUI changes blanks and newlines around the word.",
    "letters": "ComfyUI reads 'embedding:name' as letters with these text encoders.",
    "error": "A prompt with 'embedding:name' ends in an error of ComfyUI with these text encoders.",
    None: "How ComfyUI reads 'embedding:name' with these text encoders is not known.",
}
OUR_NAME_FOR_T5, THEIR_NAME_FOR_T5 = "t5xxl", "t5"


@dataclass(frozen=True)
class Export:
    """How to write: number format, a sample image, and text for an image's own chunks."""

    storage: NumberType = "fp32"
    image: Image.Image | None = None
    text: Mapping[str, str] = field(default_factory=dict)


class Format(NamedTuple):
    """A way to write: the files by their endings, and who reads them (empty where the format has no
    place for the embedding).
    """

    write: Callable[[Embedding, Export], Files]
    readers: Callable[[Embedding], str]


def stored_rows(embedding: Embedding, storage: NumberType) -> dict[str, Tensor]:
    """The vectors as they are stored."""
    kind = NUMBER_TYPES[storage]
    vectors = embedding.vectors
    rows = {key: vectors[key].detach().to(kind).contiguous() for key in in_order(vectors)}
    if not all(value.isfinite().all() for value in rows.values()):
        raise ValueError(
            f"The vectors of '{embedding.placeholder}' do not fit into {storage}. Set storage to "
            f"fp32."
        )
    return rows


def standard_tensors(embedding: Embedding, storage: NumberType = "fp32") -> dict[str, Tensor]:
    """The tensors of a file that most tools read: `emb_params` for SD 1 and 2, else one per encoder
    under the host's key (`clip_l`, `clip_g`, `t5xxl`, ...), and T5's once more as `t5`.
    """
    rows = stored_rows(embedding, storage)
    if set(rows) in SINGLE:
        return {"emb_params": next(iter(rows.values()))}
    alias = rows.get(OUR_NAME_FOR_T5)
    return rows if alias is None else {**rows, THEIR_NAME_FOR_T5: alias.clone()}


def standard(embedding: Embedding, export: Export) -> Files:
    """The file that most tools read."""
    metadata = file_metadata(embedding)
    if export.image is not None:
        metadata["modelspec.thumbnail"] = thumbnail_address(export.image)
    return {
        ".safetensors": safetensors_bytes(standard_tensors(embedding, export.storage), metadata)
    }


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its own hash in the metadata."""
    return safetensors.torch.save(dict(tensors), with_hash(tensors, metadata))


def onetrainer(embedding: Embedding, export: Export) -> Files:
    """OneTrainer's keys: `emp_params` for SD 1 and 2, `t5` for T5."""
    rows = stored_rows(embedding, export.storage)
    if set(rows) in SINGLE:
        tensors = {"emp_params": next(iter(rows.values()))}
    else:
        names = {OUR_NAME_FOR_T5: THEIR_NAME_FOR_T5}
        tensors = {names.get(key, key): value for key, value in rows.items()}
    return {".safetensors": safetensors_bytes(tensors, file_metadata(embedding))}


def diffusers(embedding: Embedding, export: Export) -> Files:
    """The word as key: one file for one encoder, a second with `_2` for SDXL's other; the pivotal
    scripts' keys for all else.
    """
    metadata = {"format": "pt", **file_metadata(embedding)}
    rows = stored_rows(embedding, export.storage)
    if len(rows) > 1 and set(rows) != SDXL:
        return onetrainer(embedding, export)
    return {
        f"{second}.safetensors": safetensors_bytes({embedding.placeholder: value}, metadata)
        for second, value in zip(("", "_2"), rows.values(), strict=False)
    }


def automatic1111(embedding: Embedding, export: Export) -> Files:
    """AUTOMATIC1111's own .pt."""
    return {".pt": archive_bytes(automatic1111_data(embedding, export.storage))}


def automatic1111_data(embedding: Embedding, storage: NumberType) -> dict[str, object]:
    """The dict that AUTOMATIC1111 reads from .pt files and images: its own for one encoder, and
    nothing but the two tensors for SDXL, because it takes every entry for one.
    """
    rows = {key: value.clone() for key, value in stored_rows(embedding, storage).items()}
    if set(rows) == SDXL:
        return {**rows}
    if set(rows) not in SINGLE:
        raise ValueError(
            f"AUTOMATIC1111 cannot use vectors for {family(rows).name} ({', '.join(rows)}). Use "
            f"the format 'standard'."
        )
    made = embedding.provenance
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": next(iter(rows.values()))},
        "name": embedding.placeholder,
        "step": made.get("steps") or 0,  # Of unknown steps 0: ai-toolkit takes no None.
        "sd_checkpoint": short_hash(made.get("base_model_hash")),
        "sd_checkpoint_name": made.get("base_model"),
        RECIPE: file_metadata(embedding)[RECIPE],
    }


def short_hash(digest: object) -> str | None:
    """The ten digits by which AUTOMATIC1111 names a checkpoint."""
    return digest[:10] if isinstance(digest, str) else None


def share_image(embedding: Embedding, export: Export) -> Files:
    """A PNG card that carries the embedding as AUTOMATIC1111 reads it."""
    data = automatic1111_data(embedding, export.storage)
    rows = next(iter(embedding.vectors.values()))
    metadata = {**file_metadata(embedding), **export.text}
    image, chunks = with_embedding(card(embedding, export.image), data, rows, metadata)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=chunks)
    return {".png": file.getvalue()}


def readers(format: str, embedding: Embedding) -> str:
    """Who reads a format that holds these vectors; empty where it has no place for them."""
    tools = tools_for(format, embedding.vectors)
    if tools is None:
        return ""
    ours = [] if COMFYUI in tools else [OURS]
    return "; ".join(filter(None, [in_words(tools), *ours]))


def file_advice(embedding: Embedding) -> str:
    """How to use a saved file so that it gives what training gave; empty where `embedding:name`
    always does.
    """
    reading = host_reading(embedding.vectors)
    if reading == "same":
        return ""
    return f"{HOST_READS[reading]} To use the word exactly as it was trained, take {OUR_WAY}."


FORMATS: dict[str, Format] = {
    name: Format(write, partial(readers, name))
    for name, write in {
        "standard": standard,
        "automatic1111": automatic1111,
        "diffusers": diffusers,
        "onetrainer": onetrainer,
        "share image": share_image,
    }.items()
}
