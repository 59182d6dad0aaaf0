"""What will be trained on, exactly, and what needs a look: the counterpart of kohya's
--debug_dataset.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from ..draws import fraction, generator
from .concept import Concept, Picture
from .counted import counted
from .encodings import READ_AS
from .pixels import in_floats
from .placeholder import replace_words, says
from .wording import Moment

FEW, MANY = 3, 50
MOST_LOST = 0.4  # of a picture, by cutting
NEARLY_ALIKE = 5  # differing bits of 64
MANY_VECTORS = 12
NEAR_THE_MODELS = 0.9  # of its resolution
TEXT_STREAM = 40


class EncoderFacts(NamedTuple):
    """What an encoder makes of the word and of the longest text: tokens of the placeholder (1: an
    ordinary word), tokens and chunks of the text, and how many fit into a chunk (None: any).
    """

    key: str
    word_tokens: int
    longest: int
    chunks: int
    room: int | None


def concept_report(concept: Concept) -> str:
    """What was gathered, what needs a look, and one line per picture."""
    head = f"{counted(len(concept.pictures), 'picture')} {sizes(concept)}, kind '{concept.kind}'."
    return "\n".join([head, *findings(concept), *picture_lines(concept)])


def picture_lines(concept: Concept) -> list[str]:
    """A line for each picture."""
    several = len({picture.size for picture in concept.pictures}) > 1
    return [line_of(picture, several) for picture in concept.pictures]


def audit_report(concept: Concept, counts: str, more: Sequence[str]) -> str:
    """Whether anything needs a look, and what, with `more` findings; counts; a line per picture."""
    found = [*findings(concept), *more]
    things = f"{counted(len(found), 'thing')} {'needs' if len(found) == 1 else 'need'} a look:"
    verdict = things if found else "Nothing needs a look."
    return "\n".join([verdict, *found, counts, *picture_lines(concept)])


def sizes(concept: Concept) -> str:
    """Crop sizes with their pictures: 'at 512 x 512', or 'in 2 sizes (...)'."""
    counts = Counter(picture.size for picture in concept.pictures)
    if len(counts) == 1:
        return f"at {size_text(next(iter(counts)))}"
    listed = ", ".join(f"{size_text(size)}: {count}" for size, count in counts.most_common())
    return f"in {len(counts)} sizes ({listed})"


def size_text(size: tuple[int, int]) -> str:
    """A size in pixels, width first."""
    return f"{size[0]} x {size[1]}"


def line_of(picture: Picture, several: bool) -> str:
    """A picture in the report: name, what it was, where there are several sizes its own one,
    repeats, caption.
    """
    facts = [*facts_of(picture), *([f"cut to {size_text(picture.size)}"] if several else [])]
    return title_of(picture, facts) + (f": {picture.caption}" if picture.caption else "")


def title_of(picture: Picture, facts: Iterable[str]) -> str:
    """A picture's name with facts about it, and its repeats."""
    repeats = [f"{picture.repeats} times"] if picture.repeats > 1 else []
    return f"{picture.name} ({', '.join([*facts, *repeats])})"


def facts_of(picture: Picture) -> Iterator[str]:
    """What a picture was, and where its caption came from."""
    if picture.found:
        yield f"{picture.found.width} x {picture.found.height}"
        yield from picture.found.notes
        if picture.found.caption_from:
            yield f"caption from {picture.found.caption_from}"


def findings(concept: Concept) -> list[str]:
    """What needs a look, each with a remedy, as far as the pictures and captions tell."""
    checks = (few_or_many, cut_away, alike, lonely_sizes, unvaried, guessed_encodings)
    return [finding for check in checks for finding in check(concept)]


def few_or_many(concept: Concept) -> Iterator[str]:
    yield from number_doubts(len(concept.pictures))


def number_doubts(pictures: int) -> Iterator[str]:
    """What to tell of very few or very many pictures."""
    if pictures < FEW:
        yield (
            f"Fewer than {FEW} pictures: the word will also learn what they share by chance, for "
            f"example the background."
        )
    if pictures > MANY:
        yield (
            f"More than {MANY} pictures: a few vectors cannot hold that much variety. Choose the "
            f"best 5 to 20."
        )


def cut_away(concept: Concept) -> Iterator[str]:
    extreme = [
        f"{picture.name} ({picture.found.lost:.0%})"
        for picture in concept.pictures
        if picture.found and picture.found.lost > MOST_LOST
    ]
    if extreme:
        yield (
            f"Extreme shapes: cropping or squashing loses a large part of {', '.join(extreme)}. "
            f"Crop them yourself, or choose buckets or 'pad' in Picture Fit."
        )


def alike(concept: Concept) -> Iterator[str]:
    looks = [(picture.name, picture.found.look) for picture in concept.pictures if picture.found]
    pairs = alike_pairs(looks)
    if pairs:
        named = [f"{one} and {two}" for one, two in pairs[:10]]
        yield (
            f"Duplicate or near-duplicate pictures: {'; '.join(named)}. They are learned twice as "
            f"much and add nothing. Keep one of each, or use repeats."
        )


def alike_pairs(looks: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    """Names of pictures that look the same; plain ones, in which nothing is brighter than its
    neighbour, are not compared.
    """
    telling = [(name, look) for name, look in looks if look.bit_count() > 4]
    return [
        (one, two)
        for (one, look), (two, other) in combinations(telling, 2)
        if (look ^ other).bit_count() <= NEARLY_ALIKE
    ]


def lonely_sizes(concept: Concept) -> Iterator[str]:
    counts: Counter[tuple[int, int]] = Counter()
    for picture in concept.pictures:
        counts[picture.size] += picture.repeats
    lonely = [size_text(size) for size, count in counts.items() if count == 1]
    if len(counts) > 1 and lonely:
        yield (
            f"Sizes with only one picture: {', '.join(lonely)}. A batch holds one size, so with a "
            f"batch size above 1 such a picture fills a batch alone. Use fewer, coarser buckets."
        )


def unvaried(concept: Concept) -> Iterator[str]:
    texts = {concept.text(number, "\0") for number in range(len(concept.pictures))}
    varied = any(picture.wording.varies for picture in concept.pictures)
    if len(concept.pictures) > 1 and len(texts) == 1 and not varied:
        yield (
            "All pictures always have the same caption, so everything that they share is learned "
            "as part of the word. Use templates, or describe each picture."
        )


def guessed_encodings(concept: Concept) -> Iterator[str]:
    origins = (picture.found.caption_from for picture in concept.pictures if picture.found)
    guessed = [origin for origin in dict.fromkeys(origins) if READ_AS in origin]
    if guessed:
        yield (
            f"{counted(len(guessed), 'caption file')} not in UTF-8: {'; '.join(guessed[:10])}. "
            f"Look whether the captions above are right, and save the files as UTF-8."
        )


def word_findings(
    concept: Concept, placeholder: str, vectors: int, facts: Sequence[EncoderFacts], native: int
) -> list[str]:
    """What needs a look in view of the word and of the model; `native` is the side in pixels that
    the model was made for (0: unknown).
    """
    checks = (missing_words, said_twice, collisions)
    found = [finding for check in checks for finding in check(concept, placeholder)]
    found += [text for fact in facts for text in encoder_findings(fact, placeholder)]
    if vectors > MANY_VECTORS:
        found.append(
            f"{vectors} vectors take {vectors} of the 75 tokens that CLIP reads at a time, and "
            f"outweigh the other words of a prompt. 1 to 4 are usual."
        )
    side = min(math.sqrt(math.prod(crop.shape[:2])) for crop in concept.crops)
    if side < NEAR_THE_MODELS * native:
        found.append(
            f"Crops of {side:.0f} x {side:.0f} pixels (by area) are smaller than the {native} x "
            f"{native} that this kind of model was made for. This is faster but loses detail. Set "
            f"resolution to {native}."
        )
    return found


def missing_words(concept: Concept, placeholder: str) -> Iterator[str]:
    """Captions without the placeholder, and what becomes of them."""
    lacking = concept.lacking(placeholder)
    outcomes = {
        "add": "it is put in front",
        "error": "training will stop with an error; write {} or [name] into them",
    }
    for choice, outcome in outcomes.items():
        names = [picture.name for picture in lacking if picture.wording.missing == choice]
        if names:
            yield (
                f"'{placeholder}' is missing from the captions of "
                f"{counted(len(names), 'picture')}: {outcome} ({', '.join(names[:10])})."
            )


def said_twice(concept: Concept, placeholder: str) -> Iterator[str]:
    """Texts that say the placeholder more than once, by template and by caption."""
    names = [
        picture.name
        for number, picture in enumerate(concept.pictures)
        if replace_words(concept.text(number, placeholder), {placeholder: "\0"}).count("\0") > 1
    ]
    if names:
        yield (
            f"'{placeholder}' occurs more than once in the texts of "
            f"{counted(len(names), 'picture')} ({', '.join(names[:10])}): it takes more tokens and "
            f"weighs more. Remove it from the captions if the template contains it."
        )


def collisions(concept: Concept, placeholder: str) -> Iterator[str]:
    """Other words in the captions that contain the placeholder."""
    written = " ".join({picture.caption for picture in concept.pictures})
    pattern = rf"[\w.-]*{re.escape(placeholder)}[\w.-]*"
    words = {word.strip(".-") for word in re.findall(pattern, written, re.IGNORECASE)}
    others = sorted(word for word in words if not says(word, placeholder))
    if others:
        yield (
            f"'{placeholder}' is part of other words in the captions: {', '.join(others[:10])}. "
            f"They do not count as the word. If they should, write the word alone."
        )


def encoder_findings(fact: EncoderFacts, placeholder: str) -> Iterator[str]:
    """What an encoder makes of the word and of the longest text."""
    yield from ordinary_word(placeholder, [fact.key] if fact.word_tokens == 1 else [])
    if fact.chunks > 1:
        yield (
            f"The longest text has {fact.longest} tokens in {fact.key}: it is read in "
            f"{fact.chunks} chunks of {fact.room}. Nothing is cut, but only one chunk contains the "
            f"word. Shorter captions teach better."
        )


def ordinary_word(placeholder: str, keys: Sequence[str]) -> Iterator[str]:
    """What to tell of a placeholder that is an ordinary word to some encoders."""
    if keys:
        yield (
            f"'{placeholder}' is an ordinary word in the vocabulary of {', '.join(keys)}: prompts "
            f"with it will get the learned meaning instead. Choose a made-up word, for example "
            f"'my-{placeholder}'."
        )


def summary(concept: Concept, batch_size: int, accumulation: int) -> str:
    """Counts: sizes, repeats, crops, steps of a round."""
    samples = sum(picture.repeats for picture in concept.pictures)
    steps = samples / (batch_size * accumulation)
    masked = sum(picture.weights[0] is not None for picture in concept.pictures)
    lines = [
        f"{counted(len(concept.pictures), 'picture')} {sizes(concept)}, {samples} with repeats, "
        f"{counted(len(concept.crops), 'crop')}, {counted(masked, 'picture')} with a mask.",
        f"One round takes {steps:g} {'step' if steps == 1 else 'steps'} at batch size {batch_size} "
        f"x {accumulation}.",
    ]
    return "\n".join(lines)


def drawn_texts(concept: Concept, picture: int, placeholder: str, count: int = 3) -> list[str]:
    """Texts that a picture may be trained with, as training draws them."""
    draws = generator(picture, TEXT_STREAM)
    return [
        concept.text(picture, placeholder, fraction(draws), Moment(1000 + turn, turn + 1), draws)
        for turn in range(count)
    ]


def longest_text(concept: Concept, placeholder: str) -> str:
    """The longest text that any picture is trained with, in characters, nothing dropped."""
    texts = (
        concept.text(number, placeholder, (place + 0.5) / max(1, count))
        for number, picture in enumerate(concept.pictures)
        for count in (len(picture.wording.templates),)
        for place in range(max(1, count))
    )
    return max(texts, key=len)


def crops_batch(concept: Concept) -> Tensor:
    """All crops as one batch `[n, h, w, 3]` in 0..1; smaller ones in the middle of grey."""
    height = max(crop.shape[0] for crop in concept.crops)
    width = max(crop.shape[1] for crop in concept.crops)
    batch = torch.full((len(concept.crops), height, width, 3), 0.5)
    for place, crop in zip(batch, concept.crops, strict=True):
        top, left = (height - crop.shape[0]) // 2, (width - crop.shape[1]) // 2
        place[top : top + crop.shape[0], left : left + crop.shape[1]] = in_floats(crop)
    return batch
