"""Words that stand for vectors, in the token lists of the host's tokenizers.

A word is read in four moves. A mark is written where it stands in the user's text, which can have
none of its own; the host puts weights, templates and system prompts around it. Where an encoder's
tokenizer meets a mark, it reads an ordinary word in its place, whose tokens become numbers above
every vocabulary. When the outermost tokenizer has returned, the numbers become vectors. So nothing
of the host ever sees a vector among the tokens that it searches, and the tokens around a word are
those around any word.
"""

import copy
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from comfy.sd import CLIP
from comfy.sd1_clip import SDTokenizer
from torch import Tensor

from ...concept.placeholder import REFERENCE as REFERENCE_PATTERN
from ...concept.placeholder import fold, places
from ...marks import WORD, unmarked
from .compatibility import embedding_result

Listener: TypeAlias = Callable[[str], None]

FIRST_NUMBER = 1 << 24  # above the vocabulary of every tokenizer
# The letter lets a mark pass for a word where the host looks for letters: LongCat's tokenizer takes
# the apostrophe of a possessive for a quotation mark unless a letter stands before it.
MARK = re.compile(rf"{WORD}\d+x")
REFERENCE = "embedding:"
# A marked word, bare or by reference.
MARKED = re.compile(rf"(?:{REFERENCE_PATTERN.pattern})?(?P<mark>{MARK.pattern})", re.IGNORECASE)
# The same without a mark where it is a reference that the host finds by itself.
UNREAD = re.compile(rf"(?<![^\s()]){REFERENCE_PATTERN.pattern}{MARK.pattern}|(?i:{MARKED.pattern})")
# A reference behind its colon, as the host hands it over.
REFERRED_WORD = re.compile(MARKED.pattern.replace(REFERENCE, "", 1))
STAND_IN, OTHER_STAND_IN = "cat", "dog"  # ordinary words without a letter in common


@dataclass(frozen=True)
class Word:
    """What a word stands for in prompts: vectors `[n, dim]` per encoder key, or `text` in an
    encoder that has none.
    """

    text: str
    vectors: Mapping[str, Tensor]


class Lexicon:
    """Words by name, the marks that stand for them in a text, and the numbers that stand for their
    vectors among tokens.
    """

    def __init__(self, words: Mapping[str, Word]):
        self.words = dict(words)
        self.marks = {name: f"{WORD}{n}x" for n, name in enumerate(self.words)}
        self.names = {mark: name for name, mark in self.marks.items()}
        self.rows: list[tuple[Tensor, int]] = []
        self.numbers: dict[tuple[str, str], range] = {}
        for name, word in self.words.items():
            for key, rows in word.vectors.items():
                first = FIRST_NUMBER + len(self.rows)
                self.numbers[self.marks[name], key] = range(first, first + len(rows))
                self.rows += [(rows, row) for row in range(len(rows))]

    def marked(self, text: str) -> str:
        """The text with a mark in each place of a word; `embedding:word` stays a reference."""
        plain, pieces, end = unmarked(text), [], 0
        for start, stop, name in places(text, self.words):
            pieces += [plain[end:start], self.marks[fold(name)]]
            end = stop
        return "".join([*pieces, plain[end:]])

    def with_texts(self, text: str, key: str) -> str:
        """A marked text with the words' own texts where an encoder has no vectors for them."""

        def written(match: re.Match[str]) -> str:
            mark = match["mark"]
            known = (mark, key) in self.numbers
            return match[0] if known else self.words[self.names[mark]].text

        return MARKED.sub(written, text)

    def vector(self, number: int) -> Tensor:
        """The vector `[dim]` that a number stands for."""
        rows, row = self.rows[number - FIRST_NUMBER]
        return rows[row]


def with_word(clip: CLIP, name: str, word: Word, listener: Listener | None = None) -> CLIP:
    """A clone of the CLIP in whose prompts `name` stands for `word`; the given CLIP and its
    tokenizer stay as they are. `listener` is called with every prompt, and so are those of the
    given CLIP; without one nobody is.
    """
    clone = clip.clone()
    clone.tokenizer = overlaid(clip.tokenizer, name, word)
    if listener is not None:
        clone.tokenizer.listeners = (*getattr(clip.tokenizer, "listeners", ()), listener)
    return clone


def overlaid(tokenizer: Any, name: str, word: Word) -> Any:
    """A copy of the host's outermost tokenizer that knows one word more; words that it already
    knew remain.
    """
    lexicon = Lexicon({**known_words(tokenizer), fold(name): word})
    clone = with_class(tokenizer, Overlay)
    clone.lexicon, clone.listeners = lexicon, ()
    for attribute, part in parts(tokenizer):
        setattr(clone, attribute, overlaid_part(part, lexicon))
    return clone


def known_words(tokenizer: Any) -> dict[str, Word]:
    """The words that an outermost tokenizer knows already, by name."""
    return tokenizer.lexicon.words if isinstance(tokenizer, Overlay) else {}


def overlaid_part(tokenizer: SDTokenizer, lexicon: Lexicon) -> SDTokenizer:
    """A copy of one encoder's tokenizer that reads the lexicon's marks."""
    clone = with_class(tokenizer, OverlaidPart)
    clone.lexicon = lexicon
    clone.tokenizer = WholeText(bare_tokenizer(tokenizer), lexicon, clone.embedding_key)
    return clone


def parts(tokenizer: Any) -> Iterator[tuple[str, SDTokenizer]]:
    """The encoders' own tokenizers in an outermost one, by attribute."""
    for attribute, part in vars(tokenizer).items():
        if isinstance(part, SDTokenizer):
            yield attribute, part


def with_class(tokenizer: Any, front: type) -> Any:
    """A copy of a tokenizer with a class in front of its own."""
    clone = copy.copy(tokenizer)
    clone.__class__ = in_front(front, type(tokenizer))
    return clone


@functools.cache
def in_front(front: type, base: type) -> type:
    """A class of the host with another in front of it, once."""
    return base if issubclass(base, front) else type(base.__name__, (front, base), {})


class Overlay:
    """In front of the class of an outermost tokenizer: lets words stand for vectors."""

    lexicon: Lexicon
    listeners: Sequence[Listener]

    def tokenize_with_weights(self, text: str, *args: Any, **kwargs: Any) -> Any:
        for listener in self.listeners:
            listener(text)
        marked = self.lexicon.marked(text)
        tokens = super().tokenize_with_weights(marked, *args, **kwargs)  # type: ignore[misc]
        self.check_arrival(marked, tokens)
        return exchanged(tokens, self.lexicon)

    def numbered(self, text: str) -> Any:
        """The token lists with numbers for vectors, whether or not a word arrived in each."""
        return super().tokenize_with_weights(self.lexicon.marked(text))  # type: ignore[misc]

    def check_arrival(self, marked: str, tokens: Any) -> None:
        """Raise ValueError unless every word of the text is in the token list of every encoder that
        it has vectors for; the host would encode the prompt without it.
        """
        expected = Counter(MARK.findall(marked))
        if not expected:
            return
        arrived = Counter(numbers_in(tokens))
        keys = {part.embedding_key for _, part in parts(self)}
        for (mark, key), numbers in self.lexicon.numbers.items():
            if key in keys and any(arrived[number] < expected[mark] for number in numbers):
                raise ValueError(
                    f"The word '{self.lexicon.names[mark]}' did not reach the text encoder {key}: "
                    f"its tokenizer cut the prompt off before the word, or spelled it letter by "
                    f"letter, as some do with text in quotes. Put the word nearer to the beginning "
                    f"of the prompt, and outside of quotes."
                )


def numbers_in(tokens: Any) -> Iterator[int]:
    """The numbers for vectors among tokens, wherever the host keeps them."""
    if isinstance(tokens, dict):
        tokens = tokens.values()
    if isinstance(tokens, Iterable) and not isinstance(tokens, str | Tensor):
        for token in tokens:
            yield from numbers_in(token)
    elif isinstance(tokens, int) and tokens >= FIRST_NUMBER:
        yield tokens


def exchanged(tokens: Any, lexicon: Lexicon) -> Any:
    """The same token lists with the vectors that their numbers stand for."""
    if isinstance(tokens, dict):
        return {name: exchanged(value, lexicon) for name, value in tokens.items()}
    if type(tokens) in (list, tuple):
        return type(tokens)(exchanged(value, lexicon) for value in tokens)
    if isinstance(tokens, int) and tokens >= FIRST_NUMBER:
        return lexicon.vector(tokens)
    return tokens


class OverlaidPart:
    """In front of the class of one encoder's tokenizer: reads marks.

    Where the host reads embedding files (it was given a folder), `embedding:word` is read as a
    file of that name would be, so that both give the same tokens. A bare word is read in the whole
    text, because the host's way of reading a file takes blanks and newlines around it away. For
    CLIP, which does not see blanks, the two are the same, and there the host's way is taken: it
    decides where a long prompt is cut into chunks.
    """

    lexicon: Lexicon
    tokenizer: Any
    embedding_key: str
    embedding_directory: Any

    def tokenize_with_weights(self, text: str, *args: Any, **kwargs: Any) -> Any:
        rewritten = self.rewritten(text) if MARK.search(text) else text
        return super().tokenize_with_weights(rewritten, *args, **kwargs)  # type: ignore[misc]

    def rewritten(self, text: str) -> str:
        """The text with each mark in the form in which this encoder reads it."""
        filled = self.lexicon.with_texts(text, self.embedding_key)
        if self.embedding_directory is None:
            return MARKED.sub(r"\g<mark>", filled)
        if not ignores_blanks(self.tokenizer.raw):
            return filled

        def written(match: re.Match[str]) -> str:
            return f" {REFERENCE}{match['mark']} " if match["mark"] else match[0]

        return UNREAD.sub(written, filled)

    def _try_get_embedding(self, embedding_name: str) -> tuple[Any, ...]:
        if not embedding_name.strip():
            return embedding_result(None, "", "")  # Without a name the host fails.
        found = REFERRED_WORD.match(embedding_name)
        if found is None:
            return super()._try_get_embedding(embedding_name)  # type: ignore[misc]
        # What stands behind the name goes on as with a file (core sd1_clip.py:543).
        behind, *others = re.split(r"\s+", embedding_name[found.end() :])
        rest = " ".join(others).strip()
        glued = re.split(r"[<\[]", behind)[0]
        if len(glued) < len(behind):
            rest = f"{behind[len(glued) :]} {rest}" if rest else behind[len(glued) :]
        leftover = f"{glued} {rest}" if glued else rest
        numbers = Numbers(self.lexicon.numbers[found["mark"], self.embedding_key])
        return embedding_result(numbers, found["mark"], leftover)


class Numbers(tuple[int, ...]):
    """Numbers in the place of an embedding's vectors, as the host takes them one by one."""

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self), 1)


def bare_tokenizer(part: SDTokenizer) -> Any:
    """What turns text into ids for one encoder, without any word of ours."""
    raw = part.tokenizer
    return raw.raw if isinstance(raw, WholeText) else raw


def ignores_blanks(raw: Any) -> bool:
    """Whether the tokens of a text are those of its pieces, wherever it is cut beside a word: so it
    is with CLIP.
    """
    pieces = [plain_ids(raw, piece) for piece in ("a ", STAND_IN, "'s \n", STAND_IN, ", b")]
    return plain_ids(raw, f"a {STAND_IN}'s \n{STAND_IN}, b") == sum(pieces, [])


def plain_ids(raw: Any, text: str) -> list[int]:
    """Ids of a text without those that the tokenizer puts around every text."""
    around = raw("")["input_ids"]
    ids = raw(text)["input_ids"]
    start = shared_start(around, ids)
    return list(ids[start : len(ids) - (len(around) - start)])


class WholeText:
    """What turns text into ids for one encoder, with numbers where marks stand: the text is read
    with an ordinary word in the place of each mark, and read again with another to see which tokens
    are the word's.
    """

    def __init__(self, raw: Any, lexicon: Lexicon, key: str):
        self.raw = raw
        self.lexicon = lexicon
        self.key = key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.raw, name)

    def __call__(self, text: str, *args: Any, **kwargs: Any) -> Any:
        pieces = MARKED.split(self.lexicon.with_texts(text, self.key))
        marks = pieces[1::2]
        if not marks:
            return self.raw(pieces[0], *args, **kwargs)

        def ids(parts: Sequence[str]) -> list[int]:
            return list(self.raw("".join(parts), *args, **kwargs)["input_ids"])

        pieces[1::2] = [STAND_IN] * len(marks)
        whole, end, read = ids(pieces), 0, []
        for place, mark in zip(range(1, len(pieces), 2), marks, strict=True):
            span = difference(whole, ids([*pieces[:place], OTHER_STAND_IN, *pieces[place + 1 :]]))
            read += whole[end : span.start]
            if pieces[place - 1][-1:].strip():
                read += self.glued(ids(pieces[:place]), span.start)
            read += self.lexicon.numbers[mark, self.key]
            end = span.stop
            cut = shared_start(whole, ids(pieces[: place + 1])) < end
            if cut and pieces[place + 1][:1].strip():
                read += self.glued_behind(ids(pieces[place + 1 :]), whole[end:])
        return {"input_ids": read + whole[end:]}

    def glued(self, before: list[int], start: int) -> list[int]:
        """Ids of what stands before a word without a blank, as far as the tokenizer draws it into
        one token with the word: the bracket of "(cat" with Qwen. `before` are the ids of all the
        text before the word, `start` is where the word begins with what is drawn into it.
        """
        around = self.raw("")["input_ids"]
        end = shared_start(around[::-1], before[::-1])
        return before[start : len(before) - end]

    def glued_behind(self, behind: list[int], rest: list[int]) -> list[int]:
        """The same of what stands behind a word, the letter of "cats". `behind` are the ids of all
        the text behind the word, `rest` those of it that are none of the word.
        """
        start = shared_start(self.raw("")["input_ids"], behind)
        return behind[start : len(behind) - shared_start(rest[::-1], behind[::-1])]


class Span(NamedTuple):
    """A range in a list: from `start` up to `stop`."""

    start: int
    stop: int


def difference(ids: Sequence[int], others: Sequence[int]) -> Span:
    """Where one list of ids differs from another."""
    start = shared_start(ids, others)
    end = shared_start(ids[start:][::-1], others[start:][::-1])
    return Span(start, len(ids) - end)


def shared_start(ids: Sequence[int], others: Sequence[int]) -> int:
    """How many ids two lists have in common from the first on."""
    pairs = enumerate(zip(ids, others, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(ids), len(others)))
