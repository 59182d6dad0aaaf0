"""Reads anybody's embedding file: looks into it rather than at its name, and says what it found."""

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from ...quoted import printable, quoted, shown
from ...untrusted_text import one_line
from ..embedding import Embedding
from ..families import ENCODERS, in_order, key_of
from ..word_names import is_letter
from . import automatic1111, bundled, layered, listed, named, numbered, tokens
from .contents import MAX_FILE, Contents, Draft, FileBytes, Stored, string_items
from .embedding_image import read_embedding_image
from .facts import facts_of, initializer_of, name_of
from .file_names import word_of_file
from .mistaken import Mistaken, said_of, said_of_tensors
from .png_chunks import SIGNATURE
from .recipe import note_of_context, read_recipe
from .safetensors_file import is_safetensors, read_safetensors
from .torch_file import PLAIN_START, read_torch_file

LAYOUTS = (automatic1111, layered, bundled, listed, named, numbered, tokens)
START_SIZE = 16
OWN_FACTS = ("placeholder", "vectors", "version")
LONGEST_MESSAGE = 500
LONGEST_LIST = 200
MOST_ENCODERS = 4


def read_embedding(
    path: Path, word: str = "", widths: Mapping[str, int] | None = None, placeholder: str = ""
) -> Embedding:
    """The embedding in a file, by `word` where the file holds several; `widths` are those of the
    CLIP that it is for, by encoder key, and decide where a file leaves the encoder open. Its own
    name gives way to `placeholder`.
    """
    with naming_file(path):
        contents, words = read_words(path)
    draft = chosen(words, word, shown(path.name))
    if len(words) > 1:
        draft = replace(draft, beside=True)
    with naming_file(path):
        return embedding_of(draft, contents, widths or {}, placeholder)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes one sentence that names it: readers of foreign
    formats throw what they like.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, ValueError | OSError)
        reason = str(error) if known else f"it is damaged ({type(error).__name__}: {error})"
        start = f"The file '{shown(path.name)}' cannot be read as an embedding: "
        end = "." if isinstance(error, Mistaken) else ". Choose another file, or download it again."
        room = LONGEST_MESSAGE - len(start) - len(end)
        raise ValueError(f"{start}{printable(one_line(reason, room))}{end}") from None


def read_words(path: Path) -> tuple[Contents, dict[str, Draft]]:
    """The words in a file, by the names that it gives them (else its own), their values unread."""
    contents, drafts = read_drafts(FileBytes(path))
    whole = with_other_half(drafts, contents.file)
    words: dict[str, Draft] = {}
    for one in whole:
        name = name_of(one.name) or path.stem
        words[free_name(name, words)] = one
    return contents, words


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with the first number behind it that makes it another than those that are taken."""
    numbered_ones = (f"{name} ({number})" for number in count(2))
    return name if name not in taken else next(one for one in numbered_ones if one not in taken)


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
    if file.length > MAX_FILE:
        large = ValueError(f"it has {file.length} bytes, but at most {MAX_FILE} are read")
        raise found if isinstance(found := unknown(contents.data), Mistaken) else large
    for layout in LAYOUTS:
        if (drafts := layout.read(contents)) is not None:
            return contents, drafts
    raise unknown(contents.data)


def unknown(data: object) -> ValueError:
    """That no trainer wrote a file, or what it is; a checkpoint of torch has its tensors in a dict
    of its own.
    """
    parts = [data, *data.values()] if isinstance(data, dict) else []
    for part in parts:
        named_here = dict(string_items(part)) if isinstance(part, dict) else {}
        if sum(isinstance(one, Stored) for one in named_here.values()) > MOST_ENCODERS:
            return Mistaken(said_of_tensors(named_here))
    return ValueError("it holds no vectors in the layout of any known trainer")


def container(file: FileBytes) -> Callable[[FileBytes], Contents]:
    """What reads a file that begins like this one."""
    start = file.at(0, min(file.length, START_SIZE))
    webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP"
    if webp or start.startswith(SIGNATURE) or start[4:12] in (b"ftypavif", b"ftypavis"):
        return read_embedding_image
    if start.startswith((b"PK\3\4", PLAIN_START)):
        return read_torch_file
    if is_safetensors(start):
        return read_safetensors
    raise Mistaken(said_of(file))


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
        file.note(
            f"{shown(other.name)} in the same folder cannot be read. Is it the other half of a "
            f"pair?"
        )
        return drafts
    both = sorted((*drafts, *found), key=lambda draft: draft.tensors[0][1].shape[-1:])
    shapes = [draft.tensors[0][1].shape[-1:] for draft in both]
    if shapes != [(768,), (1280,)] or both[0].name != both[1].name:
        return drafts  # Another file that happens to be called so.
    for note in half.notes:
        file.note(note)
    half.notes = file.notes  # Where also goes what reading its values will tell.
    first = file.path if both[0] is drafts[0] else other
    return [replace(both[0], tensors=both[0].tensors + both[1].tensors, file=first)]


def embedding_of(
    draft: Draft, contents: Contents, widths: Mapping[str, int], placeholder: str
) -> Embedding:
    """The embedding of a draft, checked. Where nothing tells what training started from, `initial`
    is zero, and strength scales the vectors' length.
    """
    file = contents.file
    vectors = vectors_of(draft, widths, file)
    note_of_context(contents)
    stated = {**draft.facts, **read_recipe(contents.metadata, file)}
    recipe, left_out = facts_of(stated)
    if left_out:
        file.note(f"Left out of the recipe in the file: {', '.join(left_out)[:LONGEST_LIST]}.")
    word = placeholder or named_word(draft, contents, recipe.get("placeholder"))
    initializer = initializer_of(recipe.pop("initializer", None))
    known = {"initializer": initializer} if initializer else {}
    provenance = {key: value for key, value in recipe.items() if key not in OWN_FACTS} | known
    initial = {key: torch.zeros_like(rows) for key, rows in vectors.items()}
    text = initializer or spoken(word)
    return Embedding(word, text, vectors, initial, provenance, tuple(file.notes))


def named_word(draft: Draft, contents: Contents, stated: object) -> str:
    """The word of a draft, with a note where the file calls it otherwise."""
    inside = stated if isinstance(stated, str) and stated and not draft.beside else draft.name
    counts = contents.is_image or draft.beside
    word, other = word_of_file(draft.file or contents.file.path, inside, counts)
    if other:
        contents.file.note(
            f"The word is '{word}', from the file's name, as in ComfyUI, AUTOMATIC1111, Forge and "
            f"SD.Next. Inside, the file calls it {quoted(other)}."
        )
    return word


def vectors_of(draft: Draft, widths: Mapping[str, int], file: FileBytes) -> dict[str, Tensor]:
    """The vectors of a draft by encoder key; several tensors for one encoder, of which no name says
    anything, below one another.
    """
    parts: dict[str, list[Tensor]] = {}
    said: set[str] = set()  # keys that a name told
    for name, stored in draft.tensors:
        rows = stored.rows()
        if name in draft.outside and not rows.any():
            file.note(
                f"Left out: the {name or 'input'} vectors, which are zeros. The trained vectors "
                f"are inserted after that encoder, where only OneTrainer can use them."
            )
            continue
        key = key_of(rows.shape[-1], widths, name)
        if key in parts and (name or key in said):
            raise ValueError(
                f"it has vectors for {key} twice: those that it calls {name or 'by no name'} are "
                f"{rows.shape[-1]} wide too"
            )
        if name in ENCODERS and key != name:
            file.note(
                f"The vectors that the file calls {name} are {rows.shape[-1]} wide, so they are "
                f"read as vectors for {key}."
            )
        parts.setdefault(key, []).append(rows)
        said |= {key} if name else set()
    if not parts:
        raise Mistaken(named.ONLY_ONETRAINER)
    return {
        key: parts[key][0] if len(parts[key]) == 1 else torch.cat(parts[key])
        for key in in_order(parts)
    }


def spoken(placeholder: str) -> str:
    """A placeholder as text: 'my-cat' is 'my cat'."""
    letters = (one if is_letter(one) and one != "_" else " " for one in placeholder)
    return " ".join("".join(letters).split()) or placeholder
