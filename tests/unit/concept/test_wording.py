"""How texts are drawn: kohya's and AUTOMATIC1111's switches, and hostile captions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.placeholder import says
from ti_core.concept.templates import FILEWORDS, TEMPLATES
from ti_core.concept.wording import Moment, Wording, depth, lacks, worded

NOW = Moment(10, 1)
TAGS = st.lists(
    st.text("abcdefgh ", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=8
)
WORDINGS = st.builds(
    Wording,
    templates=st.sampled_from([(), ("a {}",), ("a photo of {}, [filewords]", "[filewords]")]),
    typed=st.booleans(),
    weights=st.booleans(),
    prefix=st.sampled_from(["", "pre"]),
    suffix=st.sampled_from(["", ", post"]),
    caption_dropout=st.sampled_from([0.0, 0.5, 1.0]),
    caption_dropout_rounds=st.integers(0, 3),
    lines=st.sampled_from(["join", "first", "draw"]),
    wildcards=st.booleans(),
    shuffle=st.booleans(),
    keep_tokens=st.integers(0, 3),
    keep_separator=st.sampled_from(["", "|||"]),
    secondary_separator=st.sampled_from(["", ";;;"]),
    tag_dropout=st.sampled_from([0.0, 0.3, 1.0]),
    warmup_steps=st.sampled_from([0, 20]),
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(caption: str, wording: Wording, count: int = 40) -> list[str]:
    """Texts of one picture, one after the other."""
    stream = draws()
    return [worded(caption, wording, "my-cat", n / count, NOW, stream) for n in range(count)]


@given(TAGS, WORDINGS, st.integers(0, 99), st.floats(0, 0.999))
def test_every_text_says_the_placeholder(tags: list[str], wording: Wording, seed: int, at: float):
    assert says(worded(", ".join(tags), wording, "my-cat", at, NOW, draws(seed)), "my-cat")


@given(TAGS.filter(lambda tags: len(tags) > 2), st.integers(1, 3), st.integers(0, 99))
def test_kept_tags_stay_in_front_whatever_is_shuffled_and_dropped(
    tags: list[str], kept: int, seed: int
):
    wording = Wording(shuffle=True, keep_tokens=kept, tag_dropout=0.5, missing="leave")
    text = worded(", ".join(tags), wording, "my-cat", 0.0, NOW, draws(seed))
    assert text.split(", ")[: min(kept, len(tags))] == tags[:kept]


@given(TAGS, st.integers(0, 99))
def test_shuffling_loses_and_adds_nothing(tags: list[str], seed: int):
    wording = Wording(shuffle=True, missing="leave")
    text = worded(", ".join(tags), wording, "my-cat", 0.0, NOW, draws(seed))
    assert sorted(text.split(", ") if text else []) == sorted(tags)


@given(TAGS, WORDINGS, st.integers(0, 99))
def test_the_same_seed_draws_the_same_sequence(tags: list[str], wording: Wording, seed: int):
    def sequence() -> list[str]:
        stream = draws(seed)
        text = ", ".join(tags)
        return [worded(text, wording, "my-cat", n / 5, Moment(n, n), stream) for n in range(5)]

    torch.rand(3)
    first = sequence()
    torch.rand(3)
    assert first == sequence()


@given(TAGS, WORDINGS)
def test_without_draws_a_text_is_always_the_same(tags: list[str], wording: Wording):
    caption = ", ".join(tags)
    assert worded(caption, wording, "my-cat") == worded(caption, wording, "my-cat")


def test_the_switches_stand_in_kohyas_order():
    """Prefix and suffix take part in shuffling; the placeholder is written last."""
    wording = Wording(prefix="pre,", suffix=", post", shuffle=True, missing="leave")
    texts = drawn("a {}, b", wording)
    assert len(set(texts)) > 10
    assert all(sorted(text.split(", ")) == ["a my-cat", "b", "post", "pre"] for text in texts)


def test_keep_separator_keeps_both_ends_as_kohyas_document_shows():
    wording = Wording(shuffle=True, keep_separator="|||", missing="leave")
    texts = drawn("aaa, bbb ||| ccc, ddd, eee, fff ||| ggg, hhh", wording)
    assert all(text.startswith("aaa, bbb, ") and text.endswith(", ggg, hhh") for text in texts)
    assert len(set(texts)) > 5


def test_a_keep_separator_without_shuffling_leaves_no_trace():
    wording = Wording(keep_separator="|||", missing="leave")
    assert worded("a, b ||| c, d", wording, "my-cat") == "a, b, c, d"


def test_secondary_separators_hold_parts_together():
    wording = Wording(shuffle=True, secondary_separator=";;;", missing="leave")
    assert all("x,y" in text for text in drawn("a, x;;;y, b, c", wording))


def test_custom_separators_are_kept():
    texts = drawn("a;b;c", Wording(shuffle=True, separator=";", missing="leave"))
    assert all(sorted(text.split("; ")) == ["a", "b", "c"] for text in texts)


def test_tag_dropout_drops_its_share_but_never_the_word():
    wording = Wording(tag_dropout=0.5, missing="leave")
    texts = drawn("a, b, c, [name] d", wording, 400)
    assert all("my-cat d" in text for text in texts)
    share = sum(text.count(",") for text in texts) / 1200
    assert 0.4 < share < 0.6


def test_caption_dropout_leaves_the_word():
    texts = drawn("a, b", Wording(caption_dropout=0.5), 400)
    assert set(texts) == {"my-cat", "my-cat, a, b"}
    assert 150 < texts.count("my-cat") < 250


def test_captions_are_left_out_in_every_nth_round():
    wording = Wording(caption_dropout_rounds=2)
    texts = [worded("a", wording, "my-cat", 0, Moment(0, n), draws()) for n in range(4)]
    assert texts == ["my-cat", "my-cat, a", "my-cat", "my-cat, a"]


def test_tags_grow_with_the_steps():
    wording = Wording(warmup_min=1, warmup_steps=10, missing="leave")
    texts = [worded("a, b, c, d", wording, "x", 0, Moment(s, 1), draws()) for s in (0, 5, 10)]
    assert texts == ["a", "a, b", "a, b, c, d"]


def test_wildcards_choose_and_double_braces_write_braces():
    texts = drawn("a {red|green} {} {{x}}", Wording(wildcards=True))
    assert set(texts) == {"a red my-cat {x}", "a green my-cat {x}"}


def test_one_line_of_several_is_joined_first_or_drawn():
    caption = "one {}\n\ntwo {}"
    assert worded(caption, Wording(), "x") == "one x two x"
    assert worded(caption, Wording(lines="first"), "x") == "one x"
    assert set(drawn(caption, Wording(lines="draw"))) == {"one my-cat", "two my-cat"}


def test_templates_and_captions_are_combined():
    wording = Wording(TEMPLATES["object and captions"])
    assert worded("on a table", wording, "my-cat") == "a photo of my-cat, on a table"
    assert worded("", wording, "my-cat") == "a photo of my-cat"
    assert worded("on [name]", Wording(("x, [filewords]",)), "my-cat") == "x, on my-cat"


def test_without_filewords_a_template_takes_the_captions_place():
    assert worded("on a table", Wording(("a {}",)), "my-cat") == "a my-cat"


def test_a_template_is_drawn_anew_each_time():
    assert len(set(drawn("", Wording(TEMPLATES["object"]), 100))) == 27
    assert len(set(drawn("", Wording(TEMPLATES["style"]), 100))) == 19


@pytest.mark.parametrize(
    ("missing", "text"), [("add", "my-cat, a catalog"), ("leave", "a catalog")]
)
def test_a_missing_placeholder_is_added_or_left(missing: str, text: str):
    assert worded("a catalog", Wording(missing=missing), "my-cat") == text  # type: ignore[arg-type]


def test_lacking_is_told_for_captions_and_templates():
    assert lacks("a catalog", Wording(), "cat")
    assert not lacks("a Cat", Wording(), "cat")
    assert not lacks("a catalog", Wording(("a {}",)), "cat")
    assert lacks("a catalog", Wording(("a {}", "x [filewords]")), "cat")
    assert not lacks("a catalog", Wording(prefix="[name]"), "cat")


@pytest.mark.parametrize(
    "caption",
    [
        "embedding:evil",
        "EMBEDDING:evil",
        "x embedding: evil",
        "embedembedding:ding:evil",
        "embed{ding:evil|ding:evil}",
        "(embedding:evil:1.2)",
        "a\nembedding:evil",
        "embed;;;ding:evil",
    ],
)
def test_captions_of_files_cannot_name_other_embeddings(caption: str):
    wording = Wording(
        typed=False, weights=True, wildcards=True, secondary_separator=";;;", separator=""
    )
    text = worded(caption, wording, "my-cat", 0.0, NOW, draws())
    assert "embedding:" not in text.lower()
    assert "evil" in text


def test_typed_captions_may_name_other_embeddings():
    assert "embedding:other" in worded("{} in embedding:other", Wording(), "my-cat")


def test_the_placeholders_own_reference_works_everywhere():
    assert worded("a embedding:my-cat", Wording(typed=False), "my-cat") == "a my-cat"


def test_parentheses_of_files_are_letters_unless_weights_are_wanted():
    assert worded("{} (fate)", Wording(typed=False), "x") == r"x \(fate\)"
    assert worded(r"{} \(fate\)", Wording(typed=False), "x") == r"x \(fate\)"
    assert worded("{} (red:1.2)", Wording(typed=False, weights=True), "x") == "x (red:1.2)"
    assert worded("{} (red:1.2)", Wording(), "x") == "x (red:1.2)"


@given(st.text("(){}|[]\\,: embdingfilwors\0\n", max_size=300), WORDINGS, st.integers(0, 9))
def test_hostile_text_neither_fails_nor_names_embeddings(text: str, wording: Wording, seed: int):
    own = worded(text, replace(wording, templates=()), "my-cat", 0.0, NOW, draws(seed))
    assert depth(own) <= 16
    if not wording.typed:
        assert "embedding:" not in own.lower()


@settings(deadline=None)
@given(st.sampled_from(["(", ")", "{", "}", "{a|", "embedding:", "[filewords]", "{{", ";;;", "\n"]))
def test_two_hundred_thousand_characters_are_no_trouble(part: str):
    from ti_core.concept.caption_files import LONGEST_CAPTION, clean

    caption = clean(part * (200_000 // len(part)))
    wording = Wording(
        (f"a {{}} {FILEWORDS}",), typed=False, wildcards=True, shuffle=True, tag_dropout=0.1
    )
    text = worded(caption, wording, "my-cat", 0.0, NOW, draws())
    assert len(text) < 4 * LONGEST_CAPTION
    assert depth(text) <= 16
