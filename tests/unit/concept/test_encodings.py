"""Which bytes are text, and in which encoding."""

import pytest

from ti_core.concept.encodings import text_of

FRENCH = "une photo de {} à l’hôtel, été"
JAPANESE = "公園で眠っている赤いねこ"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [FRENCH, JAPANESE, "a cat", ""])
def test_what_is_marked_or_utf_8_is_sure(text: str, encoding: str):
    assert text_of(text.encode(encoding)) == (text, "")


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (FRENCH, "cp1252", "Windows-1252"),
        ("a red cat", "utf-16-le", "UTF-16 without a mark"),
        (FRENCH, "utf-16-be", "UTF-16 without a mark"),
        (JAPANESE, "shift_jis", "Shift-JIS"),
    ],
)
def test_older_encodings_are_told_where_they_are_plain(text: str, encoding: str, name: str):
    assert text_of(text.encode(encoding)) == (text, name)


@pytest.mark.parametrize(
    "data",
    [
        "красный кот".encode("cp1251"),
        "紅色的貓在草地上".encode("big5"),
        JAPANESE.encode("utf-16-le"),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        b"\0" * 100,
        b"\xff\xfe\x00",
    ],
)
def test_other_bytes_are_not_guessed(data: bytes):
    with pytest.raises(ValueError, match="it is not"):
        text_of(data)
