"""Words that stand for vectors, in the host's real tokenizers and encoders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from sample_embeddings import write  # pyright: ignore[reportMissingImports]
from small import (
    Loaded,
    small_chroma,
    small_flux,
    small_qwen_image,
    small_sdxl,
    small_zimage,
    word,
)
from torch import Tensor

from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.text import Word, apply_embedding, create_embedding, encoders, with_word
from ti_core.word.embedding import Embedding

FILE = "ti-test-conditioning"


def learned(clip: CLIP, vectors: int = 2) -> Embedding:
    """A word whose vectors differ from its initializer's."""
    draws = torch.Generator().manual_seed(9)
    made = word(clip, vectors)
    rows = {
        key: rows + 0.1 * torch.randn(rows.shape, generator=draws)
        for key, rows in made.vectors.items()
    }
    return Embedding(made.placeholder, made.initializer, rows, made.initial)


def spliced(clip: CLIP, text: str, key: str = "l") -> list[tuple[Tensor, float]]:
    """The vectors that a prompt brings to an encoder, with their weights."""
    tokens = clip.tokenize(text)[key]
    return [(token, weight) for part in tokens for token, weight in part if torch.is_tensor(token)]


@pytest.mark.parametrize(
    ("text", "count", "weight"),
    [
        ("a photo of my-cat", 1, 1.0),
        ("(my-cat:1.2)", 1, 1.2),
        ("a,my-cat", 1, 1.0),
        ("a, my-cat, on a table", 1, 1.0),
        ("my-cat and my-cat", 2, 1.0),
        ("My-Cat", 1, 1.0),
        ("a photo of embedding:my-cat", 1, 1.0),
        ("(embedding:my-cat:0.5) sits", 1, 0.5),
        ("((my-cat))", 1, 1.1**2),
        ("my-cats and not-my-cat and my-cat-2", 0, 1.0),
    ],
)
def test_the_word_brings_its_vectors_in_order(loaded: Loaded, text: str, count: int, weight: float):
    made = learned(loaded.clip)
    found = spliced(apply_embedding(loaded.clip, made, 1.0), text)
    assert [w for _, w in found] == pytest.approx([weight] * 2 * count)
    for index, (row, _) in enumerate(found):
        assert row.equal(made.vectors["clip_l"][index % 2])


def test_the_rest_of_the_prompt_is_tokenized_as_before(loaded: Loaded):
    made = learned(loaded.clip, 1)
    with_it = apply_embedding(loaded.clip, made, 1.0).tokenize("a photo of my-cat, on a table")["l"]
    without = loaded.clip.tokenize("a photo of cat, on a table")["l"]
    ids = [49407 + 9 if torch.is_tensor(token) else token for token, _ in with_it[0]]
    cat = encoders(loaded.clip)["clip_l"].token_ids("cat")[0]
    assert ids == [49407 + 9 if token == cat else token for token, _ in without[0]]


def test_the_given_clip_is_untouched(loaded: Loaded):
    tokenizer, part = loaded.clip.tokenizer, loaded.clip.tokenizer.clip_l
    before = loaded.clip.tokenize("a photo of my-cat")
    apply_embedding(loaded.clip, learned(loaded.clip), 1.0)
    assert loaded.clip.tokenizer is tokenizer
    assert tokenizer.clip_l is part
    assert type(part).__name__ == "SDTokenizer"
    assert loaded.clip.tokenize("a photo of my-cat") == before


def test_words_stack_and_the_longest_wins(loaded: Loaded):
    clip = loaded.clip
    for number, name in enumerate(("cat-x", "cat-x.v2", "dog-y")):
        clip = with_word(clip, name, Word("thing", {"clip_l": torch.full((1, 768), float(number))}))
    found = spliced(clip, "dog-y, cat-x.v2, cat-x")
    assert [float(row[0]) for row, _ in found] == [2.0, 1.0, 0.0]


def test_an_encoder_without_vectors_sees_the_initializer():
    clip = small_sdxl()[1]
    whole = learned(clip)
    part = Embedding("my-cat", "cat", {"clip_l": whole.vectors["clip_l"]}, whole.initial)
    applied = apply_embedding(clip, part, 1.0)
    assert len(spliced(applied, "a photo of my-cat", "l")) == 2
    assert applied.tokenize("a photo of my-cat")["g"] == clip.tokenize("a photo of cat")["g"]
    assert applied.tokenize("(embedding:my-cat:1.2)")["g"] == clip.tokenize("(cat:1.2)")["g"]


@pytest.mark.parametrize("family", [small_sdxl, small_flux])
def test_every_encoder_gets_vectors_of_its_width(family):  # type: ignore[no-untyped-def]
    clip = family()[1]
    made = create_embedding(clip, "my-cat", "striped cat", 0)
    for key, encoder in encoders(clip).items():
        ids = encoder.token_ids("striped cat")
        assert made.vectors[key].shape == (len(ids), encoder.width)
        assert made.vectors[key].equal(encoder.rows(ids))


def condition(clip: CLIP, text: str) -> Tensor:
    """As CLIPTextEncode does it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]


@pytest.mark.parametrize("text", ["a photo of {}", "a ({}:1.3), on a table", "{}"])
def test_training_apply_and_file_give_the_same_conditioning(loaded: Loaded, text: str):
    """Difference 0.0 between the three ways."""
    model, clip, _ = loaded
    made = learned(clip)
    with borrowed(model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        trained = [
            frozen.encode([text.format("my-cat")], made.vectors)[0]["cross_attn"].detach(),
        ]
        with frozen.differentiable():
            live = {key: rows.clone().requires_grad_() for key, rows in made.vectors.items()}
            trained.append(frozen.encode([text.format("my-cat")], live)[0]["cross_attn"].detach())
    applied = condition(apply_embedding(clip, made, 1.0), text.format("my-cat"))
    by_file = from_file(clip, made, text.format(f"embedding:{FILE}"))
    assert (applied - by_file).abs().max() == 0.0
    assert all((applied - conditioning).abs().max() == 0.0 for conditioning in trained)
    assert not applied.equal(condition(clip, text.format("cat")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "reads_files"),
    [(small_chroma, True), (small_zimage, True), (small_qwen_image, False)],
)
def test_other_text_encoders_give_the_same_in_training_applied_and_from_a_file(
    family: Callable[[], tuple[ModelPatcher, CLIP]], reads_files: bool
):
    """Difference 0.0: a bare word in training and applied, a reference applied and as a file; and
    the initializer's own vectors are the initializer.
    """
    model, clip = family()
    untrained, made = word(clip, 1), learned(clip)
    text = "a photo of {}, on a table"
    started = apply_embedding(clip, untrained, 1.0)
    assert condition(started, text.format("my-cat")).equal(condition(clip, text.format("cat")))
    with borrowed(model, clip, made, (16, 8, 8), BorrowSettings(1)) as frozen:
        trained = frozen.encode([text.format("my-cat")], made.vectors)[0]["cross_attn"].detach()
    applied = apply_embedding(clip, replace(made, placeholder=FILE), 1.0)
    assert condition(applied, text.format(FILE)).equal(trained)
    if reads_files:
        by_name = text.format(f"embedding:{FILE}")
        assert condition(applied, by_name).equal(from_file(clip, made, by_name))


@pytest.mark.slow
def test_without_a_start_strength_of_a_language_model_begins_at_a_word_that_says_nothing():
    clip = small_zimage()[1]
    made = learned(clip, 1)
    unknown = replace(made, initial={"qwen3_4b": torch.zeros(1, 2560)})
    text = "a photo of my-cat on a table"
    none, half, full = (
        condition(apply_embedding(clip, unknown, strength), text) for strength in (0.0, 0.5, 1.0)
    )
    assert none.equal(condition(clip, "a photo of the on a table"))
    assert full.equal(condition(apply_embedding(clip, made, 1.0), text))
    assert 0.0 < (half - none).norm() < 1.01 * (full - none).norm()
    with pytest.raises(ValueError, match="contains a token that qwen3_4b uses to mark"):
        create_embedding(clip, "my-cat", "cat<|im_end|>", 1)


def from_file(clip: CLIP, made: Embedding, text: str) -> Tensor:
    """The conditioning of a text that names the file of a word, without us."""
    path = Path(folder_paths.get_folder_paths("embeddings")[0]) / FILE
    try:
        write(path, made, "standard")
        return condition(clip, text)
    finally:
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def test_clip_skip_is_in_force_while_training(loaded: Loaded):
    clip = loaded.clip.clone()
    clip.clip_layer(-2)
    made = learned(clip)
    with borrowed(loaded.model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        trained = frozen.encode(["a my-cat"], made.vectors)[0]["cross_attn"]
    assert trained.equal(condition(apply_embedding(clip, made, 1.0), "a my-cat"))
    assert not trained.equal(condition(apply_embedding(loaded.clip, made, 1.0), "a my-cat"))


def test_a_word_trains_beside_words_that_the_clip_knows(loaded: Loaded):
    other = Embedding("red-dog", "dog", {"clip_l": torch.ones(1, 768) / 50}, {})
    clip = with_word(loaded.clip, "red-dog", Word("dog", other.vectors))
    made = learned(clip)
    with borrowed(loaded.model, clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        both = frozen.encode(["my-cat and red-dog"], made.vectors)[0]["cross_attn"]
        alone = frozen.encode(["my-cat and dog"], made.vectors)[0]["cross_attn"]
    assert both.equal(condition(apply_embedding(clip, made, 1.0), "my-cat and red-dog"))
    assert not both.equal(alone)


def test_strength_zero_is_the_initializer(loaded: Loaded):
    made = learned(loaded.clip, 1)
    applied = apply_embedding(loaded.clip, made, 0.0)
    assert condition(applied, "a my-cat").equal(condition(loaded.clip, "a cat"))


def test_a_width_mismatch_names_both_sides(loaded: Loaded):
    made = word(small_sdxl()[1])
    with pytest.raises(
        ValueError, match=r"clip_g \(1280 wide\).*this CLIP has clip_l \(768 wide\)"
    ):
        apply_embedding(loaded.clip, made, 1.0)


def test_an_initializer_without_tokens_is_an_error(loaded: Loaded):
    with pytest.raises(ValueError, match="has no tokens"):
        create_embedding(loaded.clip, "my-cat", "", 1)


def test_a_placeholder_that_prompts_cannot_carry_is_an_error(loaded: Loaded):
    with pytest.raises(ValueError, match="letters"):
        create_embedding(loaded.clip, "my cat", "cat", 1)


def test_the_vocabularys_norm_is_its_mean(loaded: Loaded):
    table = loaded.clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    expected = float(table.float().norm(dim=-1).mean())
    assert encoders(loaded.clip)["clip_l"].vocabulary_norm() == pytest.approx(expected, rel=1e-5)
