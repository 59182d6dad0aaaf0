"""What will be trained on, exactly, and what needs a look: the counterpart of kohya's
--debug_dataset.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from ..draws import fraction, generator
from .concept import Concept, Found
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


def report(concept: Concept) -> str:
    """What was gathered, one line per picture, and what needs a look."""
    lines = [f"{len(concept.names)} pictures {sizes(concept)}, kind '{concept.kind}'."]
    lines += [line_of(concept, number) for number in range(len(concept.names))]
    return "\n".join([*lines, *findings(concept)])


def sizes(concept: Concept) -> str:
    """Crop sizes with their pictures: 'at 512 x 512', or 'in 2 sizes (...)'."""
    counts = Counter(size_of(concept, number) for number in range(len(concept.names)))
    if len(counts) == 1:
        return f"at {next(iter(counts))}"
    listed = ", ".join(f"{size}: {count}" for size, count in counts.most_common())
    return f"in {len(counts)} sizes ({listed})"


def size_of(concept: Concept, picture: int) -> str:
    """A picture's crop size, width first."""
    height, width = concept.pictures[concept.crops[picture][0]].shape[:2]
    return f"{width} x {height}"


def line_of(concept: Concept, picture: int) -> str:
    """A picture: name, what it was, repeats, caption."""
    caption = concept.caption(picture)
    return title_of(concept, picture) + (f": {caption}" if caption else "")


def title_of(concept: Concept, picture: int) -> str:
    """A picture: name, what it was, repeats."""
    repeats = concept.turns.count(picture)
    facts = [*facts_of(concept, picture), *([f"{repeats} times"] if repeats > 1 else [])]
    return f"{concept.names[picture]} ({', '.join(facts)})"


def facts_of(concept: Concept, picture: int) -> Iterator[str]:
    """Size, notes and caption source of a picture."""
    if concept.found:
        found = concept.found[picture]
        yield f"{found.width} x {found.height}"
        yield from found.notes
        if found.caption_from not in ("", "typed"):
            yield f"caption from {found.caption_from}"
    if len({size_of(concept, number) for number in range(len(concept.names))}) > 1:
        yield f"cut to {size_of(concept, picture)}"


def findings(concept: Concept) -> list[str]:
    """What needs a look, each with a remedy, as far as the pictures and captions tell."""
    checks = (few_or_many, cut_away, alike, lonely_sizes, unvaried)
    return [finding for check in checks for finding in check(concept)]


def few_or_many(concept: Concept) -> Iterator[str]:
    if len(concept.names) < FEW:
        yield (
            f"Fewer than {FEW} pictures: the word will also learn what they have in common by "
            f"chance, such as the background."
        )
    if len(concept.names) > MANY:
        yield (
            f"More than {MANY} pictures: a few vectors cannot hold that much variety; choose the 5 "
            f"to 20 best."
        )


def cut_away(concept: Concept) -> Iterator[str]:
    extreme = [
        f"{name} ({found.lost:.0%})"
        for name, found in zip(concept.names, concept.found, strict=False)
        if found.lost > MOST_LOST
    ]
    if extreme:
        yield (
            f"Extreme shapes: cutting or squashing takes much of {', '.join(extreme)}. Crop them "
            f"yourself, or choose buckets or 'pad' in Picture Fit."
        )


def alike(concept: Concept) -> Iterator[str]:
    pairs = list(alike_pairs(concept.found))
    if pairs:
        named = [f"{concept.names[one]} and {concept.names[two]}" for one, two in pairs[:10]]
        yield (
            f"Duplicates or nearly so: {'; '.join(named)}. They count double and add nothing; keep "
            f"one of each, or use repeats."
        )


def alike_pairs(found: Sequence[Found]) -> Iterator[tuple[int, int]]:
    """Pictures that look the same; plain ones, in which nothing is brighter than its neighbour, are
    not compared.
    """
    looks = [(number, one.look) for number, one in enumerate(found) if one.look.bit_count() > 4]
    for (one, look), (two, other) in combinations(looks, 2):
        if (look ^ other).bit_count() <= NEARLY_ALIKE:
            yield one, two


def lonely_sizes(concept: Concept) -> Iterator[str]:
    counts = Counter(size_of(concept, number) for number in concept.turns)
    lonely = [size for size, count in counts.items() if count == 1]
    if len(counts) > 1 and lonely:
        yield (
            f"Only one picture in {', '.join(lonely)}: a batch holds one size, so with a batch "
            f"size above 1 such a picture fills batches alone. Fewer, coarser buckets mix better."
        )


def unvaried(concept: Concept) -> Iterator[str]:
    pictures = range(len(concept.names))
    texts = {concept.text(picture, "\0") for picture in pictures}
    if (
        len(pictures) > 1
        and len(texts) == 1
        and not any(concept.wording(p).varies for p in pictures)
    ):
        yield (
            "All pictures have the same caption, always: whatever they share is learned as part of "
            "the word. Use templates, or describe each picture."
        )


def word_findings(
    concept: Concept, placeholder: str, vectors: int, facts: Sequence[EncoderFacts], native: int
) -> list[str]:
    """What needs a look in view of the word and of the model; `native` is the side in pixels that
    the model was made for (0: unknown).
    """
    checks = (missing, said_twice, collisions)
    found = [finding for check in checks for finding in check(concept, placeholder)]
    found += [text for fact in facts for text in encoder_findings(fact, placeholder)]
    if vectors > MANY_VECTORS:
        found.append(
            f"{vectors} vectors take {vectors} of the 75 tokens that a prompt has, and outweigh "
            f"its other words. 1 to 4 are usual."
        )
    side = min(math.sqrt(math.prod(crop.shape[:2])) for crop in concept.pictures)
    if side < NEAR_THE_MODELS * native:
        found.append(
            f"Crops of {side:.0f} x {side:.0f} pixels (by area) are below the {native} x {native} "
            f"that such a model was made for: faster, and details are lost. Set resolution to "
            f"{native}."
        )
    return found


def missing(concept: Concept, placeholder: str) -> Iterator[str]:
    """Captions without the placeholder, and what becomes of them."""
    lacking = set(concept.lacking(placeholder))
    outcomes = {
        "add": "it is put in front",
        "leave": "they teach the word nothing; set 'missing' in Caption Options to 'add'",
        "error": "training will refuse them; write {} or [name] into them",
    }
    for choice, outcome in outcomes.items():
        names = [
            name
            for number, name in enumerate(concept.names)
            if name in lacking and concept.wording(number).missing == choice
        ]
        if names:
            yield (
                f"'{placeholder}' is missing from the captions of {len(names)} pictures: {outcome} "
                f"({', '.join(names[:10])})."
            )


def said_twice(concept: Concept, placeholder: str) -> Iterator[str]:
    """Texts that say the placeholder more than once, by template and by caption."""
    names = [
        name
        for number, name in enumerate(concept.names)
        if replace_words(concept.text(number, placeholder), {placeholder: "\0"}).count("\0") > 1
    ]
    if names:
        yield (
            f"The texts of {len(names)} pictures say '{placeholder}' more than once "
            f"({', '.join(names[:10])}): it costs tokens and weighs more. Take it out of the "
            f"captions where the template says it."
        )


def collisions(concept: Concept, placeholder: str) -> Iterator[str]:
    """Other words in the captions that contain the placeholder."""
    written = " ".join({concept.caption(number) for number in range(len(concept.names))})
    pattern = rf"[\w.-]*{re.escape(placeholder)}[\w.-]*"
    words = {word.strip(".-") for word in re.findall(pattern, written, re.IGNORECASE)}
    others = sorted(word for word in words if not says(word, placeholder))
    if others:
        yield (
            f"'{placeholder}' is part of other words in the captions: {', '.join(others[:10])}. "
            f"They are left as they are; choose another placeholder if they are meant."
        )


def encoder_findings(fact: EncoderFacts, placeholder: str) -> Iterator[str]:
    """What an encoder makes of the word and of the longest text."""
    if fact.word_tokens == 1:
        yield (
            f"'{placeholder}' is an ordinary word in the vocabulary of {fact.key}: wherever "
            f"prompts say it, they will mean the learned one. Take a made-up word, such as "
            f"'my-{placeholder}'."
        )
    if fact.chunks > 1:
        yield (
            f"The longest text has {fact.longest} tokens in {fact.key}: it is read in "
            f"{fact.chunks} chunks of {fact.room}, of which only one holds the word, and nothing "
            f"is cut. Shorter captions teach better."
        )


def summary(concept: Concept, batch_size: int, accumulation: int) -> str:
    """Counts: sizes, repeats, crops, steps of a round."""
    samples = len(concept.turns)
    steps = samples / (batch_size * accumulation)
    masked = sum(concept.mask(crops[0]) is not None for crops in concept.crops)
    lines = [
        f"{len(concept.names)} pictures {sizes(concept)}, {samples} with repeats, "
        f"{len(concept.pictures)} crops, {masked} pictures with a mask.",
        f"One round is {steps:g} steps at batch size {batch_size} x {accumulation}.",
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
        concept.text(picture, placeholder, (place + 0.5) / max(1, count))
        for picture in range(len(concept.names))
        for count in (len(concept.wording(picture).templates),)
        for place in range(max(1, count))
    )
    return max(texts, key=len)


def crops_batch(concept: Concept) -> Tensor:
    """All crops as one batch `[n, h, w, 3]`; smaller ones in the middle of grey."""
    height = max(crop.shape[0] for crop in concept.pictures)
    width = max(crop.shape[1] for crop in concept.pictures)
    if all(crop.shape[:2] == (height, width) for crop in concept.pictures):
        return torch.stack(concept.pictures)
    batch = torch.full((len(concept.pictures), height, width, 3), 0.5)
    for place, crop in zip(batch, concept.pictures, strict=True):
        top, left = (height - crop.shape[0]) // 2, (width - crop.shape[1]) // 2
        place[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return batch
