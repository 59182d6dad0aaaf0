"""Fragments of captions, as users write them."""

import pytest

from ti_core.concept.fragments import Fragments, built_in_text, fragments_in

TEXT = """
# a comment
a photo of a [size] {} [place], [light]

[place]
on grass
  at   the beach
on grass
[size]
small
[ light ]
at night
"""


def test_a_text_is_read():
    # The order of the lists is that in which they are decided.
    found = fragments_in(TEXT.replace("[light]\n\n", "[ light ]\n\n"))
    assert found.sentence == "a photo of a [size] {} [place], [light]"
    assert found.slots == {
        "place": ("on grass", "at the beach"),
        "size": ("small",),
        "light": ("at night",),
    }


def test_a_byte_order_mark_and_windows_lines_change_nothing():
    assert fragments_in("\ufeff" + TEXT.replace("\n", "\r\n")) == fragments_in(TEXT)


@pytest.mark.parametrize(
    ("chosen", "caption"),
    [
        ({}, "a photo of a {}"),
        ({"size": "small"}, "a photo of a small {}"),
        ({"place": "on grass"}, "a photo of a {} on grass"),
        ({"light": "at night"}, "a photo of a {}, at night"),
        ({"place": "on grass", "light": "at night"}, "a photo of a {} on grass, at night"),
        ({"light": ""}, "a photo of a {}"),
    ],
)
def test_what_is_not_said_leaves_no_trace(chosen: dict[str, str], caption: str):
    assert fragments_in(TEXT).caption(chosen) == caption


def test_the_subject_is_put_in_last():
    assert Fragments("[a] {}", {"a": ("x",)}).caption({"a": "x"}, "[a] {}") == "x [a] {}"


def test_the_built_in_ones_are_some_forty_in_a_few_slots():
    found = fragments_in(built_in_text())
    assert {"background", "position", "size", "view", "light"} == set(found.slots)
    assert 35 <= sum(map(len, found.slots.values())) <= 50
    everything = {name: some[0] for name, some in found.slots.items()}
    assert found.caption(everything) == (
        "a photo of a small {} on the left on a white background in bright sunlight seen from above"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "There are no fragments"),
        ("# only a comment", "There are no fragments"),
        ("a photo of {}", "There are no slots below the sentence 'a photo of {}'"),
        ("a photo [x]\n[x]\none", "must contain {} once"),
        ("{} and {} [x]\n[x]\none", "must contain {} once"),
        ("{ {} [x]\n[x]\none", "no other brace"),
        ("{} [x] [y]\n[x]\none", "only those that have fragments below: x"),
        ("{} [x] [x]\n[x]\none", "must contain each slot once"),
        ("{} [x]\n[x]\none\n[y]\ntwo", r"no place for \[y\]"),
        ("{} [x]\n[x]\none\n[x]\ntwo", r"two lists of \[x\]"),
        ("{} [x]\n[x]\n[y]\none", r"only those that have fragments below|no fragments|no place"),
        ("{} [x]\n[x]\n# nothing", r"\[x\] has no fragments"),
        ("{} [x]\none\n[x]\ntwo", "The line 'one' belongs to no slot"),
        ("{} [x]\n[x]\na {}", "contains a bracket"),
        ("{} [x]\n[x]\na [b] c", "contains a bracket"),
        ("{} [x]\n[x]\n" + "a" * 201, "longer than 200"),
        ("{} [x]\n[x]\n" + "\n".join(map(str, range(501))), "501 fragments"),
    ],
)
def test_a_text_that_is_none_is_refused(text: str, why: str):
    with pytest.raises(ValueError, match=why):
        fragments_in(text)
