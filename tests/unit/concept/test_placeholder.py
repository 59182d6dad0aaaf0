import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.placeholder import (
    contains_word,
    lacks_placeholder,
    near_miss,
    places,
    weighted,
    with_placeholder,
)
from ti_core.concept.templates import OBJECT_TEMPLATES, STYLE_TEMPLATES


def marked(text: str, *words: str) -> str:
    """The text with `<>` in each place of a word, with the number of the word where there are
    several.
    """
    pieces, end = [], 0
    for start, stop, word in places(text, words):
        number = str(words.index(word)) if len(words) > 1 else ""
        pieces += [text[end:start], f"<{number}>"]
        end = stop
    return "".join([*pieces, text[end:]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of my-cat", "a photo of <>"),
        ("(my-cat:1.2)", "(<>:1.2)"),
        ("a,my-cat", "a,<>"),
        ("my-cat, my-cat", "<>, <>"),
        ("a photo of embedding:my-cat", "a photo of embedding:<>"),
        ("(embedding:my-cat:1.2) runs", "(embedding:<>:1.2) runs"),
        ("Here is My-Cat.", "Here is <>."),
        ("embedding:my-cat.", "embedding:<>."),
        ("my-cat's toy", "<>'s toy"),
        ("[my-cat]", "[<>]"),
        ("...my-cat", "...<>"),
    ],
)
def test_the_word_is_found_as_a_person_writes_it(text: str, expected: str):
    assert marked(text, "my-cat") == expected


@pytest.mark.parametrize(
    "text",
    [
        "my-cats",
        "my-cat-2",
        "not-my-cat",
        "my-cat.v2",
        "v2.my-cat",
        "xmy-cat",
        "my_cat",
        "embedding:pets/my-cat",
        "embedding:my-cat-2",
        "embedding:other",
        "émy-cat",
    ],
)
def test_other_words_are_left_alone(text: str):
    assert not contains_word(text, "my-cat")


def test_the_longest_word_wins():
    assert marked("my-cat.v2 and my-cat", "my-cat", "my-cat.v2") == "<1> and <0>"
    assert marked("my-cat..v2", "my-cat", "my-cat..v2") == "<1>"
    assert marked("一只大猫王和大猫", "大猫", "大猫王") == "一只<1>和<0>"


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_text_without_the_word_is_unchanged(text: str):
    if "zqxj" not in text.lower():
        assert not contains_word(text, "zqxj")


def test_slots_are_filled():
    for caption in ("a {} here", "a [name] here", "a [trigger] here", "a my-cat here"):
        assert with_placeholder(caption, "my-cat") == "a my-cat here"


def test_a_missing_placeholder_is_put_in_front():
    assert with_placeholder("on a table", "my-cat") == "my-cat, on a table"
    assert with_placeholder(" ", "my-cat") == "my-cat"
    assert with_placeholder("my-cats", "my-cat") == "my-cat, my-cats"


def test_lacking_captions_are_told_apart():
    assert lacks_placeholder("on a table", "my-cat")
    assert not lacks_placeholder("{} on a table", "my-cat")
    assert not lacks_placeholder("My-Cat on a table", "my-cat")


def test_every_template_says_the_word_once():
    for template in (*OBJECT_TEMPLATES, *STYLE_TEMPLATES):
        assert with_placeholder(template, "my-cat").count("my-cat") == 1
    assert len(set(OBJECT_TEMPLATES)) == 27
    assert len(set(STYLE_TEMPLATES)) == 19


@pytest.mark.parametrize(
    "text", ["<|im_start|>{}\n", "<|start_header_id|>{}<|", "<|{}|>", "<|turn>{}"]
)
def test_a_speaker_of_a_chat_template_is_no_word(text: str):
    said = text.format("user")
    assert marked(said + " a user", "user") == said + " a <>"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("a (my-cat:1.2) here", True),
        ("a (big My-Cat : .8)", True),
        ("a my-cat (in a box:1.2)", False),
        ("a (my-cat) at 1:1.2", False),
        (r"a \(my-cat:1.2\)", False),
        ("(my-cats:1.2)", False),
    ],
)
def test_a_weight_of_the_word_is_seen(text: str, given: bool):
    assert weighted(text, "my-cat") == given


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a photo of my cat on a beach", "my cat"),
        ("my_cat, sitting", "my_cat"),
        ("a mycat", "mycat"),
        ("a photo of my-cats", "my-cats"),
        ("A MY-CTA", "MY-CTA"),
        ("a dog on a beach", ""),
        ("", ""),
    ],
)
def test_what_may_have_been_meant_as_the_word_is_found(text: str, meant: str):
    assert near_miss(text, "my-cat") == meant


def test_a_prompt_without_end_is_searched_at_its_start_alone():
    assert near_miss("x " * 100_000 + "my cat", "my-cat") == ""
