import re

import pytest

from ti_core.word.families import (
    check_fit,
    family,
    host_reading,
    in_order,
    key_of,
    missing_half,
)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("clip_l", "SD 1.x"),
        ("clip_h", "SD 2.x"),
        ("clip_l clip_g", "SDXL"),
        ("clip_l clip_g t5xxl", "SD 3"),
        ("clip_l t5xxl", "Flux.1"),
        ("t5xxl", "models with T5-XXL (Flux.1, SD 3, Chroma, PixArt)"),
        ("qwen3_4b", "Z-Image and Flux.2 klein 4B"),
        ("qwen3_06b", "Anima"),
        ("qwen3vl_32b", "MiniMax H3"),
        ("mt5xl chinese_roberta", "HunyuanDiT"),
        ("umt5xxl", "Wan"),
        ("clip_l byt5", "models with the text encoders clip_l+byt5"),
    ],
)
def test_families_are_known_by_their_encoders(keys: str, name: str):
    assert family(dict.fromkeys(keys.split())).name == name


def test_a_misfit_names_both_sides_and_the_fitting_checkpoint():
    held = {"clip_l": 768, "clip_g": 1280}
    with pytest.raises(
        ValueError, match=r"'x' holds .*clip_g \(1280 wide\).*fits SDXL.*for SD 1.x"
    ):
        check_fit("x", held, {"clip_l": 768})
    check_fit("x", {"clip_l": 768}, held)


def test_the_same_key_with_another_width_is_a_misfit():
    with pytest.raises(ValueError, match=r"t5xxl \(4096 wide\), but this CLIP has t5xxl \(1024"):
        check_fit("x", {"t5xxl": 4096}, {"t5xxl": 1024})


def test_widths_without_a_key():
    assert key_of(1280, {}) == "clip_g"
    assert key_of(4096, {"llama": 4096, "t5xxl": 4096}) == "t5xxl"  # Two fit: the usual one.
    assert key_of(5120, {"qwen3vl_32b": 5120}) == "qwen3vl_32b"
    with pytest.raises(ValueError, match=r"\(qwen3vl_32b, mistral3_24b\).*connect the CLIP"):
        key_of(5120, {})
    with pytest.raises(ValueError, match="1536 wide"):
        key_of(1536, {"clip_l": 768})


@pytest.mark.parametrize(
    ("name", "width", "available", "key"),
    [
        ("clip_l", 768, {}, "clip_l"),
        ("clip_l", 1024, {}, "clip_h"),  # SD 2's one text encoder, as OneTrainer's LoRAs call it
        ("clip_g", 1024, {}, "clip_h"),
        ("clip_h", 768, {}, "clip_l"),
        ("clip_l", 1280, {}, "clip_g"),
        ("t5xxl", 4096, {}, "t5xxl"),
        ("t5xxl", 1024, {}, "t5xxl"),  # Cosmos: the same name for a smaller model
        ("t5xxl", 2048, {"pile_t5xl": 2048}, "pile_t5xl"),
        ("t5xxl", 4096, {"umt5xxl": 4096}, "t5xxl"),
        ("qwen", 2560, {}, "qwen3_4b"),
        ("qwen", 5120, {}, "qwen3vl_32b"),
        ("mistral", 5120, {}, "mistral3_24b"),
        ("gemma", 2560, {}, "gemma3_4b"),
        ("gemma", 2304, {}, "gemma2_2b"),
        ("qwen3_4b", 3584, {}, "qwen25_7b"),
        ("qwen", 4096, {"qwen3vl_8b": 4096}, "qwen3vl_8b"),
        ("qwen35_2b", 2048, {}, "qwen35_2b"),  # The host has more than are listed here.
    ],
)
def test_of_a_name_and_a_width_that_do_not_go_together_the_width_counts(
    name: str, width: int, available: dict[str, int], key: str
):
    assert key_of(width, available, name) == key


def test_a_width_that_no_encoder_of_the_kind_has_is_an_error_with_the_way_out():
    with pytest.raises(ValueError, match="clip_g vectors are 1234 wide instead of 1280"):
        key_of(1234, {}, "clip_g")
    with pytest.raises(ValueError, match=r"\(qwen3_8b, qwen3vl_8b\).*connect the CLIP"):
        key_of(4096, {}, "qwen")
    with pytest.raises(ValueError, match="its vectors are 77 wide.*connect the CLIP"):
        key_of(77, {}, "gemma")
    assert key_of(768, {}, "gemma") == "clip_l"  # No encoder is meant: so the word is called.


@pytest.mark.parametrize(
    ("held", "available", "told"),
    [
        ("clip_l", "clip_l clip_g", r"Half of it is missing: 'x' has.*SD 1.x.*SDXL.*clip_g reads"),
        ("clip_g", "clip_l clip_g", r"Half of it is missing.*second text.*SDXL.*clip_l reads"),
        ("clip_l", "clip_l t5xxl", r"Half of it.*Flux.1.*t5xxl reads the init word 'cat'"),
        ("clip_l clip_g", "clip_l clip_g t5xxl", r"A part of it.*SDXL.*SD 3.*t5xxl reads"),
        ("clip_l", "clip_l clip_g t5xxl llama", r"A part.*HiDream.*clip_g, t5xxl, llama read "),
        ("clip_l clip_g", "clip_g clip_l", "^$"),
    ],
)
def test_a_word_that_lacks_vectors_for_an_encoder_is_told(held: str, available: str, told: str):
    assert re.search(told, missing_half("x", held.split(), available.split(), "cat"))


def test_encoders_are_listed_in_the_usual_order():
    assert in_order(["t5xxl", "clip_g", "abc", "clip_l"]) == ["clip_l", "clip_g", "t5xxl", "abc"]


@pytest.mark.parametrize(
    ("keys", "reading"),
    [
        ("clip_l clip_g", "same"),
        ("clip_l t5xxl", "signs"),
        ("qwen3_4b", "blanks"),
        ("clip_l clip_g t5xxl llama", "blanks"),
        ("clip_l llama", "error"),
        ("clip_l qwen25_7b", "letters"),
        ("clip_l something", None),
    ],
)
def test_the_host_reads_a_file_as_its_worst_text_encoder_does(keys: str, reading: str | None):
    assert host_reading(keys.split()) == reading
