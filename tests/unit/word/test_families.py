import pytest

from ti_core.word.families import (
    check_fit,
    check_width,
    family,
    host_reading,
    in_order,
    key_of,
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
    with pytest.raises(ValueError, match="clip_g vectors are 768 wide instead of 1280"):
        check_width("clip_g", 768)


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
