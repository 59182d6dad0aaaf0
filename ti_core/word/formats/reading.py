"""Reads anybody's embedding file: looks into it rather than at its name, and says what it found."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..embedding import PLACEHOLDER, Embedding, check_placeholder
from ..families import check_width, in_order, key_of
from . import automatic1111, bundled, layered, listed, named, tokens
from .contents import Contents, Draft
from .embedding_picture import read_embedding_picture
from .recipe import read_recipe
from .safetensors_file import read_safetensors
from .torch_file import PLAIN_START, read_torch_file

LAYOUTS = (automatic1111, layered, bundled, listed, named, tokens)
PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF")
START_SIZE = 16
OWN_FACTS = ("placeholder", "vectors", "version")
MAX_NAME = 64


def read_embedding(
    path: Path, word: str = "", widths: Mapping[str, int] | None = None
) -> Embedding:
    """The embedding in a file, by `word` where the file holds several; `widths` are those of the
    CLIP that it is for, by encoder key, and decide where a file leaves the encoder open.
    """
    words = read_words(path, widths)
    if word:
        if word not in words:
            raise ValueError(
                f"'{path.name}' holds {', '.join(words)}, but not '{word}'. Write one "
                f"of these into word."
            )
        return words[word]
    if len(words) == 1:
        return next(iter(words.values()))
    reason = layered.CHOOSE if layered.AVERAGE in words else "It holds several words: "
    raise ValueError(f"Choose what to load from '{path.name}'. {reason}{', '.join(words)}.")


def read_words(path: Path, widths: Mapping[str, int] | None = None) -> dict[str, Embedding]:
    """All the embeddings in a file, by the names that it gives them (else its own)."""
    try:
        contents, drafts = read_drafts(path)
        whole = with_other_half(drafts, path)
        return {one.name or path.stem: embedding_of(one, contents, widths or {}) for one in whole}
    except (ValueError, OSError) as error:
        raise ValueError(
            f"The file '{path.name}' cannot be read as an embedding: {error}. Choose another file, "
            f"or download it again."
        ) from error


def read_drafts(path: Path) -> tuple[Contents, list[Draft]]:
    """What a file holds, and the words that the first fitting layout finds in it."""
    contents = container(path)(path)
    for layout in LAYOUTS:
        if (drafts := layout.read(contents)) is not None:
            return contents, drafts
    raise ValueError("it holds no vectors in the layout of any known trainer")


def container(path: Path) -> Callable[[Path], Contents]:
    """What reads a file that begins like this one."""
    with path.open("rb") as file:
        start = file.read(START_SIZE)
    if start.startswith(PICTURES) or start[4:12] in (b"ftypavif", b"ftypavis"):
        return read_embedding_picture
    if start.startswith((b"PK\3\4", PLAIN_START)):
        return read_torch_file
    if start[8:9] == b"{":
        return read_safetensors
    raise ValueError(
        "it is not a safetensors file, not a torch.save file, and not a PNG, WebP or AVIF picture"
    )


def with_other_half(drafts: list[Draft], path: Path) -> list[Draft]:
    """With the vectors of the other file of diffusers' SDXL pair, where `path` is one of them."""
    other = tokens.partner(path)
    if other is None or len(drafts) != 1 or drafts[0].tensors[0][0] is not None:
        return drafts
    try:
        _, found = read_drafts(other)
    except ValueError:
        return drafts  # Not a pair: another file that happens to be called so.
    both = sorted((*drafts, *found), key=lambda draft: draft.tensors[0][1].shape[-1])
    widths = [draft.tensors[0][1].shape[-1] for draft in both]
    if widths != [768, 1280] or both[0].name != both[1].name:
        return drafts
    return [Draft(both[0].name, both[0].tensors + both[1].tensors, both[0].facts)]


def embedding_of(draft: Draft, contents: Contents, widths: Mapping[str, int]) -> Embedding:
    """The embedding of a draft, checked. Where nothing tells what training started from, `initial`
    is zero, and strength scales the vectors' length.
    """
    vectors = vectors_of(draft, widths)
    recipe = {**draft.facts, **read_recipe(contents.metadata)}
    own = recipe.get("placeholder")
    placeholder = valid_placeholder(own if isinstance(own, str) else draft.name, contents.stem)
    text = recipe.get("initialiser")
    initialiser = text if isinstance(text, str) and text.strip() else spoken(placeholder)
    provenance = {key: value for key, value in recipe.items() if key not in OWN_FACTS}
    initial = {key: torch.zeros_like(rows) for key, rows in vectors.items()}
    return Embedding(placeholder, initialiser, vectors, initial, provenance)


def vectors_of(draft: Draft, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """The vectors of a draft by encoder key; several tensors for one encoder below one another."""
    vectors: dict[str, Tensor] = {}
    for key, stored in draft.tensors:
        rows = stored.rows()
        name = key or key_of(rows.shape[-1], widths)
        check_width(name, rows.shape[-1])
        vectors[name] = torch.cat([vectors[name], rows]) if name in vectors else rows
    return {key: vectors[key] for key in in_order(vectors)}


def valid_placeholder(*candidates: str) -> str:
    """The first of some names that a prompt can carry, after all else in it has become '-'."""
    for name in candidates:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name[:MAX_NAME]).strip("-.")
        if PLACEHOLDER.fullmatch(plain):
            try:
                check_placeholder(plain)
            except ValueError:  # It reads as a number.
                return valid_placeholder(f"w{plain}")
            return plain
    return "embedding"


def spoken(placeholder: str) -> str:
    """A placeholder as text: 'my-cat' is 'my cat'."""
    return " ".join(re.findall(r"[A-Za-z0-9]+", placeholder)) or placeholder
