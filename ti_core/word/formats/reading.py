"""Reads anybody's embedding file: looks into it rather than at its name, and says what it found."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ...quoted import printable, quoted, shown
from ...taming import one_line
from ..embedding import PLACEHOLDER, Embedding, check_placeholder
from ..families import check_width, in_order, key_of
from . import automatic1111, bundled, layered, listed, named, tokens
from .contents import Contents, Draft, FileBytes
from .embedding_picture import read_embedding_picture
from .facts import facts_of, initialiser_of, name_of
from .png_chunks import SIGNATURE
from .recipe import read_recipe
from .safetensors_file import read_safetensors
from .torch_file import PLAIN_START, read_torch_file

LAYOUTS = (automatic1111, layered, bundled, listed, named, tokens)
PICTURES = (SIGNATURE, b"RIFF")
START_SIZE = 16
OWN_FACTS = ("placeholder", "vectors", "version")
MAX_NAME = 64
LONGEST_MESSAGE = 500
LONGEST_LIST = 200


def read_embedding(
    path: Path, word: str = "", widths: Mapping[str, int] | None = None
) -> Embedding:
    """The embedding in a file, by `word` where the file holds several; `widths` are those of the
    CLIP that it is for, by encoder key, and decide where a file leaves the encoder open.
    """
    with told_of(path):
        contents, words = read_words(path)
    draft = chosen(words, word, shown(path.name))
    with told_of(path):
        return embedding_of(draft, contents, widths or {})


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes one sentence that names it: readers of foreign
    formats throw what they like.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, ValueError | OSError)
        reason = str(error) if known else f"it is damaged ({type(error).__name__}: {error})"
        start = f"The file '{shown(path.name)}' cannot be read as an embedding: "
        end = ". Choose another file, or download it again."
        room = LONGEST_MESSAGE - len(start) - len(end)
        raise ValueError(f"{start}{printable(one_line(reason, room))}{end}") from None


def read_words(path: Path) -> tuple[Contents, dict[str, Draft]]:
    """The words in a file, by the names that it gives them (else its own), their values unread."""
    contents, drafts = read_drafts(FileBytes(path))
    whole = with_other_half(drafts, contents.file)
    return contents, {name_of(one.name) or path.stem: one for one in whole}


def chosen(words: Mapping[str, Draft], word: str, file: str) -> Draft:
    """The word of that name, or the only one."""
    if word and word not in words:
        raise ValueError(
            f"'{file}' holds {listed_names(words)}, but not {quoted(word[:40])}. Write one of "
            f"these into word."
        )
    if word or len(words) == 1:
        return words[word] if word else next(iter(words.values()))
    reason = layered.CHOOSE if layered.AVERAGE in words else "It holds several words: "
    raise ValueError(f"Choose what to load from '{file}'. {reason}{listed_names(words)}.")


def listed_names(words: Mapping[str, Draft]) -> str:
    """The names of words, for a message."""
    text = printable(", ".join(words))
    return text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]}... ({len(words)} words)"


def read_drafts(file: FileBytes) -> tuple[Contents, list[Draft]]:
    """What a file holds, and the words that the first fitting layout finds in it."""
    contents = container(file)(file)
    for layout in LAYOUTS:
        if (drafts := layout.read(contents)) is not None:
            return contents, drafts
    raise ValueError("it holds no vectors in the layout of any known trainer")


def container(file: FileBytes) -> Callable[[FileBytes], Contents]:
    """What reads a file that begins like this one."""
    start = file.at(0, min(file.length, START_SIZE))
    if start.startswith(PICTURES) or start[4:12] in (b"ftypavif", b"ftypavis"):
        return read_embedding_picture
    if start.startswith((b"PK\3\4", PLAIN_START)):
        return read_torch_file
    if start[8:9] == b"{":
        return read_safetensors
    raise ValueError(
        "it is not a safetensors file, not a torch.save file, and not a PNG, WebP or AVIF picture"
    )


def with_other_half(drafts: list[Draft], file: FileBytes) -> list[Draft]:
    """With the vectors of the other file of diffusers' SDXL pair, where the file is one of them;
    what was noticed about that file counts only then. One that cannot be read is noted, because it
    may be the other half.
    """
    other = tokens.partner(file.path)
    if other is None or len(drafts) != 1 or drafts[0].tensors[0][0] is not None:
        return drafts
    try:
        half = FileBytes(other)
        _, found = read_drafts(half)
    except Exception:  # See told_of.
        file.note(f"{shown(other.name)} beside it cannot be read. Is it the other half of a pair?")
        return drafts
    both = sorted((*drafts, *found), key=lambda draft: draft.tensors[0][1].shape[-1:])
    shapes = [draft.tensors[0][1].shape[-1:] for draft in both]
    if shapes != [(768,), (1280,)] or both[0].name != both[1].name:
        return drafts  # Another file that happens to be called so.
    for note in half.notes:
        file.note(note)
    half.notes = file.notes  # Where also goes what reading its values will tell.
    return [Draft(both[0].name, both[0].tensors + both[1].tensors, both[0].facts)]


def embedding_of(draft: Draft, contents: Contents, widths: Mapping[str, int]) -> Embedding:
    """The embedding of a draft, checked. Where nothing tells what training started from, `initial`
    is zero, and strength scales the vectors' length.
    """
    vectors = vectors_of(draft, widths)
    file = contents.file
    recipe, left_out = facts_of({**draft.facts, **read_recipe(contents.metadata, file)})
    if left_out:
        file.note(f"Left out of the recipe in the file: {', '.join(left_out)[:LONGEST_LIST]}.")
    own = recipe.get("placeholder")
    placeholder = valid_placeholder(own if isinstance(own, str) else draft.name, file.path.stem)
    initialiser = initialiser_of(recipe.pop("initialiser", None))
    known = {"initialiser": initialiser} if initialiser else {}
    provenance = {key: value for key, value in recipe.items() if key not in OWN_FACTS} | known
    initial = {key: torch.zeros_like(rows) for key, rows in vectors.items()}
    text = initialiser or spoken(placeholder)
    return Embedding(placeholder, text, vectors, initial, provenance, tuple(file.notes))


def vectors_of(draft: Draft, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """The vectors of a draft by encoder key; several tensors for one encoder below one another."""
    parts: dict[str, list[Tensor]] = {}
    for key, stored in draft.tensors:
        rows = stored.rows()
        name = key or key_of(rows.shape[-1], widths)
        check_width(name, rows.shape[-1])
        parts.setdefault(name, []).append(rows)
    return {
        key: parts[key][0] if len(parts[key]) == 1 else torch.cat(parts[key])
        for key in in_order(parts)
    }


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
