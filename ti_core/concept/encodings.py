"""What the bytes of a text file say: UTF-8, UTF-16, or an older encoding where that is plain."""

import re
from typing import NamedTuple

MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
WIDE = {"utf-16-le": "UTF-16 without a mark", "utf-16-be": "UTF-16 without a mark"}
KANA = re.compile("[\u3041-\u30fe]")
CONTROLS = [chr(code) for code in range(ord(" ")) if chr(code) not in "\t\n\r"]
MOST_ACCENTS = 1 / 3  # of the bytes of a text in a Latin alphabet
MOST_CONTROLS = 0.1  # of the characters
READ_AS = ", read as "  # between the name of a file and what its encoding was taken for


class Text(NamedTuple):
    """What a file says, and the encoding that it was taken for, empty if that is sure."""

    text: str
    assumed: str = ""


def text_of(data: bytes) -> Text:
    """The text of a file; ValueError with the reason if it is none, or if its encoding cannot be
    told.
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return sound(strictly(data, encoding))
    plain = strictly(data, "utf-8")
    if plain is not None and is_text(plain):
        return sound(plain)
    for encoding, name in WIDE.items():
        if (wide := strictly(data, encoding)) and is_narrow(wide):
            return sound(wide, name)
    japanese = strictly(data, "shift_jis")
    if japanese and KANA.search(japanese):
        return sound(japanese, "Shift-JIS")
    latin = strictly(data, "cp1252")
    accents = len(data) - len(data.decode("ascii", "ignore"))
    if latin and accents <= MOST_ACCENTS * len(data):
        return sound(latin, "Windows-1252")
    raise ValueError("it is not UTF-8, and its encoding cannot be told")


def strictly(data: bytes, encoding: str) -> str | None:
    """The text if these bytes are one in an encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def is_narrow(text: str) -> bool:
    """Whether most letters are of the first 256, as in all text of a Latin alphabet; only such is
    told from other bytes in pairs.
    """
    return len(text.encode("latin-1", "ignore")) > len(text) / 2


def sound(text: str | None, assumed: str = "") -> Text:
    """A text with lines that end as here; ValueError if it is none."""
    if text is None or not is_text(text):
        raise ValueError("it is not a text")
    return Text(text.replace("\r\n", "\n").replace("\r", "\n"), assumed)


def is_text(text: str) -> bool:
    """Whether there are few control characters, as in all texts."""
    controls = sum(map(text.count, CONTROLS))  # A loop over a large file's letters takes seconds.
    return controls <= MOST_CONTROLS * len(text)
