"""Files of the other trainers, laid out as those publish and write them, load here."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sample_embeddings import rows
from torch import Tensor, nn

from ti_core.word.embedding import Embedding
from ti_core.word.formats import read_embedding
from ti_core.word.formats.reading import read_words

SAVERS: dict[str, Callable[[Any, Path], None]] = {
    ".safetensors": lambda data, path: save_file(data, path),
    ".pt": lambda data, path: torch.save(data, path),
    ".ckpt": lambda data, path: torch.save(data, path, _use_new_zipfile_serialization=False),
    # Content decides, not the name.
    ".renamed": lambda data, path: torch.save(data, path),
}


def read(data: Any, path: Path, **more: Any) -> Embedding:
    """Save as the ending says, and read."""
    SAVERS[path.suffix](data, path)
    return read_embedding(path, **more)


def holds(found: Embedding, **expected: Tensor) -> None:
    assert list(found.vectors) == list(expected)
    for key, value in expected.items():
        assert found.vectors[key].dtype == torch.float32
        assert found.vectors[key].equal(value), key


@pytest.mark.parametrize("ending", SAVERS)
@pytest.mark.parametrize("name", ["emb_params", "emp_params", "<my-cat>"])
def test_one_tensor_of_kohya_onetrainer_and_diffusers(name: str, ending: str, tmp_path: Path):
    found = read({name: rows(3, 768)}, tmp_path / f"a-cat{ending}")
    holds(found, clip_l=rows(3, 768))
    assert found.placeholder == "a-cat"


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_number_formats_become_fp32(kind: torch.dtype, ending: str, tmp_path: Path):
    holds(
        read({"emb_params": rows(2, 768).to(kind)}, tmp_path / f"a{ending}"),
        clip_l=rows(2, 768).to(kind).float(),
    )


def test_sdxl_keys_of_kohya_invoke_and_ai_toolkit(tmp_path: Path):
    data = {"clip_g": rows(2, 1280), "clip_l": rows(2, 768)}
    holds(read(data, tmp_path / "a.safetensors"), clip_l=rows(2, 768), clip_g=rows(2, 1280))


@pytest.mark.parametrize("alias", ["t5", "t5xxl"])
def test_flux_keys_of_the_pivotal_scripts_and_onetrainer(alias: str, tmp_path: Path):
    data = {"clip_l": rows(2, 768), alias: rows(2, 4096), f"{alias}_out": rows(2, 4096, 5)}
    found = read(data, tmp_path / "a.safetensors")
    holds(found, clip_l=rows(2, 768), t5xxl=rows(2, 4096))
    assert found.provenance["left_out"] == [f"{alias}_out"]


def test_hidream_keys_of_onetrainer(tmp_path: Path):
    data = {"clip_l": rows(1, 768), "clip_g": rows(1, 1280), "t5": rows(1, 4096)}
    found = read({**data, "llama": rows(1, 4096, 3)}, tmp_path / "a.safetensors")
    assert list(found.vectors) == ["clip_l", "clip_g", "t5xxl", "llama"]


def test_ai_toolkit_metadata(tmp_path: Path):
    known = {"name": "my cat", "step": 900, "string_to_param": {"*": "emb_params"}}
    metadata = {key: json.dumps(value) for key, value in known.items()}
    save_file({"emb_params": rows(4, 768)}, tmp_path / "a.safetensors", metadata)
    found = read_embedding(tmp_path / "a.safetensors")
    holds(found, clip_l=rows(4, 768))
    assert (found.placeholder, found.provenance["steps"]) == ("a", 900)
    assert "Inside, the file calls it 'my cat'" in found.notes[0]


@pytest.mark.parametrize("ending", [".pt", ".ckpt"])
@pytest.mark.parametrize("wrap", [dict, nn.ParameterDict])
@pytest.mark.parametrize(("count", "width"), [(1, 768), (8, 768), (3, 1024), (4, 768)])
def test_automatic1111_and_the_papers_code(
    wrap: Any, ending: str, count: int, width: int, tmp_path: Path
):
    """A ParameterDict is a pickled module, which torch's own weights-only loading refuses; ComfyUI
    takes its 3 x 1024 values for 4 x 768.
    """
    data = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": wrap({"*": nn.Parameter(rows(count, width))}),
        "name": "my-cat",
        "step": 1500,
        "sd_checkpoint": "81761151",
        "sd_checkpoint_name": "v1-5-pruned",
    }
    found = read(data, tmp_path / f"a{ending}")
    holds(found, **{"clip_l" if width == 768 else "clip_h": rows(count, width)})
    assert found.placeholder == "a"
    assert found.provenance == {
        "steps": 1500,
        "base_model_hash": "81761151",
        "base_model": "v1-5-pruned",
    }


def test_an_old_torch_lays_out_a_parameter_dict_as_a_module(tmp_path: Path):
    """Torch before 1.12 kept its entries as the module's parameters, as this state does."""
    entries = nn.ParameterDict({"*": nn.Parameter(rows(2, 768))})
    assert entries.__getstate__()["_parameters"]
    holds(read({"string_to_param": entries}, tmp_path / "a.pt"), clip_l=rows(2, 768))


def test_a_slice_of_a_whole_vocabulary_is_read_without_the_rest(tmp_path: Path):
    """Early scripts of diffusers saved 150 MB for one vector."""
    table = torch.zeros(49408, 768)
    table[40000] = rows(1, 768)[0]
    path = tmp_path / "a.pt"
    found = read({"<cat>": table[40000]}, path)
    assert path.stat().st_size > 100_000_000
    holds(found, clip_l=rows(1, 768))
    path.unlink()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("learned_embeds", "learned_embeds_2"),
        ("learned_embeds-steps-500", "learned_embeds_2-steps-500"),
        ("cat", "cat_2"),
    ],
)
def test_the_two_files_of_diffusers_sdxl_script_are_one_word(
    first: str, second: str, tmp_path: Path
):
    save_file({"<cat>": rows(2, 768)}, tmp_path / f"{first}.safetensors", {"format": "pt"})
    save_file({"<cat>": rows(2, 1280)}, tmp_path / f"{second}.safetensors", {"format": "pt"})
    for name in (first, second):
        found = read_embedding(tmp_path / f"{name}.safetensors")
        holds(found, clip_l=rows(2, 768), clip_g=rows(2, 1280))
        assert found.placeholder == first


def test_a_partner_that_is_a_link_out_of_the_folder_is_none(tmp_path: Path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    save_file({"<cat>": rows(1, 768)}, inside / "cat.safetensors")
    save_file({"<cat>": rows(1, 1280)}, outside / "cat_2.safetensors")
    (inside / "cat_2.safetensors").symlink_to(outside / "cat_2.safetensors")
    holds(read_embedding(inside / "cat.safetensors"), clip_l=rows(1, 768))
    save_file({"<cat>": rows(1, 768)}, outside / "cat.safetensors")
    (inside / "cat.safetensors").unlink()
    (inside / "cat.safetensors").symlink_to(outside / "cat.safetensors")  # Where both really lie.
    found = read_embedding(inside / "cat.safetensors")
    holds(found, clip_l=rows(1, 768), clip_g=rows(1, 1280))


@pytest.mark.parametrize("other", [{"<dog>": rows(1, 1280)}, {"<cat>": rows(1, 768)}, None])
def test_a_neighbor_that_is_no_other_half_is_left_alone(
    other: Mapping[str, Tensor] | None, tmp_path: Path
):
    save_file({"<cat>": rows(1, 768)}, tmp_path / "cat.safetensors")
    if other is None:
        (tmp_path / "cat_2.safetensors").write_bytes(b"torn")
    else:
        save_file(dict(other), tmp_path / "cat_2.safetensors")
    found = read_embedding(tmp_path / "cat.safetensors")
    holds(found, clip_l=rows(1, 768))
    torn = "cat_2.safetensors in the same folder cannot be read. Is it the other half of a pair?"
    assert found.notes == ((torn,) if other is None else ())


@pytest.mark.parametrize("other", ["<cat>", "<dog>"])
def test_only_of_the_own_other_half_is_told_that_it_has_changed(other: str, tmp_path: Path):
    """The checksum of values in a .pt is seen when they are read, long after the pair is known."""
    torch.save({"<cat>": rows(1, 768)}, tmp_path / "cat.pt")
    torch.save({other: rows(1, 1280)}, tmp_path / "cat_2.pt")
    data = bytearray((tmp_path / "cat_2.pt").read_bytes())
    values = data.index(rows(1, 1280).numpy().tobytes())
    data[values] ^= 1
    (tmp_path / "cat_2.pt").write_bytes(data)
    notes = read_embedding(tmp_path / "cat.pt").notes
    assert [note.startswith("The file has changed") for note in notes] == [True] * (
        other == "<cat>"
    )


def test_a_file_that_names_its_encoder_has_no_other_half(tmp_path: Path):
    save_file({"emb_params": rows(1, 1280)}, tmp_path / "cat_2.safetensors")
    holds(read({"clip_l": rows(1, 768)}, tmp_path / "cat.safetensors"), clip_l=rows(1, 768))


def test_of_one_encoder_under_two_names_the_hosts_counts(tmp_path: Path):
    data = {"t5": rows(1, 4096, 1), "t5xxl": rows(1, 4096, 2)}
    holds(read(data, tmp_path / "a.safetensors"), t5xxl=rows(1, 4096, 2))


def test_words_in_a_lora_are_found_by_name(tmp_path: Path):
    data = {
        "lora_te1_text_model.alpha": torch.tensor(1.0),
        "lora_unet_conv.lora_down.weight": torch.zeros(4, 320, 3, 3),
        "bundle_emb.<my.cat>.clip_l": rows(2, 768),
        "bundle_emb.<my.cat>.clip_g": rows(2, 1280),
        "bundle_emb.<my.cat>.clip_g_out": rows(2, 1280, 7),
        "bundle_emb.dog.string_to_param.*": rows(1, 768, 3),
    }
    with pytest.raises(
        ValueError, match=r"Choose what to load from 'a.safetensors'.*<my.cat>, dog"
    ):
        read(data, tmp_path / "a.safetensors")
    found = read_embedding(tmp_path / "a.safetensors", "<my.cat>")
    holds(found, clip_l=rows(2, 768), clip_g=rows(2, 1280))
    assert found.placeholder == "my.cat"
    holds(read_embedding(tmp_path / "a.safetensors", "dog"), clip_l=rows(1, 768, 3))
    with pytest.raises(ValueError, match="holds <my.cat>, dog, but not 'horse'"):
        read_embedding(tmp_path / "a.safetensors", "horse")


def test_a_word_in_a_lora_of_thousands_of_tensors_is_found(tmp_path: Path):
    lora = {f"lora_unet_double_blocks_{n}_img_attn.weight": torch.zeros(4) for n in range(3000)}
    path = tmp_path / "a.safetensors"
    save_file({**lora, "bundle_emb.cat.clip_l": rows(2, 768)}, path, {"ot_config": '{"a"' * 9000})
    holds(read_embedding(path), clip_l=rows(2, 768))


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".ckpt"])
@pytest.mark.parametrize(
    "counts",
    [
        {"clip_l": (75, 768), "clip_g": (75, 1280), "t5xxl": (75, 4096), "llama": (75, 4096)},
        {"mistral3_24b": (142, 5120)},
    ],
)
def test_the_largest_embeddings_of_the_largest_models_load(
    counts: dict[str, tuple[int, int]], ending: str, tmp_path: Path
):
    data = {key: rows(*shape) for key, shape in counts.items()}
    holds(read(data, tmp_path / f"a{ending}"), **data)


def test_one_of_many_words_is_read_without_the_others(tmp_path: Path):
    """All of them together are more than one file may take."""
    data = {f"w{number}": rows(75, 4096, number) for number in range(8)}
    path = tmp_path / "a.pt"
    torch.save(data, path)
    holds(read_embedding(path, "w5"), t5xxl=data["w5"])
    torch.save({**data, "w0": torch.full((2, 4096), float("nan"))}, path)
    holds(read_embedding(path, "w5"), t5xxl=data["w5"])


def test_lists_of_dicts_are_joined_by_width(tmp_path: Path):
    data = [{"a": rows(1, 768), "b": rows(2, 1280)}, {"c": rows(1, 768, 4)}]
    found = read(data, tmp_path / "a.pt")
    holds(found, clip_l=torch.cat([rows(1, 768), rows(1, 768, 4)]), clip_g=rows(2, 1280))


def test_a_tensor_alone(tmp_path: Path):
    holds(read(rows(1, 768)[0], tmp_path / "a.pt"), clip_l=rows(1, 768))


def test_kohyas_layers_are_offered_one_by_one_with_who_can_use_them_all(tmp_path: Path):
    names = "IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09".split()
    layers = {name: rows(2, 768, seed) for seed, name in enumerate([*names, "OUT10", "OUT11"])}
    with pytest.raises(ValueError, match="per layer of the U-Net.*Only kohya.*IN01, IN02.*average"):
        read(layers, tmp_path / "a.safetensors")
    assert len(read_words(tmp_path / "a.safetensors")[1]) == 17
    holds(read_embedding(tmp_path / "a.safetensors", "MID"), clip_l=layers["MID"])
    mean = torch.stack(list(layers.values())).mean(0)
    holds(read_embedding(tmp_path / "a.safetensors", "average"), clip_l=mean)


@pytest.mark.parametrize(
    ("width", "widths", "key"),
    [
        (1024, {}, "clip_h"),
        (1024, {"t5xxl": 1024}, "t5xxl"),
        (4096, {"qwen3_8b": 4096}, "qwen3_8b"),
        (4096, {"t5xxl": 4096, "llama": 4096}, "t5xxl"),
        (2048, {"gemma": 2048}, "gemma"),
    ],
)
def test_where_only_the_width_is_known_the_clip_decides(
    width: int, widths: dict[str, int], key: str, tmp_path: Path
):
    found = read({"emb_params": rows(1, width)}, tmp_path / "a.safetensors", widths=widths)
    assert list(found.vectors) == [key]


def test_a_width_that_no_encoder_has_is_an_error(tmp_path: Path):
    with pytest.raises(
        ValueError, match="1234 wide, which fits no known text encoder.*connect the"
    ):
        read({"emb_params": rows(1, 1234)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="clip_l vectors are 1234 wide instead of 768"):
        read({"clip_l": rows(1, 1234)}, tmp_path / "a.safetensors")


def test_a_lora_or_a_checkpoint_is_not_mistaken_for_an_embedding(tmp_path: Path):
    lora = {f"lora_unet_{number}.lora_down.weight": torch.zeros(4, 320) for number in range(100)}
    with pytest.raises(ValueError, match="it is a LoRA without an embedding in it. It belongs"):
        read(lora, tmp_path / "a.safetensors")


def test_strength_scales_the_length_where_nothing_is_known_of_the_start(tmp_path: Path):
    found = read({"emb_params": rows(2, 768)}, tmp_path / "a.safetensors")
    torch.testing.assert_close(found.at_strength(0.25)["clip_l"], 0.25 * rows(2, 768))
    assert found.at_strength(1.0)["clip_l"].equal(rows(2, 768))


@pytest.mark.parametrize("ending", [".pti", ".PTI", ".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("text_encoders_0", "text_encoders_1"),
        ("text_encoder", "text_encoder_2"),
        ("emb", "emb2"),
        ("te1", "te2"),
        ("CLIP-L", "CLIP-G"),
        ("cat", "cat_2"),
    ],
)
def test_numbered_tensors_of_two_widths_are_one_word_for_two_encoders(
    first: str, second: str, ending: str, tmp_path: Path
):
    data, path = {second: rows(2, 1280), first: rows(2, 768)}, tmp_path / f"embeddings{ending}"
    SAVERS[".pt" if ending == ".pt" else ".safetensors"](data, path)
    found = read_embedding(path)
    holds(found, clip_l=rows(2, 768), clip_g=rows(2, 1280))
    assert found.placeholder == "embeddings"
    assert [("calls it 'cat'" in note) for note in found.notes] == [True] * (first == "cat")


def test_numbered_tensors_for_flux_and_for_one_encoder(tmp_path: Path):
    data = {"text_encoders_0": rows(2, 768), "text_encoders_1": rows(2, 4096)}
    holds(read(data, tmp_path / "a.safetensors"), clip_l=rows(2, 768), t5xxl=rows(2, 4096))
    found = read({"emb": rows(2, 768)}, tmp_path / "b.pt")
    holds(found, clip_l=rows(2, 768))
    assert (found.placeholder, found.notes) == ("b", ())


@pytest.mark.parametrize(
    "data",
    [
        {"emb": rows(1, 768), "emb2": rows(1, 768)},
        {"<s0>": rows(1, 768), "<s1>": rows(1, 1280)},
        {"cat": rows(1, 768), "dog": rows(1, 1280)},
        {"cat_1": rows(1, 768), "cat_2": rows(3, 1280)},
    ],
)
def test_tensors_that_no_number_or_width_tells_apart_stay_several_words(
    data: dict[str, Tensor], tmp_path: Path
):
    with pytest.raises(ValueError, match="holds several words"):
        read(data, tmp_path / "a.safetensors")
    for name, vectors in data.items():
        (found,) = read_embedding(tmp_path / "a.safetensors", name).vectors.values()
        assert found.equal(vectors)


@pytest.mark.parametrize("told", [{"<s1>": "<embed>", "<s2>": "<embed>"}, {}])
@pytest.mark.parametrize(
    "others",
    [
        {"unet:0:up": torch.zeros(4, 4), "unet:0:down": torch.zeros(4, 4)},
        {"lora_unet_conv.lora_down.weight": torch.zeros(4, 320, 3, 3)},
    ],
)
def test_words_among_the_tensors_of_a_lora_are_found_flagged_or_by_their_brackets(
    others: dict[str, Tensor], told: dict[str, str], tmp_path: Path
):
    data = {"<s1>": rows(1, 768)[0], "<s2>": rows(1, 768, 2)[0], **others}
    save_file(data, tmp_path / "lora.safetensors", told or None)
    with pytest.raises(ValueError, match="holds several words: <s1>, <s2>"):
        read_embedding(tmp_path / "lora.safetensors")
    found = read_embedding(tmp_path / "lora.safetensors", "<s2>")
    holds(found, clip_l=rows(1, 768, 2))
    assert found.placeholder == "s2"


def test_a_flagged_word_without_brackets_is_found_alone(tmp_path: Path):
    data = {"toy": rows(1, 1024)[0], "unet:0:up": torch.zeros(4, 4)}
    save_file(data, tmp_path / "lora.safetensors", {"toy": "<embed>", "unet:0:rank": "4"})
    found = read_embedding(tmp_path / "lora.safetensors")
    holds(found, clip_h=rows(1, 1024))
    assert found.placeholder == "toy"


@pytest.mark.parametrize(
    "data",
    [
        {"emp_params": torch.zeros(2, 768), "emp_params_out": rows(2, 768)},
        {"emp_params_out": rows(2, 1024)},
        {"clip_l": torch.zeros(1, 768), "clip_g": torch.zeros(1, 1280), "clip_l_out": rows(1, 768)}
        | {"clip_g_out": rows(1, 1280)},
        {"t5_out": rows(2, 4096), "clip_l_out": rows(2, 768)},
        {"bundle_emb.cat.clip_l_out": rows(2, 768), "lora_unet_a.lora_down.weight": rows(4, 4)},
        {"bundle_emb.cat.clip_l": torch.zeros(2, 768), "bundle_emb.cat.clip_l_out": rows(2, 768)},
    ],
)
def test_an_output_embedding_of_onetrainer_says_that_only_onetrainer_can_use_it(
    data: dict[str, Tensor], tmp_path: Path
):
    with pytest.raises(ValueError, match="output embedding of OneTrainer.*only OneTrainer can use"):
        read(data, tmp_path / "a.safetensors")


def test_of_a_word_that_is_an_output_embedding_for_one_encoder_the_other_is_read(tmp_path: Path):
    data = {"clip_l": torch.zeros(2, 768), "clip_l_out": rows(2, 768), "clip_g": rows(2, 1280)}
    found = read(data, tmp_path / "a.safetensors")
    holds(found, clip_g=rows(2, 1280))
    assert "Left out: the clip_l vectors, which are zeros" in found.notes[0]
    assert found.provenance["left_out"] == ["clip_l_out"]


def test_vectors_of_zeros_without_others_behind_them_are_told_as_before(tmp_path: Path):
    holds(read({"emp_params": torch.zeros(2, 768)}, tmp_path / "a.pt"), clip_l=torch.zeros(2, 768))


@pytest.mark.parametrize(
    ("name", "width", "key"),
    [
        ("bundle_emb.x.clip_l", 1024, "clip_h"),
        ("bundle_emb.x.clip_g", 1024, "clip_h"),
        ("bundle_emb.x.string_to_param.*", 1024, "clip_h"),
        ("bundle_emb.x.qwen", 2560, "qwen3_4b"),
        ("bundle_emb.x.gemma", 2304, "gemma2_2b"),
        ("bundle_emb.x.mistral", 5120, "mistral3_24b"),
        ("clip_l", 1024, "clip_h"),
        ("clip_g", 768, "clip_l"),
        ("t5", 4096, "t5xxl"),
    ],
)
def test_vectors_are_for_the_encoder_that_is_as_wide_whatever_they_are_called(
    name: str, width: int, key: str, tmp_path: Path
):
    lora = {"lora_unet_conv.lora_down.weight": torch.zeros(4, 4)} if "." in name else {}
    found = read({name: rows(2, width), **lora}, tmp_path / "a.safetensors")
    holds(found, **{key: rows(2, width)})
    other = name.rpartition(".")[2] in ("clip_l", "clip_g")
    assert [f"are read as vectors for {key}" in note for note in found.notes] == [True] * other


def test_two_encoders_named_the_wrong_way_round_are_read_by_their_widths(tmp_path: Path):
    data = {"clip_l": rows(1, 1280), "clip_g": rows(1, 768)}
    holds(read(data, tmp_path / "a.pt"), clip_l=rows(1, 768), clip_g=rows(1, 1280))
    with pytest.raises(ValueError, match="vectors for clip_l twice"):
        read({"clip_l": rows(1, 768), "clip_g": rows(1, 768)}, tmp_path / "a.pt")


@pytest.mark.parametrize(
    "told",
    [
        {"ss_training_type": "h3_learned_context", "ss_h3_learned_context_tokens": "3"},
        {"ss_training_type": "wan_learned_context"},
        {"ss_h3_learned_context_format": "qwen3vl_32b"},
    ],
)
def test_rows_that_were_trained_to_stand_behind_the_encoder_are_told(
    told: dict[str, str], tmp_path: Path
):
    metadata = {**told, "ss_sd_model_name": "h3.safetensors", "ss_steps": "1000"}
    save_file({"qwen3vl_32b": rows(3, 5120)}, tmp_path / "water.safetensors", metadata)
    found = read_embedding(tmp_path / "water.safetensors")
    holds(found, qwen3vl_32b=rows(3, 5120))
    (note,) = found.notes
    assert note.startswith("It is a learned context of another trainer")
    assert (
        "ComfyUI and these nodes insert the vectors of an embedding file before the encoder" in note
    )
    assert (found.provenance["base_model"], found.provenance["steps"]) == ("h3.safetensors", 1000)


def test_the_same_vectors_without_such_words_are_a_word(tmp_path: Path):
    save_file({"qwen3vl_32b": rows(3, 5120)}, tmp_path / "a.safetensors", {"ss_steps": "7"})
    found = read_embedding(tmp_path / "a.safetensors")
    assert (found.notes, found.provenance) == ((), {"steps": 7})


@pytest.mark.parametrize(("first", "second"), [("pt", "PT"), ("SAFETENSORS", "safetensors")])
def test_the_two_files_of_a_pair_are_found_with_endings_of_either_case(
    first: str, second: str, tmp_path: Path
):
    (tmp_path / "pets").mkdir()
    for stem, ending, width in (("cat", first, 768), ("cat_2", second, 1280)):
        path = tmp_path / "pets" / f"{stem}.{ending}"
        SAVERS[f".{ending.lower()}"]({"<w>": rows(1, width)}, path)
    for path in sorted((tmp_path / "pets").iterdir()):
        found = read_embedding(path)
        holds(found, clip_l=rows(1, 768), clip_g=rows(1, 1280))
        assert found.placeholder == "cat"


@pytest.mark.parametrize(
    "data",
    [
        {"clip_l": rows(2, 768), "clip_g": rows(2, 1280), "name": "x", "step": 1},
        {"clip_g": rows(2, 1280), "clip_l": rows(2, 768), "sd_checkpoint": None, "loss": 0.1},
        {"text_encoders_0": rows(2, 768), "text_encoders_1": rows(2, 1280), "epoch": 3},
    ],
)
def test_plain_values_beside_the_vectors_do_not_hide_them(data: dict[str, Any], tmp_path: Path):
    holds(read(data, tmp_path / "a.pt"), clip_l=rows(2, 768), clip_g=rows(2, 1280))


@pytest.mark.parametrize("name", ["clip_vit_l", "clip_l_768", "bundle_emb.big-cat", "clip_l.emb"])
@pytest.mark.parametrize(("width", "key"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g")])
def test_no_encoder_is_made_up_of_a_name(name: str, width: int, key: str, tmp_path: Path):
    holds(read({name: rows(2, width)}, tmp_path / "a.safetensors"), **{key: rows(2, width)})


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["lora_unet_x.lora_down.weight"], "LoRA"),
        (["lora_te_a.lora_up.weight", "lora_te_a.alpha"], "LoRA"),
        (["model.diffusion_model.x", "cond_stage_model.y"], "checkpoint"),
        (["text_model.embeddings.token_embedding.weight"], "text encoder"),
    ],
)
def test_a_few_matrices_of_a_model_are_no_words(names: list[str], what: str, tmp_path: Path):
    with pytest.raises(ValueError, match=what):
        read({name: rows(4, 768) for name in names}, tmp_path / "a.safetensors")
