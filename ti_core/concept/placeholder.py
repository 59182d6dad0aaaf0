"""Where a word stands in a text: the one place that knows, for captions, prompts and messages.

A text is searched once. What was found, or filled in, goes on as places in a `Said`, so that
nothing is ever looked for again in a filled text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from ..quoted import shown

SLOT = re.compile(r"<(?:\{\}|\[name\]|\[trigger\])>|\{\}|\[name\]|\[trigger\]")
WEIGHTED = re.compile(r"(?<!\\)\((?P<text>[^()]*):\s*\d*\.?\d+\s*\)")
# As the host reads one: blanks behind the colon, and commas around the name (core sd1_clip.py:543).
REFERENCE = re.compile(r"embedding:[\s,]*(?:\./)*")
FILE_ENDING = re.compile(r"\.(?:safetensors|pt|bin)")
EAST_ASIAN_SIGNS = "\u3001\u3002\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff65"
OTHER_NAME = re.compile(rf"[^\s,<\[():{EAST_ASIAN_SIGNS}]*")
IN_FILE_NAMES = "/\\@+~#=$%&"
# Letters of scripts that are written without blanks between words, or with endings that are written
# onto any word: Thai to Myanmar, Hangul, Khmer, Tai, Javanese, kana, bopomofo, Han, Yi, Tangut.
UNSPACED = re.compile(
    "[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007"
    "\u3021-\u3029\u3031-\u303c\u3041-\ua4cf\ua960-\ua9ff\uaa60-\uaadf\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uffdc\U00016fe0-\U00018dff\U0001aff0-\U0001b2ff\U00020000-\U0003ffff]"
)
OF_SIGNS = re.compile("[\u20d0-\u20ff\ufe00-\ufe0f\U000e0100-\U000e01ef]")
JOINED_LETTERS = range(0x1160, 0x1200)  # Hangul's vowels and finals, where a file system split them
PIECE = re.compile(r"[\w.-]+")
LIKE = 0.75  # from here on a piece of text may have been meant as the word
LONGEST_PROMPT = 4000  # characters that are searched for it
SPEAKERS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|turn>", "<|start|>", "<|")
# How other tools write the word: <embedding> (OneTrainer), <my-cat> (diffusers, InvokeAI), * and S*
# (the paper), <lora:name:1> (AUTOMATIC1111), also where it is read between these signs, and slots,
# of which a prompt has none.
OTHERS = re.compile(
    r"<(?!\|)[\w\[][^<>|\s]{0,63}>|(?<![\w*\\])[SV]?\*(?![\w*])|\{\s*\}|\uff5b\s*\uff5d|"
    r"[\[{](?:embedding|placeholder|token|keyword|word|name|trigger|subject|concept|v)\*?[\]}]",
    re.IGNORECASE,
)


class Place(NamedTuple):
    """Where a word stands: from `start` up to `stop`, with the brackets of `<word>`, without the
    `embedding:` of a reference.
    """

    start: int
    stop: int
    word: str


class Said(str):
    """A text that knows at which `places` it says `word`; nothing else of it is the word."""

    word: str
    places: tuple[Place, ...]

    def __new__(cls, text: str, word: str = "", places: Collection[Place] = ()) -> "Said":
        made = super().__new__(cls, text)
        made.word, made.places = word, tuple(places)
        return made


def places(text: str, words: Collection[str]) -> list[Place]:
    """Where words stand in a text, in order: its own as it knows them, the others as found."""
    own = list(text.places) if isinstance(text, Said) else []
    name = fold(text.word) if isinstance(text, Said) else None
    known = [place for place in own if any(fold(word) == name for word in words)]
    free = [
        place
        for place in found(text, [word for word in words if fold(word) != name])
        if all(place.stop <= one.start or one.stop <= place.start for one in own)
    ]
    return sorted([*known, *free])


def found(text: str, words: Collection[str]) -> list[Place]:
    """Where whole words stand in a text, bare, as `<word>` or as `embedding:word`, without regard
    to case and to how accents are encoded; the longest first.

    A word ends where no letter, digit, '_', '-' nor dot inside a name goes on: in "my-cats",
    "my-cat-2" and "my-cat.v2" there is no my-cat. Letters of a script without blanks end it.
    Names of other embeddings ("embedding:pets/my-cat") are left alone, and so is the name of a
    speaker in a chat template ("<|im_start|>user").
    """
    letters, origins = folded(text)
    known = {fold(word): word for word in words}
    longest_first = sorted(known, key=len, reverse=True)
    taken = bytearray(len(letters))
    spans = [*referred(letters, longest_first, taken), *bare(letters, longest_first, taken)]
    whole = (span for span in spans if begins(origins, span.start) and begins(origins, span.stop))
    return sorted(Place(origins[start], origins[stop], known[word]) for start, stop, word in whole)


def referred(letters: str, words: Collection[str], taken: bytearray) -> Iterator[Place]:
    """Words as references, in small letters; names of other embeddings are taken, too."""
    for match in REFERENCE.finditer(letters):
        named = ((word, name_end(letters, match.end(), word)) for word in words)
        word, stop = next(((word, stop) for word, stop in named if stop), ("", 0))
        if not word:
            stop = OTHER_NAME.match(letters, match.end()).end()  # type: ignore[union-attr]
        taken[match.start() : stop] = b"\1" * (stop - match.start())
        if word and letters[match.start() - 1 : match.start()] + letters[stop : stop + 1] == "<>":
            yield Place(match.start() - 1, stop + 1, word)
        elif word:
            yield Place(match.end(), stop, word)


def name_end(letters: str, start: int, word: str) -> int:
    """Where the name of a file that begins at `start` ends, if it is the word; else 0."""
    stop = start + len(word)
    if not letters.startswith(word, start):
        return 0
    ending = FILE_ENDING.match(letters, stop)
    ends = [ending.end(), stop] if ending else [stop]
    return next((end for end in ends if not goes_on(letters, end, IN_FILE_NAMES)), 0)


def bare(letters: str, words: Collection[str], taken: bytearray) -> Iterator[Place]:
    """Words by themselves, in small letters, where nothing is taken yet."""
    for word in words:
        start = letters.find(word)
        while start >= 0:
            stop = start + len(word)
            if not any(taken[start:stop]) and stands_alone(letters, start, stop):
                taken[start:stop] = b"\1" * len(word)
                bracketed = letters[start - 1 : start] + letters[stop : stop + 1] == "<>"
                yield Place(start - bracketed, stop + bracketed, word)
            start = letters.find(word, start + 1)


def stands_alone(letters: str, start: int, stop: int) -> bool:
    """Whether a word begins and ends here, and is no speaker."""
    before = letters[max(0, start - 1) : start]
    if before and before in "-_":
        return False
    if before == ".":
        before = letters[max(0, start - 2) : start - 1]
    if joins(before, letters[start]) or goes_on(letters, stop):
        return False
    return not letters.endswith(SPEAKERS, 0, start)


def goes_on(letters: str, stop: int, more: str = "") -> bool:
    """Whether a word goes on behind a place; `more` are signs that join further letters to it."""
    sign, behind = letters[stop : stop + 1], letters[stop + 1 : stop + 2]
    if sign and sign in more:
        return wordy(behind)
    if sign == ".":
        return joins(letters[stop - 1], behind)
    return sign in ("-", "_") or joins(letters[stop - 1], sign)


def joins(one: str, other: str) -> bool:
    """Whether neighboring characters belong to one word."""
    return wordy(one) and wordy(other) and not UNSPACED.match(one) and not UNSPACED.match(other)


def wordy(character: str) -> bool:
    """Whether a character is one of a word: a letter with its marks, a digit, or '_'; not a mark
    that makes a sign an image, as behind a heart, or that encloses one.
    """
    if not character or OF_SIGNS.match(character):
        return False
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def fold(text: str) -> str:
    """A text as words are compared: in small letters, accents in one form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def folded(text: str) -> tuple[str, list[int]]:
    """A text as words are compared, and for each of its characters and its end where in the text
    the letter stands that it comes from.
    """
    if text.isascii():
        return text.lower(), list(range(len(text) + 1))
    starts = [place for place, one in enumerate(text) if not place or not belongs_before(one)]
    pieces = [fold(text[a:b]) for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    origins = [start for start, piece in zip(starts, pieces, strict=True) for _ in piece]
    return "".join(pieces), [*origins, len(text)]


def belongs_before(character: str) -> bool:
    """Whether a character is a part of the letter before it."""
    is_mark = unicodedata.category(character)[0] == "M" and not OF_SIGNS.match(character)
    return is_mark or ord(character) in JOINED_LETTERS


def begins(origins: list[int], place: int) -> bool:
    """Whether a letter of the text begins at a place of its small letters."""
    return place == 0 or origins[place] != origins[place - 1]


def contains_word(text: str, word: str) -> bool:
    """Whether the text contains the word, bare, as `<word>` or as `embedding:word`."""
    return bool(places(text, [word]))


def weighted(text: str, word: str) -> bool:
    """Whether the text gives the word a weight in figures, as in `(my-cat:1.2)`."""
    said = places(text, [word])
    spans = [match.span("text") for match in WEIGHTED.finditer(text)]
    return any(start <= one.start and one.stop <= stop for one in said for start, stop in spans)


def filled_in(text: str, word: str) -> Said:
    """The text with the word in its slots `{}`, `[name]` and `[trigger]`; where it says the word
    by itself, it stays as it is.
    """
    text = text.strip()
    slots = [Place(*match.span(), word) for match in SLOT.finditer(text)]
    inside = {place for slot in slots for place in range(slot.start, slot.stop)}
    bare = [place for place in found(text, [word]) if place.start not in inside]
    filled, end, said = "", 0, []
    for place in sorted([*slots, *bare]):
        filled += text[end : place.start]
        written = word if place in slots else text[place.start : place.stop]
        said.append(Place(len(filled), len(filled) + len(written), word))
        filled, end = filled + written, place.stop
    return Said(filled + text[end:], word, said)


def with_placeholder(caption: str, word: str) -> Said:
    """The caption with the word in its slots; one that has none of these and not the word itself
    gets it in front.
    """
    filled = filled_in(caption, word)
    if filled.places:
        return filled
    return Said(f"{word}, {filled}" if filled else word, word, [Place(0, len(word), word)])


def lacks_placeholder(caption: str, word: str) -> bool:
    """Whether the word has to be added to the caption."""
    return not filled_in(caption, word).places


def other_spelling(text: str, word: str) -> str:
    """What in a text is written as other tools write a word, and is letters here; empty if nothing
    is.
    """
    said = places(text, [word])
    spans = (match.span() for match in OTHERS.finditer(text[:LONGEST_PROMPT]))
    free = (
        text[start:stop]
        for start, stop in spans
        if not any(one.start <= start and stop <= one.stop for one in said)
    )
    return next(free, "")


def near_miss(text: str, word: str) -> str:
    """What in a text may have been meant as the word, from one to three pieces of it; empty if
    nothing is like it, or looks the same and is another name.
    """
    spans = [match.span() for match in PIECE.finditer(text[:LONGEST_PROMPT])]
    runs = (zip(spans, spans[more:], strict=False) for more in range(3))
    pieces = [text[first[0] : last[1]] for run in runs for first, last in run]
    matcher = SequenceMatcher(b=letters(word))

    def likeness(piece: str) -> float:
        matcher.set_seq1(letters(piece))
        alike = matcher.quick_ratio() >= LIKE and fold(shown(piece)) != fold(word)
        return matcher.ratio() if alike else 0.0

    best = max(pieces, key=likeness, default="")
    return best if likeness(best) >= LIKE else ""


def letters(text: str) -> str:
    """Letters and digits of a text, small, by which words are compared."""
    return re.sub(r"[\W_]+", "", text).casefold()
