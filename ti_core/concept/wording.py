"""How a sample is worded: template and caption, with the switches that users of kohya's trainer
and of AUTOMATIC1111 know. Drawn anew for every sample of every step.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import Generator

from ..draws import fraction, in_random_order, item_at
from ..taming import sturdy, tamed_beside_trusted, trusted, untrusted
from .placeholder import SLOT, lacks_placeholder, says, with_placeholder
from .templates import FILEWORDS, TEMPLATES, Kind

Lines = Literal["join", "first", "draw"]
Missing = Literal["add", "error"]

ALTERNATIVES = re.compile(r"\{([^{}]+)\}")
ESCAPED = {"{{": "\ue000", "}}": "\ue001"}


@dataclass(frozen=True)
class Wording:
    """How captions become the text of a sample; the order of the switches is kohya's.

    Without `templates` the caption is the text; with them, it stands where a template says
    `[filewords]`. Templates, prefix, suffix and `typed` captions are read like prompts; other
    captions come from files: they cannot name other embeddings, and their parentheses are letters
    unless `weights`. `lines` is what becomes of a caption of several lines. `missing` is what is
    to be done about captions that do not say the word: training puts it in front in any case, but
    'error' refuses such captions before.
    """

    templates: tuple[str, ...] = ()
    typed: bool = True
    weights: bool = False
    prefix: str = ""
    suffix: str = ""
    caption_dropout: float = 0.0
    caption_dropout_rounds: int = 0
    lines: Lines = "join"
    wildcards: bool = False
    shuffle: bool = False
    keep_tokens: int = 0
    separator: str = ","
    keep_separator: str = ""
    secondary_separator: str = ""
    tag_dropout: float = 0.0
    warmup_min: int = 1
    warmup_steps: int = 0
    missing: Missing = "add"

    @property
    def varies(self) -> bool:
        """Whether two draws for one picture can differ."""
        dropped = self.caption_dropout or self.caption_dropout_rounds or self.tag_dropout
        drawn = self.wildcards or self.lines == "draw" or self.warmup_steps
        return bool(len(self.templates) > 1 or self.shuffle or dropped or drawn)

    @property
    def takes_captions(self) -> bool:
        """Whether a caption stands in any of the texts."""
        return not self.templates or any(FILEWORDS in one for one in self.templates)

    def for_kind(self, kind: Kind) -> "Wording":
        """The wording with the templates of a kind, unless there are own ones."""
        return self if self.templates else replace(self, templates=TEMPLATES[kind])


class Moment(NamedTuple):
    """When a sample is drawn: the optimiser step and the round over the pictures, from 0."""

    step: int
    round: int


def worded(
    caption: str,
    wording: Wording,
    placeholder: str,
    place: float = 0.0,
    moment: Moment | None = None,
    draws: Generator | None = None,
) -> str:
    """The text of a sample, which always says the placeholder. `place` in 0..1 chooses the
    template; without `draws` nothing is shuffled or dropped, and the first alternative of each
    wildcard is taken.
    """
    left_out = draws is not None and dropped(wording, moment, draws)
    own = "" if left_out else drawn_caption(caption, wording, placeholder, moment, draws)
    text = own if wording.typed else tamed_beside_trusted(own, wording.weights)
    if wording.templates:
        text = item_at(wording.templates, place).replace(FILEWORDS, text).strip(" ,")
    return sturdy(with_placeholder(text, placeholder), placeholder)


def lacks(caption: str, wording: Wording, placeholder: str) -> bool:
    """Whether some text of this picture does not say the placeholder by itself."""
    lines = possible_lines(affixed(caption, wording), wording.lines)
    silent = any(lacks_placeholder(line, placeholder) for line in lines)
    return any(
        (silent or FILEWORDS not in template) and lacks_placeholder(template, placeholder)
        for template in wording.templates or (FILEWORDS,)
    )


def dropped(wording: Wording, moment: Moment | None, draws: Generator) -> bool:
    """Whether the caption is left out of this sample; of rounds the n-th, 2n-th, ..., as kohya
    counts its epochs (train_util.py:833).
    """
    every = wording.caption_dropout_rounds
    if moment is not None and every and (moment.round + 1) % every == 0:
        return True
    return bool(wording.caption_dropout) and fraction(draws) < wording.caption_dropout


def drawn_caption(
    caption: str,
    wording: Wording,
    placeholder: str,
    moment: Moment | None,
    draws: Generator | None,
) -> str:
    """A caption between prefix and suffix, after wildcards and the shuffling of its tags."""
    text = one_line(affixed(caption, wording), wording.lines, draws)
    if wording.wildcards:
        text = alternatives(text, draws)
    if draws is not None and (wording.shuffle or wording.tag_dropout or wording.warmup_steps):
        text = redrawn_tags(text, wording, placeholder, moment, draws)
    elif wording.keep_separator:
        text = join([part.strip() for part in text.split(wording.keep_separator)], wording)
    if wording.secondary_separator:
        text = text.replace(wording.secondary_separator, wording.separator)
    return text


def affixed(caption: str, wording: Wording) -> str:
    """The caption with prefix and suffix, which stay what was typed beside a file's caption."""
    parts = (wording.prefix, caption, wording.suffix)
    if not wording.typed:
        parts = (trusted(wording.prefix), untrusted(caption), trusted(wording.suffix))
    return " ".join(part for part in parts if part)


def one_line(caption: str, lines: Lines, draws: Generator | None) -> str:
    """One line of a caption, drawn if several are possible."""
    found = possible_lines(caption, lines)
    return item_at(found, fraction(draws)) if lines == "draw" and draws is not None else found[0]


def possible_lines(caption: str, lines: Lines) -> list[str]:
    """What a caption can become as one line: all its lines joined, the first, or any of them."""
    found = [line.strip() for line in caption.splitlines() if line.strip()] or [""]
    return {"join": [" ".join(found)], "first": found[:1], "draw": found}[lines]


def alternatives(text: str, draws: Generator | None) -> str:
    """Choose one of each `{a|b}`; `{{` and `}}` are braces, and `{}` stays the placeholder's."""
    for written, mark in ESCAPED.items():
        text = text.replace(written, mark)

    def choose(match: re.Match[str]) -> str:
        return item_at(match[1].split("|"), 0.0 if draws is None else fraction(draws))

    text = ALTERNATIVES.sub(choose, text)
    for written, mark in ESCAPED.items():
        text = text.replace(mark, written[0])
    return text


def redrawn_tags(
    text: str, wording: Wording, placeholder: str, moment: Moment | None, draws: Generator
) -> str:
    """A caption with its loose tags thinned and shuffled; the kept ones stay where they are, and
    a tag that says the placeholder is never dropped.
    """
    first, loose, last = parted(text, wording)
    if moment is not None and moment.step < wording.warmup_steps:
        grown = (len(loose) - wording.warmup_min) * moment.step // wording.warmup_steps
        loose = loose[: max(0, grown + wording.warmup_min)]
    if wording.shuffle:
        loose = in_random_order(loose, draws)
    if wording.tag_dropout:
        chances = [fraction(draws) for _ in loose]
        loose = [
            tag
            for tag, chance in zip(loose, chances, strict=True)
            if chance >= wording.tag_dropout or SLOT.search(tag) or says(tag, placeholder)
        ]
    return join([*first, *loose, *last], wording)


def parted(text: str, wording: Wording) -> tuple[list[str], list[str], list[str]]:
    """Tags of a caption: kept in front, loose, and kept at the end; a `keep_separator` in the text
    takes the place of `keep_tokens`.
    """
    if wording.keep_separator and wording.keep_separator in text:
        first, loose, *rest = text.split(wording.keep_separator)
        last = wording.separator.join(rest)
        return tags(first, wording), tags(loose, wording), tags(last, wording)
    found = tags(text, wording)
    return found[: wording.keep_tokens], found[wording.keep_tokens :], []


def tags(text: str, wording: Wording) -> list[str]:
    """The parts of a caption between separators."""
    return [tag.strip() for tag in text.split(wording.separator or ",") if tag.strip()]


def join(parts: list[str], wording: Wording) -> str:
    """Tags as one text."""
    return f"{wording.separator.strip() or ','} ".join(part for part in parts if part)
