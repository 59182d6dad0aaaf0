"""The text side of the host: which encoders a CLIP has, and embeddings for them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.clip_model import CLIPTextModel
from comfy.model_management import get_torch_device
from comfy.sd import CLIP
from comfy.sd1_clip import SDClipModel, SDTokenizer
from torch import Tensor, nn

from ...concept.audit import ordinary_word
from ...concept.counted import counted
from ...quoted import quoted
from ...word.embedding import Embedding, check_initializer, check_placeholder, initial_rows
from ...word.families import check_fit, family, missing_half
from ...word.vocabulary import ordinary_norm
from .overlay import STAND_IN, Listener, Word, numbers_in, overlaid, parts, shared_start, with_word

VOCABULARY_CHUNK = 4096
PROBE = "word"
NEUTRAL = "the"
ALL = "auto"


@dataclass(frozen=True)
class Encoder:
    """One text encoder of a CLIP, under the key by which the host names its embeddings; `tokens` is
    the name of its token list.
    """

    key: str
    width: int
    tokenizer: SDTokenizer
    model: Any
    tokens: str

    def token_ids(self, text: str) -> list[int]:
        """Ids of a text's tokens as they are behind another word, without start, end and padding;
        language models know a word with a blank in front of it as another token than without.
        """
        if not text.strip():
            return []
        read = self.tokenizer.tokenizer
        ids = read(f"{STAND_IN} {text.strip()}")["input_ids"]
        end = len(ids) - self.tokenizer.tokenizer_adds_end_token
        return list(ids[shared_start(ids, read(STAND_IN)["input_ids"]) : end])

    def rows(self, ids: list[int]) -> Tensor:
        """The vocabulary's vectors of some ids, fp32 on the CPU `[n, dim]`; asks the module rather
        than its weight, which may lie elsewhere, unless dynamic VRAM would move the whole table for
        it (core ops.py cast_bias_weight).
        """
        rows = token_embedding(self.model)
        managed = hasattr(rows, "_v")
        if managed and type(rows.weight) is nn.Parameter and not rows.weight.is_meta:
            return rows.weight[ids].float()
        device = get_torch_device() if managed else rows.weight.device
        where = torch.tensor(ids, device=device)
        return rows(where[None], out_dtype=torch.float32)[0].cpu()

    def vocabulary_norm(self) -> float:
        """Mean norm of the vectors of the vocabulary's ordinary words."""
        chunks = torch.arange(token_embedding(self.model).weight.shape[0]).split(VOCABULARY_CHUNK)
        return ordinary_norm(
            torch.cat([self.rows(chunk.tolist()).norm(dim=-1) for chunk in chunks])
        )


def token_embedding(model: Any) -> Any:
    """The module of an encoder that gives the vectors of tokens; it knows their width, which the
    host's tokenizers state wrongly for ERNIE-Image (core flux.py:119).
    """
    return model.transformer.get_input_embeddings()


def encoders(clip: CLIP) -> dict[str, Encoder]:
    """The text encoders of a CLIP that read the words of a prompt as vectors, by key."""
    pairs = {
        part.embedding_key: (part, model)
        for attribute, part in parts(clip.tokenizer)
        if isinstance(model := encoder_of(clip, attribute, part), SDClipModel)
    }
    if not pairs:
        raise ValueError(
            f"This CLIP ({type(clip.cond_stage_model).__name__}) cannot learn or use a word: it "
            f"has no text encoder that accepts vectors in place of tokens. It passes token IDs to "
            f"the model, as HiDream-O1 and Lens do, or does not belong to an image model. Use the "
            f"CLIP of another model."
        )
    lists = list_names(clip.tokenizer, pairs)
    return {
        key: Encoder(key, token_embedding(model).weight.shape[-1], part, model, lists[key])
        for key, (part, model) in pairs.items()
        if key in lists
    }


def encoder_of(clip: CLIP, attribute: str, part: SDTokenizer) -> Any:
    """The encoder that reads the tokens of a part of the tokenizer, None if there is none: the host
    names a lone one on both sides (core sd1_clip.py:689, 720), several by the same attribute, and
    ByT5 by the key of its embeddings.
    """
    tokenizer, model = clip.tokenizer, clip.cond_stage_model
    names = [attribute, part.embedding_key]
    if attribute == getattr(tokenizer, "clip", None):
        names = [getattr(model, "clip", attribute), *names]
    if sum(1 for _ in parts(tokenizer)) == 1:
        names += [name for name, child in model.named_children() if isinstance(child, SDClipModel)]
    return next((found for name in names if (found := getattr(model, name, None))), None)


def list_names(tokenizer: Any, keys: Iterable[str]) -> dict[str, str]:
    """The name of the token list in which a word of a prompt comes to each encoder; an encoder that
    reads something else, as ByT5 reads quoted text, has none.
    """
    probe = overlaid(tokenizer, PROBE, Word(PROBE, {key: torch.zeros(1, 1) for key in keys}))
    tokens = probe.numbered(PROBE)
    of_number = {number: name for name, found in tokens.items() for number in numbers_in(found)}
    mark = probe.lexicon.marks[PROBE]
    numbers = {key: probe.lexicon.numbers[mark, key][0] for key in keys}
    return {key: of_number[number] for key, number in numbers.items() if number in of_number}


def without_weights(clip: CLIP) -> list[str]:
    """The encoders to which a weight, as in `(word:1.5)`, is text."""
    found = encoders(clip)
    probe = Word(PROBE, {key: torch.zeros(1, encoder.width) for key, encoder in found.items()})
    tokens = overlaid(clip.tokenizer, PROBE, probe).numbered(f"({PROBE}:1.5)")
    return [
        key
        for key, encoder in found.items()
        if all(weight == 1.0 for chunk in tokens[encoder.tokens] for _, weight, *_ in chunk)
    ]


def check_fits(embedding: Embedding, clip: CLIP) -> None:
    """Raise ValueError that names both sides and the fitting checkpoint, unless every vector of the
    embedding belongs to an encoder of the CLIP; the host would drop it with a warning.
    """
    available = {key: encoder.width for key, encoder in encoders(clip).items()}
    held = {key: rows.shape[-1] for key, rows in embedding.vectors.items()}
    check_fit(embedding.placeholder, held, available)


def missing_vectors(embedding: Embedding, clip: CLIP) -> str:
    """What to tell of encoders of a CLIP for which the embedding has no vectors, and which read its
    initializer instead; empty if there are none.
    """
    held, known = embedding.vectors, encoders(clip)
    return missing_half(embedding.placeholder, held, known, embedding.initializer)


def chosen_encoders(clip: CLIP, keys: str) -> dict[str, Encoder]:
    """The text encoders of a CLIP that are listed by key, with commas between; all for 'auto'."""
    known = encoders(clip)
    wanted = [key.strip() for key in keys.split(",") if key.strip() not in ("", ALL)]
    if unknown := [key for key in wanted if key not in known]:
        raise ValueError(
            f"This CLIP has no text encoder {', '.join(map(quoted, unknown))}; it has "
            f"{', '.join(known)}. Set encoders to one or more of these, separated by commas, or to "
            f"'{ALL}'."
        )
    return {key: encoder for key, encoder in known.items() if key in wanted or not wanted}


def create_embedding(
    clip: CLIP, placeholder: str, initializer: str, count: int, keys: str = ALL
) -> Embedding:
    """A new word with `count` vectors per encoder of the CLIP that `keys` lists, taken from the
    vocabulary's vectors of `initializer` (0 = one per token of it); other encoders go on reading
    the initializer.
    """
    check_placeholder(placeholder)
    check_initializer(initializer)
    vectors = {}
    for key, encoder in chosen_encoders(clip, keys).items():
        ids = encoder.token_ids(initializer)
        if not ids:
            raise ValueError(
                f"The init word {initializer!r} has no tokens. Write what the subject is, in one "
                f"or a few words: cat, purple star, oil painting."
            )
        if special_ids(encoder.tokenizer).intersection(ids):
            raise ValueError(
                f"The init word {initializer!r} contains a token that {key} uses to mark the "
                f"start, the end or the speakers of a text. Write what the subject is, in one or a "
                f"few words: cat, purple star, oil painting."
            )
        with torch.inference_mode(False), torch.no_grad():
            vectors[key] = initial_rows(encoder.rows(ids).clone(), count or len(ids))
    return Embedding(placeholder, initializer, vectors, vectors)


def created(clip: CLIP, embedding: Embedding) -> str:
    """What to tell of a new word: what it starts from, and whether its name is an ordinary word."""
    vectors = counted(embedding.count, "vector")
    lines = [
        f"'{embedding.placeholder}' starts as '{embedding.initializer}': {vectors}, for "
        f"{family(embedding.vectors).name} ({', '.join(embedding.vectors)})."
    ]
    ordinary = [
        key
        for key, encoder in encoders(clip).items()
        if len(encoder.token_ids(embedding.placeholder)) == 1
    ]
    return "\n".join([*lines, *ordinary_word(embedding.placeholder, ordinary)])


def special_ids(part: SDTokenizer) -> set[int]:
    """Ids that stand for no text: start, end, and the marks of chat templates. A character that the
    tokenizer does not know is none of them.
    """
    raw: Any = part.tokenizer
    found = {part.start_token, part.end_token, *getattr(raw, "all_special_ids", ())}
    found |= {*getattr(raw, "added_tokens_decoder", ()), *getattr(raw, "_special_ids", ())}
    found |= set((getattr(raw, "special_tokens", None) or {}).values())
    return found - {None, getattr(raw, "unk_token_id", None)}


def apply_embedding(
    clip: CLIP, embedding: Embedding, strength: float, listener: Listener | None = None
) -> CLIP:
    """A clone of the CLIP whose prompts know the embedding's word; `listener` is called with
    them."""
    check_fits(embedding, clip)
    if strength != 1.0:
        embedding = with_start(embedding, clip)
    word = Word(embedding.initializer, embedding.at_strength(strength))
    return with_word(clip, embedding.placeholder, word, listener)


def with_start(embedding: Embedding, clip: CLIP) -> Embedding:
    """The embedding with a start for every text encoder but CLIP, where none is known the vectors
    of a word that says nothing. Their first layers bring vectors to one length, so that strength as
    length would do little there; CLIP adds positions first, so that it matters there.
    """
    known = encoders(clip)
    initial = dict(embedding.initial)
    for key, rows in embedding.vectors.items():
        if not initial[key].any() and not isinstance(known[key].model.transformer, CLIPTextModel):
            neutral = known[key].rows(known[key].token_ids(NEUTRAL))
            initial[key] = initial_rows(neutral, len(rows))
    return replace(embedding, initial=initial)
