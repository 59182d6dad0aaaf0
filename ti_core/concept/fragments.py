"""Fragments that captions can be put together from: a sentence with slots, and what may stand in
each, as a text that users can edit.

    a photo of a [size] {} [position] [background]

    [background]
    on grass
    at the beach

    [size]
    small
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..quoted import quoted

NOTHING = ""  # a fragment that says nothing is always among those of a slot
SLOT = re.compile(r"\[([^\[\]{}]+)\]")
SPACES = re.compile(r"\s+")
LOOSE_COMMAS = re.compile(r"(?:\s*,)+")
MOST_SLOTS = 16
MOST_FRAGMENTS = 500  # of a slot
LONGEST_FRAGMENT = 200  # characters
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fragments:
    """A sentence in which {} is the subject and [name] a slot, and the fragments of each slot, in
    the order in which they are to be decided. Raises ValueError for what does not fit together.
    """

    sentence: str
    slots: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.sentence.count("{}") != 1 or re.search(r"[{}]", self.sentence.replace("{}", "")):
            raise ValueError(
                f"The sentence {quoted(self.sentence)} must contain {{}} once, where the subject "
                f"belongs, and no other brace."
            )
        used = SLOT.findall(self.sentence)
        unknown = [one for one in used if one not in self.slots]
        if unknown or len(used) > len(set(used)):
            raise ValueError(
                f"The sentence {quoted(self.sentence)} must contain each slot once, and only those "
                f"that have fragments below: {', '.join(self.slots) or 'none'}."
            )
        unused = [one for one in self.slots if one not in used]
        if unused:
            raise ValueError(
                f"The sentence {quoted(self.sentence)} has no place for [{unused[0]}]. Add it, or "
                f"remove these fragments."
            )
        if len(self.slots) > MOST_SLOTS:
            raise ValueError(f"There are {len(self.slots)} slots, but at most {MOST_SLOTS} work.")
        for name, fragments in self.slots.items():
            check_fragments(name, fragments)

    def caption(self, chosen: Mapping[str, str], subject: str = "{}") -> str:
        """The sentence with the chosen fragments; slots that are not named say nothing."""
        text = SLOT.sub(lambda slot: chosen.get(slot[1], NOTHING), self.sentence)
        text = SPACES.sub(" ", LOOSE_COMMAS.sub(",", text)).strip(" ,")
        return text.replace("{}", subject)


def check_fragments(name: str, fragments: tuple[str, ...]) -> None:
    """Raise ValueError for fragments of a slot that no caption can contain."""
    if not fragments:
        raise ValueError(f"[{name}] has no fragments. Write one per line below it.")
    if len(fragments) > MOST_FRAGMENTS:
        raise ValueError(
            f"[{name}] has {len(fragments)} fragments, but at most {MOST_FRAGMENTS} are compared."
        )
    for one in fragments:
        if re.search(r"[\[\]{}]", one):
            raise ValueError(f"The fragment {quoted(one)} of [{name}] contains a bracket.")
        if len(one) > LONGEST_FRAGMENT:
            raise ValueError(
                f"The fragment {quoted(one)} of [{name}] is longer than {LONGEST_FRAGMENT} "
                f"characters."
            )


def fragments_in(text: str) -> Fragments:
    """The fragments of a text as above; lines that begin with # are comments. Raises ValueError for
    a text that is none.
    """
    lines = [SPACES.sub(" ", line).strip() for line in text.lstrip("\ufeff").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError("There are no fragments. Clear the text to use the built-in ones.")
    slots: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines[1:]:
        if heading := SLOT.fullmatch(line):
            name = heading[1].strip()
            if name in slots:
                raise ValueError(f"There are two lists of [{name}]. Put them into one.")
            current = slots[name] = []
        elif current is None:
            raise ValueError(
                f"The line {quoted(line)} belongs to no slot. Begin with the sentence, then a "
                f"line like [background], then its fragments."
            )
        else:
            current.append(line)
    named = {name: tuple(dict.fromkeys(some)) for name, some in slots.items()}
    if not named:
        raise ValueError(
            f"There are no slots below the sentence {quoted(lines[0])}. Add a line like "
            f"[background], then its fragments."
        )
    sentence = SLOT.sub(lambda slot: f"[{slot[1].strip()}]", lines[0])
    return Fragments(sentence, named)


def built_in_text() -> str:
    """The text that ships, of what captions say."""
    return (HERE / "built_in_fragments.txt").read_text(encoding="utf-8")


def built_in_looks() -> str:
    """The text that ships, of what subjects look like."""
    return (HERE / "built_in_looks.txt").read_text(encoding="utf-8")
