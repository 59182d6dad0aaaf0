"""How a sample is worded: template and caption, with the switches that users of kohya's trainer
and of AUTOMATIC1111 know. Drawn anew for every sample of every step.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import Generator

from ..draws import fraction, in_random_order, item_at
from ..marks import CLOSING, OPENING, unmarked
from ..untrusted_text import escaped_mixed, tokenizer_safe, trusted, untrusted
from .placeholder import Said, lacks_placeholder, with_placeholder
from .templates import FILEWORDS, TEMPLATES, Kind

Lines = Literal["join", "first", "draw"]
Missing = Literal["add", "error"]

# A slot may be one of the alternatives, or a part of one.
ALTERNATIVES = re.compile(r"\{((?:[^{}]|\{\})+)\}")
BRACKETS = re.compile(r"(?=[{}])(\{*)(\}*)")
BRACES = str.maketrans({OPENING: "{", CLOSING: "}"})


@dataclass(frozen=True)
class CaptionSettings:
    """How captions become the text of a sample; the order of the switches is kohya's.

    Without `templates` the caption is the text; with them, it stands where a template says
    `[filewords]`. Prefix, suffix, `typed` captions and `typed_templates` are read like prompts;
    others come from files: they cannot name other embeddings, also not together, and parentheses
    of captions are letters unless `weights`. `lines` is what becomes of a caption of several lines.
    `missing` is what is to be done about captions that do not say the word: training puts it in
    front in any case, but 'error' refuses such captions before.
    """

    templates: tuple[str, ...] = ()
    typed_templates: bool = True
    typed: bool = True
    weights: bool = False
    prefix: str = ""
    suffix: str = ""
    caption_dropout: float = 0.0
    caption_dropout_epochs: int = 0
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
        """Whether two draws for one image can differ."""
        dropped = self.caption_dropout or self.caption_dropout_epochs or self.tag_dropout
        drawn = self.wildcards or self.lines == "draw" or self.warmup_steps
        return bool(len(self.templates) > 1 or self.shuffle or dropped or drawn)

    @property
    def all_typed(self) -> bool:
        """Whether nothing of a text comes from a file."""
        return self.typed and (self.typed_templates or not self.templates)

    @property
    def uses_captions(self) -> bool:
        """Whether a caption stands in any of the texts."""
        return not self.templates or any(FILEWORDS in one for one in self.templates)

    def for_kind(self, kind: Kind) -> "CaptionSettings":
        """The wording with the templates of a kind, unless there are own ones."""
        if self.templates:
            return self
        return replace(self, templates=TEMPLATES[kind], typed_templates=True)


class TrainingPosition(NamedTuple):
    """When a sample is drawn: the optimizer step and the round over the images, from 0."""

    step: int
    round: int


def sample_text(
    caption: str,
    caption_settings: CaptionSettings,
    placeholder: str,
    place: float = 0.0,
    moment: TrainingPosition | None = None,
    draws: Generator | None = None,
) -> Said:
    """The text of a sample, which always says the placeholder. `place` in 0..1 chooses the
    template; without `draws` nothing is shuffled or dropped, and the first alternative of each
    wildcard is taken.
    """
    left_out = draws is not None and dropped(caption_settings, moment, draws)
    text = (
        "" if left_out else augmented_caption(caption, caption_settings, placeholder, moment, draws)
    )
    if caption_settings.templates:
        template = read(
            item_at(caption_settings.templates, place),
            caption_settings.typed_templates,
            caption_settings,
        )
        text = template.replace(FILEWORDS, text).strip(" ,")
    if not caption_settings.all_typed:
        text = escaped_mixed(text, caption_settings.weights)
    said = with_placeholder(tokenizer_safe(text), placeholder)
    return Said(said.translate(BRACES), placeholder, said.places)


def lacks(caption: str, caption_settings: CaptionSettings, placeholder: str) -> bool:
    """Whether some text of this image does not say the placeholder by itself."""
    lines = possible_lines(with_affixes(caption, caption_settings), caption_settings.lines)
    silent = any(silent_about(placeholder, line, caption_settings) for line in lines)
    return any(
        (silent or FILEWORDS not in template) and lacks_placeholder(template, placeholder)
        for template in caption_settings.templates or (FILEWORDS,)
    )


def silent_about(placeholder: str, text: str, caption_settings: CaptionSettings) -> bool:
    """Whether a caption, or a part of one, does not say the placeholder."""
    bare = text if caption_settings.all_typed else escaped_mixed(text, caption_settings.weights)
    return lacks_placeholder(
        with_braces_marked(bare) if caption_settings.wildcards else bare, placeholder
    )


def dropped(
    caption_settings: CaptionSettings, moment: TrainingPosition | None, draws: Generator
) -> bool:
    """Whether the caption is left out of this sample; of rounds the n-th, 2n-th, ..., as kohya
    counts its epochs (train_util.py:833).
    """
    every = caption_settings.caption_dropout_epochs
    if moment is not None and every and (moment.round + 1) % every == 0:
        return True
    return (
        bool(caption_settings.caption_dropout)
        and fraction(draws) < caption_settings.caption_dropout
    )


def augmented_caption(
    caption: str,
    caption_settings: CaptionSettings,
    placeholder: str,
    moment: TrainingPosition | None,
    draws: Generator | None,
) -> str:
    """A caption between prefix and suffix, after wildcards and the shuffling of its tags."""
    text = one_line(with_affixes(caption, caption_settings), caption_settings.lines, draws)
    if caption_settings.wildcards:
        text = alternatives(text, draws)
    if draws is not None and (
        caption_settings.shuffle or caption_settings.tag_dropout or caption_settings.warmup_steps
    ):
        text = augmented_tags(text, caption_settings, placeholder, moment, draws)
    elif caption_settings.keep_separator:
        text = join(
            [part.strip() for part in text.split(caption_settings.keep_separator)], caption_settings
        )
    if caption_settings.secondary_separator:
        text = text.replace(caption_settings.secondary_separator, caption_settings.separator)
    return text


def with_affixes(caption: str, caption_settings: CaptionSettings) -> str:
    """The caption with prefix and suffix, which stay what was typed beside a file's caption."""
    caption = read(caption, caption_settings.typed, caption_settings)
    prefix, suffix = (
        read(one, True, caption_settings)
        for one in (caption_settings.prefix, caption_settings.suffix)
    )
    return " ".join(part for part in (prefix, caption, suffix) if part)


def read(text: str, typed: bool, caption_settings: CaptionSettings) -> str:
    """A part of a text, with what was typed marked where the rest comes from a file."""
    if caption_settings.all_typed:
        return unmarked(text)
    return trusted(text) if typed else untrusted(text)


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

    def choose(match: re.Match[str]) -> str:
        return item_at(match[1].split("|"), 0.0 if draws is None else fraction(draws))

    return ALTERNATIVES.sub(choose, with_braces_marked(text))


def with_braces_marked(text: str) -> str:
    """A text with marks for braces that stay braces, until the slots are filled. What is left when
    braces are taken in pairs from outside is a slot, also beside those of an alternative, as in
    `{a|{}}`; only `{{}}` is none.
    """

    def marked(match: re.Match[str]) -> str:
        opened, closed = map(len, match.groups())
        slot = opened > 0 and closed > 0 and (opened % 2 or closed % 2) > 0
        before, after = opened - slot, closed - slot
        start = OPENING * (before // 2) + "{" * (before % 2)
        return start + "{}" * slot + "}" * (after % 2) + CLOSING * (after // 2)

    return BRACKETS.sub(marked, text)


def augmented_tags(
    text: str,
    caption_settings: CaptionSettings,
    placeholder: str,
    moment: TrainingPosition | None,
    draws: Generator,
) -> str:
    """A caption with its loose tags thinned and shuffled; the kept ones stay where they are, and
    a tag that says the placeholder is never dropped.
    """
    first, loose, last = parted(text, caption_settings)
    if moment is not None and moment.step < caption_settings.warmup_steps:
        grown = (
            (len(loose) - caption_settings.warmup_min)
            * moment.step
            // caption_settings.warmup_steps
        )
        loose = loose[: max(0, grown + caption_settings.warmup_min)]
    if caption_settings.shuffle:
        loose = in_random_order(loose, draws)
    if caption_settings.tag_dropout:
        chances = [fraction(draws) for _ in loose]
        loose = [
            tag
            for tag, chance in zip(loose, chances, strict=True)
            if chance >= caption_settings.tag_dropout
            or not silent_about(placeholder, tag, caption_settings)
        ]
    return join([*first, *loose, *last], caption_settings)


def parted(text: str, caption_settings: CaptionSettings) -> tuple[list[str], list[str], list[str]]:
    """Tags of a caption: kept in front, loose, and kept at the end; a `keep_separator` in the text
    takes the place of `keep_tokens`.
    """
    if caption_settings.keep_separator and caption_settings.keep_separator in text:
        first, loose, *rest = text.split(caption_settings.keep_separator)
        last = caption_settings.separator.join(rest)
        return (
            tags(first, caption_settings),
            tags(loose, caption_settings),
            tags(last, caption_settings),
        )
    found = tags(text, caption_settings)
    return found[: caption_settings.keep_tokens], found[caption_settings.keep_tokens :], []


def tags(text: str, caption_settings: CaptionSettings) -> list[str]:
    """The parts of a caption between separators."""
    return [tag.strip() for tag in text.split(caption_settings.separator or ",") if tag.strip()]


def join(parts: list[str], caption_settings: CaptionSettings) -> str:
    """Tags as one text."""
    return f"{caption_settings.separator.strip() or ','} ".join(part for part in parts if part)
