import pytest
import torch

from ti_core.word.embedding import Embedding, blend, check_placeholder, initial_rows


@pytest.mark.parametrize("name", ["my-cat", "sks", "x", "style.v2", "_a_", "3d-cat", "Cat_9"])
def test_names_that_prompts_can_carry_are_accepted(name: str):
    check_placeholder(name)


@pytest.mark.parametrize(
    "name",
    [
        *("大猫", "кошка", "ä", "café", "cafe\u0301", "猫-v2", "고양이", "แมว", "बिल्ली", "قطة"),
        *("ねこ_1", "ΓΆΤΑ", "İstanbul", "Straße", "می\u200cخواهم", "ශ්\u200dරී"),
    ],
)
def test_words_of_any_script_are_accepted(name: str):
    check_placeholder(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "大 猫",
            "大猫，",
            "（猫）",
            "猫：1",
            "大\u3000猫",
            "my\u200bcat",
            "cat\u200d",
            "\u0301cat",
        ),
        *("\ue000x", "\U000f0000", "\ufdd0", "cat\ufeff", "🐱", "猫/狗", "猫" * 65, "\u202ecat"),
    ],
)
def test_what_ends_a_word_or_cannot_be_seen_is_refused_in_any_script(name: str):
    with pytest.raises(ValueError, match="letters of any script"):
        check_placeholder(name)


@pytest.mark.parametrize(
    "name",
    ["", "my cat", "-cat", "cat-", "cat.", "a,b", "(cat)", "a/b", "a:b", "<cat>", "c" * 65],
)
def test_names_that_prompts_cannot_carry_are_refused_with_the_rule(name: str):
    with pytest.raises(ValueError, match="letters"):
        check_placeholder(name)


@pytest.mark.parametrize("name", ["1.5", "7", "1e5", "inf", "NaN", "１２", "٣"])
def test_numbers_are_refused_because_they_read_as_weights(name: str):
    with pytest.raises(ValueError, match="prompt weight"):
        check_placeholder(name)


def test_the_initializer_is_repeated_over_more_vectors_and_averaged_over_fewer():
    tokens = torch.arange(6.0).view(3, 2)
    assert initial_rows(tokens, 3).equal(tokens)
    assert initial_rows(tokens, 6).equal(tokens.repeat_interleave(2, 0))
    assert initial_rows(tokens, 1).equal(tokens.mean(0, keepdim=True))
    assert initial_rows(tokens, 2).equal(torch.stack([tokens[:2].mean(0), tokens[2]]))


def test_strength_is_exact_at_its_ends_and_on_the_sphere_between():
    start, end = torch.randn(3, 8), torch.randn(3, 8)
    assert blend(start, end, 0.0) is start
    assert blend(start, end, 1.0) is end
    half = blend(start, end, 0.5)
    norms = (start.norm(dim=-1) + end.norm(dim=-1)) / 2
    torch.testing.assert_close(half.norm(dim=-1), norms)
    torch.testing.assert_close(
        torch.cosine_similarity(half, start), torch.cosine_similarity(half, end)
    )


def test_strength_of_an_untrained_word_changes_nothing():
    rows = torch.randn(2, 8)
    torch.testing.assert_close(blend(rows, rows.clone(), 0.3), rows)


def test_beyond_one_goes_on_in_the_same_direction():
    start, end = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]) / 2**0.5
    torch.testing.assert_close(blend(start, end, 2.0), torch.tensor([[0.0, 1.0]]))


def test_an_embedding_counts_its_longest_encoder():
    rows = {"clip_l": torch.zeros(2, 3), "t5xxl": torch.zeros(4, 5)}
    assert Embedding("a", "b", rows, rows).count == 4


def test_without_a_known_start_strength_scales_the_length():
    rows = torch.randn(2, 8)
    found = Embedding("a", "b", {"clip_l": rows}, {"clip_l": torch.zeros(2, 8)})
    assert not found.has_origin
    for strength in (0.0, 0.3, 1.0, 1.5):
        torch.testing.assert_close(found.at_strength(strength)["clip_l"], strength * rows)


def test_a_start_is_known_if_any_vector_of_it_is():
    rows = {"clip_l": torch.zeros(2, 3), "t5xxl": torch.ones(1, 5)}
    assert Embedding("a", "b", rows, rows).has_origin


def test_a_length_ends_at_nothing_and_does_not_turn_round():
    start, end = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert blend(start, end, -1.0).equal(torch.zeros(1, 2))
    assert blend(end, start, 2.0).equal(torch.zeros(1, 2))


def test_a_word_without_vectors_is_approached_along_its_own_direction():
    rows = torch.randn(2, 8)
    torch.testing.assert_close(blend(rows, torch.zeros(2, 8), 0.25), 0.75 * rows)
