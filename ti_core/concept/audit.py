"""What will be trained on, exactly, and what needs a look: the counterpart of kohya's
--debug_dataset.
"""

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import torch
from torch import Tensor

from ..draws import fraction, generator
from ..quoted import quoted
from .caption_settings import TrainingPosition
from .concept import Concept, ConceptImage
from .counted import counted
from .encodings import READ_AS
from .masks import MAY_BE_TURNED
from .pixels import in_floats
from .placeholder import contains_word, filled_in, other_spelling, places

FEW, MANY = 3, 50
MOST_LOST = 0.4  # of an image, by cutting
LOOK_BITS = 64
NEARLY_ALIKE = 5  # differing bits
MANY_VECTORS = 12
NEAR_THE_MODELS = 0.9  # of its resolution
TEXT_STREAM = 40
NO_WORD = "the-word"  # where none is known


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
    """What was gathered, what needs a look, and one line per image."""
    head = f"{counted(len(concept.images), 'image')} {sizes(concept)}, captions: '{concept.kind}'."
    return "\n".join([head, *findings(concept), *image_lines(concept)])


def image_lines(concept: Concept) -> list[str]:
    """A line for each image."""
    several = len({image.size for image in concept.images}) > 1
    return [line_of(image, several) for image in concept.images]


def audit_report(concept: Concept, counts: str, more: Sequence[str]) -> str:
    """Whether anything needs a look, and what, with `more` findings; counts; a line per image."""
    found = [*findings(concept), *more]
    things = f"{counted(len(found), 'thing')} {'needs' if len(found) == 1 else 'need'} attention:"
    verdict = things if found else "Nothing needs attention."
    return "\n".join([verdict, *found, counts, *image_lines(concept)])


def sizes(concept: Concept) -> str:
    """Crop sizes with their images: 'at 512 x 512', or 'in 2 sizes (...)'."""
    counts = Counter(image.size for image in concept.images)
    if len(counts) == 1:
        return f"at {size_text(next(iter(counts)))}"
    listed = ", ".join(f"{size_text(size)}: {count}" for size, count in counts.most_common())
    return f"in {len(counts)} sizes ({listed})"


def size_text(size: tuple[int, int]) -> str:
    """A size in pixels, width first."""
    return f"{size[0]} x {size[1]}"


def line_of(image: ConceptImage, several: bool) -> str:
    """An image in the report: name, what it was, where there are several sizes its own one,
    repeats, caption.
    """
    facts = [*facts_of(image), *([f"cut to {size_text(image.size)}"] if several else [])]
    return title_of(image, facts) + (f": {image.caption}" if image.caption else "")


def title_of(image: ConceptImage, facts: Iterable[str]) -> str:
    """An image's name with facts about it, and its repeats."""
    repeats = [f"{image.repeats} times"] if image.repeats > 1 else []
    return f"{image.name} ({', '.join([*facts, *repeats])})"


def facts_of(image: ConceptImage) -> Iterator[str]:
    """What an image was, and where its caption came from."""
    if image.found:
        yield f"{image.found.width} x {image.found.height}"
        yield from image.found.notes
        if image.found.caption_from:
            yield f"caption from {image.found.caption_from}"


def findings(concept: Concept) -> list[str]:
    """What needs a look, each with a remedy, as far as the images and captions tell."""
    checks = (few_or_many, cut_away, alike, lonely_sizes, unvaried, guessed_encodings, turned_masks)
    return [finding for check in checks for finding in check(concept)]


def few_or_many(concept: Concept) -> Iterator[str]:
    yield from number_doubts(len(concept.images))


def number_doubts(images: int) -> Iterator[str]:
    """What to tell of very few or very many images."""
    if images < FEW:
        yield (
            f"Fewer than {FEW} images: the word will also learn what they share by chance, for "
            f"example the background."
        )
    if images > MANY:
        yield (
            f"More than {MANY} images: a few vectors cannot hold that much variety. Choose the "
            f"best 5 to 20."
        )


def cut_away(concept: Concept) -> Iterator[str]:
    extreme = [
        f"{image.name} ({image.found.lost:.0%})"
        for image in concept.images
        if image.found and image.found.lost > MOST_LOST
    ]
    if extreme:
        yield (
            f"Extreme shapes: cropping or squashing loses a large part of {', '.join(extreme)}. "
            f"Crop them yourself, or choose buckets or 'pad' in Crop & Buckets."
        )


def alike(concept: Concept) -> Iterator[str]:
    looks = [(image.name, image.found.look) for image in concept.images if image.found]
    pairs = near_duplicate_pairs(looks, 10)
    if pairs:
        named = [f"{one} and {two}" for one, two in pairs]
        yield (
            f"Duplicate or near-duplicate images: {'; '.join(named)}. They count twice and "
            f"add nothing. Keep one of each, or use repeats."
        )


def near_duplicate_pairs(
    looks: Iterable[tuple[str, int]], most: int | None = None
) -> list[tuple[str, str]]:
    """Names of images that look the same, the first `most` pairs; plain ones, in which nothing is
    brighter than its neighbor, are not compared.
    """
    telling = [(name, look) for name, look in looks if look.bit_count() > 4]
    shelves = shelved([look for _, look in telling])
    pairs = (
        (name, telling[other][0])
        for place, (name, look) in enumerate(telling)
        for other in near_by(place, look, shelves)
        if nearly_alike(look, telling[other][1])
    )
    return list(islice(pairs, most))


def nearly_alike(one: int, other: int) -> bool:
    """Whether two looks differ in few bits."""
    return (one ^ other).bit_count() <= NEARLY_ALIKE


def shelved(looks: Sequence[int]) -> list[tuple[int, dict[int, list[int]]]]:
    """Places of looks by their bits under a mask, for several masks, so that only what shares a
    shelf is compared: of 7 groups of bits, looks that differ in 5 bits have 2 in common. Where the
    bits tell little (a plain border), more groups make finer shelves.
    """
    shares = [
        sum(look >> bit & 1 for look in looks) / len(looks) for bit in range(LOOK_BITS) if looks
    ]
    information = [-sum(one * math.log2(one) for one in (p, 1 - p) if one) for p in shares]
    order = sorted(range(len(information)), key=lambda bit: -information[bit])
    wanted = math.log2(len(looks) + 1)
    counts = range(NEARLY_ALIKE + 2, NEARLY_ALIKE + 5)
    enough = (n for n in counts if sum(information) * (n - NEARLY_ALIKE) / n >= wanted)
    count = next(enough, counts[-1])
    groups = [sum(1 << bit for bit in order[first::count]) for first in range(count)]
    found: list[tuple[int, dict[int, list[int]]]] = []
    for mask in map(sum, combinations(groups, count - NEARLY_ALIKE)):
        shelves: defaultdict[int, list[int]] = defaultdict(list)
        for place, look in enumerate(looks):
            shelves[look & mask].append(place)
        found.append((mask, shelves))
    return found


def near_by(
    place: int, look: int, shelves: Sequence[tuple[int, Mapping[int, list[int]]]]
) -> list[int]:
    """The later places that share a shelf with a look, in order."""
    found: set[int] = set()
    for mask, shelved in shelves:
        shelf = shelved[look & mask]
        found.update(shelf[bisect_right(shelf, place) :])
    return sorted(found)


def lonely_sizes(concept: Concept) -> Iterator[str]:
    counts: Counter[tuple[int, int]] = Counter()
    for image in concept.images:
        counts[image.size] += image.repeats
    lonely = [size_text(size) for size, count in counts.items() if count == 1]
    if len(counts) > 1 and lonely:
        yield (
            f"Sizes with only one image: {', '.join(lonely)}. A batch holds one size, so with a "
            f"batch size above 1 such an image fills a batch alone. Use fewer, coarser buckets."
        )


def unvaried(concept: Concept) -> Iterator[str]:
    texts = {concept.text(number, NO_WORD) for number in range(len(concept.images))}
    varied = any(image.caption_settings.varies for image in concept.images)
    if len(concept.images) > 1 and len(texts) == 1 and not varied:
        yield (
            "All images always have the same caption, so everything that they share is learned "
            "as part of the word. Use templates, or describe each image."
        )


def guessed_encodings(concept: Concept) -> Iterator[str]:
    origins = (image.found.caption_from for image in concept.images if image.found)
    guessed = [origin for origin in dict.fromkeys(origins) if READ_AS in origin]
    if guessed:
        yield (
            f"{counted(len(guessed), 'caption file')} not in UTF-8: {'; '.join(guessed[:10])}. "
            f"Check that the captions above are right, and save the files as UTF-8."
        )


def turned_masks(concept: Concept) -> Iterator[str]:
    doubtful = [
        image.name for image in concept.images if image.found and MAY_BE_TURNED in image.found.notes
    ]
    if doubtful:
        yield (
            f"Rotated by EXIF, with a mask that may have been made before the rotation: "
            f"{', '.join(doubtful[:10])}. Check them in Audit Concept. If a mask is wrong, save "
            f"its image again in an image editor, which rotates the pixels."
        )


def word_findings(
    concept: Concept, placeholder: str, vectors: int, facts: Sequence[EncoderFacts], native: int
) -> list[str]:
    """What needs a look in view of the word and of the model; `native` is the side in pixels that
    the model was made for (0: unknown).
    """
    checks = (missing_words, other_spellings, repeated_placeholder, collisions)
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
        names = [image.name for image in lacking if image.caption_settings.missing == choice]
        if names:
            yield (
                f"'{placeholder}' is missing from the captions of "
                f"{counted(len(names), 'image')}: {outcome} ({', '.join(names[:10])})."
            )


def other_spellings(concept: Concept, placeholder: str) -> Iterator[str]:
    """What in the captions and templates other tools would read as the word."""
    written = {
        spelling: image.name
        for image in concept.images
        for text in (image.caption, *image.caption_settings.templates)
        if (spelling := other_spelling(filled_in(text, placeholder), placeholder))
    }
    if written:
        named = ", ".join(f"{quoted(what)} ({name})" for what, name in [*written.items()][:10])
        yield (
            f"Other tools write words as {named}. Here that is plain text, unless another word "
            f"of that name was applied to the CLIP: write {{}} or [name] where you mean "
            f"'{placeholder}'."
        )


def repeated_placeholder(concept: Concept, placeholder: str) -> Iterator[str]:
    """Texts that say the placeholder more than once, by template and by caption."""
    names = [
        image.name
        for number, image in enumerate(concept.images)
        if len(places(concept.text(number, placeholder), [placeholder])) > 1
    ]
    if names:
        yield (
            f"'{placeholder}' occurs more than once in the texts of "
            f"{counted(len(names), 'image')} ({', '.join(names[:10])}): it uses more tokens and "
            f"weighs more. Remove it from the captions if the template contains it."
        )


def collisions(concept: Concept, placeholder: str) -> Iterator[str]:
    """Other words in the captions that contain the placeholder."""
    written = " ".join({image.caption for image in concept.images})
    longer = (word for word in re.findall(r"[\w.-]+", written) if len(word) > len(placeholder))
    words = {word.strip(".-") for word in longer if placeholder.casefold() in word.casefold()}
    others = sorted(word for word in words if not contains_word(word, placeholder))
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
            f"that contain it would get the learned meaning instead. Choose a made-up word, for "
            f"example 'my-{placeholder}'."
        )


def summary(concept: Concept, batch_size: int, accumulation: int) -> str:
    """Counts: sizes, repeats, crops, steps of a round."""
    samples = sum(image.repeats for image in concept.images)
    steps = samples / (batch_size * accumulation)
    masked = sum(image.weights[0] is not None for image in concept.images)
    lines = [
        f"{counted(len(concept.images), 'image')} {sizes(concept)}, {samples} with repeats, "
        f"{counted(len(concept.crops), 'crop')}, {counted(masked, 'image')} with a mask.",
        f"One epoch takes {steps:g} {'step' if steps == 1 else 'steps'} at batch size {batch_size} "
        f"x {accumulation}.",
    ]
    return "\n".join(lines)


def sample_texts(concept: Concept, image: int, placeholder: str, count: int = 3) -> list[str]:
    """Texts that an image may be trained with, as training draws them."""
    draws = generator(image, TEXT_STREAM)
    return [
        concept.text(
            image, placeholder, fraction(draws), TrainingPosition(1000 + turn, turn + 1), draws
        )
        for turn in range(count)
    ]


def longest_text(concept: Concept, placeholder: str) -> str:
    """The longest text that any image is trained with, in characters, nothing dropped."""
    texts = (
        concept.text(number, placeholder, (place + 0.5) / max(1, count))
        for number, image in enumerate(concept.images)
        for count in (len(image.caption_settings.templates),)
        for place in range(max(1, count))
    )
    return max(texts, key=len)


def crops_batch(concept: Concept) -> Tensor:
    """All crops as one batch `[n, h, w, 3]` in 0..1; smaller ones in the middle of gray."""
    height = max(crop.shape[0] for crop in concept.crops)
    width = max(crop.shape[1] for crop in concept.crops)
    batch = torch.full((len(concept.crops), height, width, 3), 0.5)
    for place, crop in zip(batch, concept.crops, strict=True):
        top, left = (height - crop.shape[0]) // 2, (width - crop.shape[1]) // 2
        place[top : top + crop.shape[0], left : left + crop.shape[1]] = in_floats(crop)
    return batch
