"""How texts are drawn: kohya's and AUTOMATIC1111's switches, and hostile captions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ti_core.concept.caption_files import LONGEST_CAPTION, clean
from ti_core.concept.caption_settings import CaptionSettings, TrainingPosition, lacks, sample_text
from ti_core.concept.placeholder import contains_word
from ti_core.concept.templates import FILEWORDS, TEMPLATES
from ti_core.untrusted_text import depth

NOW = TrainingPosition(10, 1)
TAGS = st.lists(
    st.text("abcdefgh ", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=8
)
WORDINGS = st.builds(
    CaptionSettings,
    templates=st.sampled_from([(), ("a {}",), ("a photo of {}, [filewords]", "[filewords]")]),
    typed=st.booleans(),
    weights=st.booleans(),
    prefix=st.sampled_from(["", "pre"]),
    suffix=st.sampled_from(["", ", post"]),
    caption_dropout=st.sampled_from([0.0, 0.5, 1.0]),
    caption_dropout_epochs=st.integers(0, 3),
    lines=st.sampled_from(["join", "first", "draw"]),
    wildcards=st.booleans(),
    shuffle=st.booleans(),
    keep_tokens=st.integers(0, 3),
    keep_separator=st.sampled_from(["", "|||"]),
    secondary_separator=st.sampled_from(["", ";;;"]),
    tag_dropout=st.sampled_from([0.0, 0.3, 1.0]),
    warmup_steps=st.sampled_from([0, 20]),
    missing=st.sampled_from(["add", "error"]),
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(caption: str, caption_settings: CaptionSettings, count: int = 40) -> list[str]:
    """Texts of one image, one after the other."""
    stream = draws()
    return [
        sample_text(caption, caption_settings, "my-cat", n / count, NOW, stream)
        for n in range(count)
    ]


@settings(max_examples=100, deadline=None)
@given(TAGS, WORDINGS, st.integers(0, 99), st.floats(0, 0.999))
def test_every_text_says_the_placeholder(
    tags: list[str], caption_settings: CaptionSettings, seed: int, at: float
):
    assert contains_word(
        sample_text(", ".join(tags), caption_settings, "my-cat", at, NOW, draws(seed)), "my-cat"
    )


@settings(max_examples=30, deadline=None)
@given(TAGS.filter(lambda tags: len(tags) > 2), st.integers(1, 3), st.integers(0, 99))
def test_kept_tags_stay_in_front_whatever_is_shuffled_and_dropped(
    tags: list[str], kept: int, seed: int
):
    caption_settings = CaptionSettings(shuffle=True, keep_tokens=kept, tag_dropout=0.5)
    text = sample_text(", ".join(tags), caption_settings, "my-cat", 0.0, NOW, draws(seed))
    assert text.split(", ")[: 1 + kept] == ["my-cat", *tags[:kept]][: 1 + len(tags)]


@settings(max_examples=30, deadline=None)
@given(TAGS, st.integers(0, 99))
def test_shuffling_loses_and_adds_nothing(tags: list[str], seed: int):
    text = sample_text(
        ", ".join(tags), CaptionSettings(shuffle=True), "my-cat", 0.0, NOW, draws(seed)
    )
    assert sorted(text.split(", ")) == sorted([*tags, "my-cat"])


@settings(max_examples=40, deadline=None)
@given(TAGS, WORDINGS, st.integers(0, 99))
def test_the_same_seed_draws_the_same_sequence(
    tags: list[str], caption_settings: CaptionSettings, seed: int
):
    def sequence() -> list[str]:
        stream = draws(seed)
        text = ", ".join(tags)
        return [
            sample_text(text, caption_settings, "my-cat", n / 5, TrainingPosition(n, n), stream)
            for n in range(5)
        ]

    torch.rand(3)
    first = sequence()
    torch.rand(3)
    assert first == sequence()


@settings(max_examples=40, deadline=None)
@given(TAGS, WORDINGS)
def test_without_draws_a_text_is_always_the_same(
    tags: list[str], caption_settings: CaptionSettings
):
    caption = ", ".join(tags)
    assert sample_text(caption, caption_settings, "my-cat") == sample_text(
        caption, caption_settings, "my-cat"
    )


def test_the_switches_stand_in_kohyas_order():
    """Prefix and suffix take part in shuffling; the placeholder is written last."""
    caption_settings = CaptionSettings(prefix="pre,", suffix=", post", shuffle=True)
    texts = drawn("a {}, b", caption_settings)
    assert len(set(texts)) > 10
    assert all(sorted(text.split(", ")) == ["a my-cat", "b", "post", "pre"] for text in texts)


def test_keep_separator_keeps_both_ends_as_kohyas_document_shows():
    caption_settings = CaptionSettings(shuffle=True, keep_separator="|||")
    texts = drawn("aaa, {} ||| ccc, ddd, eee, fff ||| ggg, hhh", caption_settings)
    assert all(text.startswith("aaa, my-cat, ") and text.endswith(", ggg, hhh") for text in texts)
    assert len(set(texts)) > 5


def test_a_keep_separator_without_shuffling_leaves_no_trace():
    caption_settings = CaptionSettings(keep_separator="|||")
    assert sample_text("{}, b ||| c, d", caption_settings, "my-cat") == "my-cat, b, c, d"


def test_secondary_separators_hold_parts_together():
    caption_settings = CaptionSettings(shuffle=True, secondary_separator=";;;")
    assert all("x,y" in text for text in drawn("a, x;;;y, b, c", caption_settings))


def test_custom_separators_are_kept():
    texts = drawn("a;b;{}", CaptionSettings(shuffle=True, separator=";"))
    assert all(sorted(text.split("; ")) == ["a", "b", "my-cat"] for text in texts)


def test_tag_dropout_drops_its_share_but_never_the_word():
    caption_settings = CaptionSettings(tag_dropout=0.5)
    texts = drawn("a, b, c, [name] d", caption_settings, 400)
    assert all("my-cat d" in text for text in texts)
    share = sum(text.count(",") for text in texts) / 1200
    assert 0.4 < share < 0.6


def test_caption_dropout_leaves_the_word():
    texts = drawn("a, b", CaptionSettings(caption_dropout=0.5), 400)
    assert set(texts) == {"my-cat", "my-cat, a, b"}
    assert 150 < texts.count("my-cat") < 250


def test_captions_are_left_out_in_every_nth_round():
    caption_settings = CaptionSettings(caption_dropout_epochs=2)
    texts = [
        sample_text("a", caption_settings, "my-cat", 0, TrainingPosition(0, n), draws())
        for n in range(4)
    ]
    assert texts == ["my-cat, a", "my-cat", "my-cat, a", "my-cat"]


def test_tags_grow_with_the_steps():
    caption_settings = CaptionSettings(warmup_min=1, warmup_steps=10)
    texts = [
        sample_text("{}, b, c, d", caption_settings, "x", 0, TrainingPosition(s, 1), draws())
        for s in (0, 5, 10)
    ]
    assert texts == ["x", "x, b", "x, b, c, d"]
    two = replace(caption_settings, warmup_min=2)
    assert sample_text("{}, b, c, d", two, "x", 0, TrainingPosition(0, 1), draws()) == "x, b"


def test_wildcards_choose_and_double_braces_write_braces():
    texts = drawn("a {red|green} {} {{x}}", CaptionSettings(wildcards=True))
    assert set(texts) == {"a red my-cat {x}", "a green my-cat {x}"}


def test_one_line_of_several_is_joined_first_or_drawn():
    caption = "one {}\n\ntwo {}"
    assert sample_text(caption, CaptionSettings(), "x") == "one x two x"
    assert sample_text(caption, CaptionSettings(lines="first"), "x") == "one x"
    assert set(drawn(caption, CaptionSettings(lines="draw"))) == {"one my-cat", "two my-cat"}


def test_templates_and_captions_are_combined():
    caption_settings = CaptionSettings(TEMPLATES["object and captions"])
    assert sample_text("on a table", caption_settings, "my-cat") == "a photo of my-cat, on a table"
    assert sample_text("", caption_settings, "my-cat") == "a photo of my-cat"
    assert (
        sample_text("on [name]", CaptionSettings(("x, [filewords]",)), "my-cat") == "x, on my-cat"
    )


def test_without_filewords_a_template_takes_the_captions_place():
    assert sample_text("on a table", CaptionSettings(("a {}",)), "my-cat") == "a my-cat"


def test_a_template_is_drawn_anew_each_time():
    assert len(set(drawn("", CaptionSettings(TEMPLATES["object"]), 100))) == 27
    assert len(set(drawn("", CaptionSettings(TEMPLATES["style"]), 100))) == 19


@pytest.mark.parametrize("missing", ["add", "error"])
def test_every_drawn_text_says_the_word_whatever_is_asked_of_captions(missing: str):
    """A caption that says it may be dropped, or the line that is drawn may not be the one that
    says it; a text without the word teaches nothing, and alone in a batch it has no gradient.
    """
    caption = "a {} here\non grass"
    for switches in (
        {"caption_dropout": 1.0},
        {"caption_dropout_epochs": 1},
        {"lines": "draw"},
        {"wildcards": True, "lines": "first"},
        {"tag_dropout": 1.0},
    ):
        texts = drawn(caption, CaptionSettings(missing=missing, **switches))  # type: ignore[arg-type]
        assert all(contains_word(text, "my-cat") for text in texts)
    assert drawn(
        "a {}", CaptionSettings(("x [filewords]",), missing="error", caption_dropout=1.0), 1
    ) == ["my-cat, x"]


def test_a_missing_placeholder_is_put_in_front():
    assert sample_text("a catalog", CaptionSettings(), "my-cat") == "my-cat, a catalog"


def test_lacking_is_told_for_captions_and_templates():
    assert lacks("a catalog", CaptionSettings(), "cat")
    assert not lacks("a Cat", CaptionSettings(), "cat")
    assert not lacks("a catalog", CaptionSettings(("a {}",)), "cat")
    assert lacks("a catalog", CaptionSettings(("a {}", "x [filewords]")), "cat")
    assert not lacks("a catalog", CaptionSettings(prefix="[name]"), "cat")


def test_lacking_is_judged_by_the_lines_that_can_be_trained_with():
    caption = "a {}\non grass"
    assert not lacks(caption, CaptionSettings(lines="join"), "cat")
    assert not lacks(caption, CaptionSettings(lines="first"), "cat")
    assert lacks(caption, CaptionSettings(lines="draw"), "cat")
    assert lacks("on grass\na {}", CaptionSettings(lines="first"), "cat")
    assert not lacks(caption, CaptionSettings(("a {}, [filewords]",), lines="draw"), "cat")


def test_what_varies_is_known():
    """The audit warns of images that always have one and the same text."""
    assert not CaptionSettings().varies
    assert not CaptionSettings(("a {}",), prefix="x", lines="first").varies
    for switches in (
        {"templates": ("a {}", "b {}")},
        {"lines": "draw"},
        {"shuffle": True},
        {"wildcards": True},
        {"tag_dropout": 0.1},
        {"caption_dropout": 0.1},
        {"caption_dropout_epochs": 3},
        {"warmup_steps": 5},
    ):
        assert CaptionSettings(**switches).varies, switches  # type: ignore[arg-type]


def test_only_texts_with_a_place_for_captions_take_them():
    assert CaptionSettings().uses_captions
    assert CaptionSettings(("a {}", "a {}, [filewords]")).uses_captions
    assert not CaptionSettings(("a {}",)).uses_captions
    assert not CaptionSettings().for_kind("style").uses_captions
    assert CaptionSettings().for_kind("style and captions").uses_captions


def test_own_templates_go_before_those_of_the_kind():
    assert CaptionSettings(("x {}",)).for_kind("object").templates == ("x {}",)
    assert len(CaptionSettings().for_kind("style").templates) == 19


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
    caption_settings = CaptionSettings(
        typed=False, weights=True, wildcards=True, secondary_separator=";;;", separator=""
    )
    text = sample_text(caption, caption_settings, "my-cat", 0.0, NOW, draws())
    assert "embedding:" not in text.lower()
    assert "evil" in text


def test_prefix_and_suffix_are_read_like_prompts_beside_a_files_caption():
    """They are typed on Caption Options, the caption is a stranger's."""
    caption_settings = CaptionSettings(
        prefix="Embedding:film-look, embedding:film",
        suffix=r"(soft light:1.3) \(b\)",
        typed=False,
        shuffle=True,
        keep_tokens=9,
    )
    text = sample_text("{} embedding:evil (fate)", caption_settings, "x", 0.0, NOW, draws())
    assert text == (r"Embedding:film-look, embedding:film x evil \(fate\) (soft light:1.3) \(b\)")


@pytest.mark.parametrize(
    "caption",
    ["embedding\ufdd1:evil", "e\ufdd1mbedding:evil", "\ufdd1(a:2)", "\ufdd1embedding:\ufdd1evil"],
)
def test_a_file_cannot_pass_for_what_was_typed(caption: str):
    text = sample_text(f"{{}} {caption}", CaptionSettings(typed=False, prefix="(p:1.1)"), "x")
    assert text.startswith("(p:1.1) x ")
    assert "embedding:" not in text
    assert "(a:2)" not in text.replace(r"\(", "")
    assert "\ufdd1" not in text


def test_a_reference_without_a_name_before_a_files_caption_is_none():
    """`embedding:` at the end of a prefix would let the file say which."""
    assert sample_text(
        "evil", CaptionSettings(typed=False, prefix="{} embedding:"), "x"
    ).split() == [
        "x",
        "evil",
    ]


def test_typed_captions_may_name_other_embeddings():
    assert "embedding:other" in sample_text("{} in embedding:other", CaptionSettings(), "my-cat")


def test_the_placeholders_own_reference_works_everywhere():
    assert sample_text("a embedding:my-cat", CaptionSettings(typed=False), "my-cat") == "a my-cat"


@pytest.mark.parametrize("typed", [True, False])
def test_parentheses_that_the_host_would_fail_on_are_letters(typed: bool):
    """It calls itself for each one that is open (core sd1_clip.py:348)."""
    nested = "(" * 17 + "a" + ")" * 17
    text = sample_text(f"{{}} {nested}", CaptionSettings(typed=typed, weights=True), "x")
    assert text == "x " + r"\(" * 17 + "a" + r"\)" * 17
    flatter = nested[1:-1]
    assert (
        sample_text(f"{{}} {flatter}", CaptionSettings(typed=typed, weights=True), "x")
        == f"x {flatter}"
    )
    beside = "(a)" * 40
    assert (
        sample_text(f"{{}} {beside}", CaptionSettings(typed=typed, weights=True), "x")
        == f"x {beside}"
    )


def test_parentheses_of_files_are_letters_unless_weights_are_wanted():
    assert sample_text("{} (fate)", CaptionSettings(typed=False), "x") == r"x \(fate\)"
    assert sample_text(r"{} \(fate\)", CaptionSettings(typed=False), "x") == r"x \(fate\)"
    assert (
        sample_text("{} (red:1.2)", CaptionSettings(typed=False, weights=True), "x")
        == "x (red:1.2)"
    )
    assert sample_text("{} (red:1.2)", CaptionSettings(), "x") == "x (red:1.2)"


@settings(max_examples=100, deadline=None)
@given(st.text("(){}|[]\\,: embdingfilwors\0\n\ufdd1", max_size=300), WORDINGS, st.integers(0, 9))
def test_hostile_text_neither_fails_nor_names_embeddings(
    text: str, caption_settings: CaptionSettings, seed: int
):
    own = sample_text(
        text, replace(caption_settings, templates=()), "my-cat", 0.0, NOW, draws(seed)
    )
    assert depth(own) <= 16
    if not caption_settings.typed:
        assert "embedding:" not in own.lower()


@pytest.mark.parametrize(
    "part", ["(", ")", "{", "}", "{a|", "embedding:", "[filewords]", "{{", ";;;", "\n"]
)
def test_two_hundred_thousand_characters_are_no_trouble(part: str):
    caption = clean(part * (200_000 // len(part)))
    caption_settings = CaptionSettings(
        (f"a {{}} {FILEWORDS}",), typed=False, wildcards=True, shuffle=True, tag_dropout=0.1
    )
    text = sample_text(caption, caption_settings, "my-cat", 0.0, NOW, draws())
    assert len(text) < 4 * LONGEST_CAPTION
    assert depth(text) <= 16


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("a {{}|dog}", "a my-cat"),
        ("a {b {}}", "a b my-cat"),
        ("a {{} b|{} c}", "a my-cat b"),
        ("a {{{}}}", "a {my-cat}"),
        ("{{{b|c}}} {}", "{b} my-cat"),
        ("{} {b|c}}}", "my-cat b}"),
        ("{{}} {}", "{} my-cat"),
        ("{{b|c}} {}", "{b|c} my-cat"),
    ],
)
def test_a_slot_beside_the_braces_of_wildcards_is_the_word(caption: str, text: str):
    said = sample_text(caption, CaptionSettings(wildcards=True), "my-cat")
    assert str(said) == text
    assert [said[one.start : one.stop] for one in said.places] == ["my-cat"]
