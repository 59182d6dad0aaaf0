import pytest
import torch
from safetensors.torch import save_file
from sample_embeddings import embedding, rows

from ti_core.word.blending import average, blended, concatenate, slerp, subtract, with_fewer_vectors
from ti_core.word.embedding import Embedding
from ti_core.word.formats import read_embedding


def word(name: str, count: int, seed: int, width: int = 768) -> Embedding:
    vectors = {"clip_l": rows(count, width, seed)}
    return Embedding(
        name, name, vectors, {"clip_l": rows(count, width, seed + 50)}, {"steps": seed}
    )


FIRST, SECOND = word("cat", 2, 1), word("dog", 2, 2)


@pytest.mark.parametrize("mix", [average, slerp])
def test_the_ends_of_the_balance_are_the_words_themselves(mix):  # type: ignore[no-untyped-def]
    assert blended(FIRST, SECOND, mix(0.0), "x").vectors["clip_l"].equal(FIRST.vectors["clip_l"])
    assert blended(FIRST, SECOND, mix(1.0), "x").vectors["clip_l"].equal(SECOND.vectors["clip_l"])


def test_average_is_the_mean_and_slerp_keeps_the_length():
    a, b = FIRST.vectors["clip_l"], SECOND.vectors["clip_l"]
    torch.testing.assert_close(
        blended(FIRST, SECOND, average(0.5), "x").vectors["clip_l"], (a + b) / 2
    )
    middle = blended(FIRST, SECOND, slerp(0.5), "x").vectors["clip_l"]
    torch.testing.assert_close(middle.norm(dim=-1), (a.norm(dim=-1) + b.norm(dim=-1)) / 2)


def test_concatenate_says_both():
    made = blended(FIRST, SECOND, concatenate, "x")
    assert made.vectors["clip_l"].equal(
        torch.cat([FIRST.vectors["clip_l"], SECOND.vectors["clip_l"]])
    )
    assert (made.placeholder, made.initializer, made.count) == ("x", "cat dog", 4)


def test_subtract_removes_a_direction_at_the_firsts_length():
    both = blended(FIRST, SECOND, subtract(-1.0), "both")
    back = blended(both, SECOND, subtract(1.0), "back").vectors["clip_l"]
    first = FIRST.vectors["clip_l"]
    torch.testing.assert_close(back.norm(dim=-1), first.norm(dim=-1))
    kept = torch.cosine_similarity(back, first)
    assert (kept > torch.cosine_similarity(both.vectors["clip_l"], first)).all()


def test_subtract_takes_away_and_below_zero_adds():
    a, b = FIRST.vectors["clip_l"], SECOND.vectors["clip_l"]
    less = blended(FIRST, SECOND, subtract(0.5), "less").vectors["clip_l"]
    more = blended(FIRST, SECOND, subtract(-0.5), "more").vectors["clip_l"]
    torch.testing.assert_close(torch.cosine_similarity(less, a - b / 2), torch.ones(2))
    torch.testing.assert_close(torch.cosine_similarity(more, a + b / 2), torch.ones(2))


def test_words_of_different_length_are_levelled():
    made = blended(FIRST, word("bird", 4, 3), average(0.0), "x")
    assert made.vectors["clip_l"].equal(FIRST.vectors["clip_l"].repeat_interleave(2, 0))


def test_the_start_of_a_blend_is_the_blend_of_the_starts_if_both_are_known(tmp_path):  # type: ignore[no-untyped-def]
    made = blended(FIRST, SECOND, average(0.5), "x")
    torch.testing.assert_close(
        made.initial["clip_l"], (FIRST.initial["clip_l"] + SECOND.initial["clip_l"]) / 2
    )
    save_file({"emb_params": rows(2, 768)}, tmp_path / "a.safetensors")
    assert not blended(
        FIRST, read_embedding(tmp_path / "a.safetensors"), slerp(0.5), "x"
    ).has_origin


def test_a_blend_tells_what_it_was_made_of():
    made = blended(FIRST, SECOND, average(0.5), "x").provenance["blend_of"]
    assert made == [{"placeholder": "cat", "steps": 1}, {"placeholder": "dog", "steps": 2}]


def test_an_initializer_that_both_share_is_said_once():
    assert blended(FIRST, word("cat", 2, 3), average(0.5), "x").initializer == "cat"


def test_words_for_different_models_do_not_blend():
    with pytest.raises(
        ValueError, match=r"'cat' holds clip_l \(768 wide\), but 'my-cat' holds clip_l .*g"
    ):
        blended(FIRST, embedding(clip_l=768, clip_g=1280), average(0.5), "x")


def test_a_missing_second_word_is_an_error_unless_none_is_wanted():
    with pytest.raises(ValueError, match="Connect one, or choose the mode 'first only'"):
        blended(FIRST, None, average(0.5), "x")
    assert blended(FIRST, None, None, "x").placeholder == "x"


@pytest.mark.parametrize("how", ["merge", "prune"])
def test_shortening_joins_what_is_most_alike_and_keeps_the_order(how):  # type: ignore[no-untyped-def]
    base = rows(3, 768)
    vectors = torch.stack([base[0], base[1], base[0] * 1.01, base[2]])
    rows_of = {"clip_l": vectors}
    made = with_fewer_vectors(Embedding("x", "y", rows_of, rows_of, {"steps": 4}), 3, how)
    found = made.vectors["clip_l"]
    torch.testing.assert_close(found[0], base[0] * (1.0 if how == "prune" else 1.005))
    assert found[1:].equal(base[1:])
    assert made.initial["clip_l"].equal(found)
    assert made.provenance == {"steps": 4, "shortened": {"to": 3, "how": how}}


@pytest.mark.parametrize("how", ["merge", "prune"])
def test_shortening_reaches_one_vector_and_leaves_short_words_alone(how):  # type: ignore[no-untyped-def]
    assert with_fewer_vectors(word("x", 16, 4), 1, how).count == 1
    assert with_fewer_vectors(FIRST, 5, how).vectors["clip_l"].equal(FIRST.vectors["clip_l"])
    length = with_fewer_vectors(word("x", 16, 4), 1, how).vectors["clip_l"].norm()
    torch.testing.assert_close(length, rows(16, 768, 4).norm(dim=-1).mean(), rtol=0.1, atol=0.0)


def test_what_is_alike_is_told_by_direction_and_not_by_length():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [50.0, 50.0], [0.0, 90.0]])
    made = with_fewer_vectors(Embedding("x", "y", {"k": vectors}, {"k": vectors}), 3, "prune")
    assert made.vectors["k"].equal(vectors[[0, 2, 3]])


def test_merging_weighs_every_direction_alike():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    made = with_fewer_vectors(Embedding("x", "y", {"k": vectors}, {"k": vectors}), 1, "merge")
    torch.testing.assert_close(made.vectors["k"], torch.full((1, 2), 2.0 / 2**0.5))
