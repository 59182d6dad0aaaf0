"""How a word gets its name from a file: from the file's own name, but for images and files of
several things.
"""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sample_embeddings import embedding, rows, write

from ti_core.word.embedding import check_placeholder
from ti_core.word.formats import read_embedding
from ti_core.word.formats.file_names import name_to_write, word_of_file

SCRIPTS = [
    "大猫",
    "кошка",
    "γάτα",
    "猫のスタイル",
    "고양이",
    "แมว",
    "बिल्ली",
    "قطة",
    "café",
    "Ångström.v2",
    "می\u200cخواهم",
]


def automatic1111(name: str, seed: int) -> dict[str, Any]:
    """What AUTOMATIC1111 and the tools that merge its files write."""
    param = {"*": rows(1, 768, seed)}
    return {"string_to_token": {"*": 265}, "string_to_param": param, "name": name, "step": 3}


@pytest.mark.parametrize("inside", ["_EmbeddingMerge_temp", "w100000", "tmp", "*"])
def test_files_of_one_maker_with_one_name_inside_are_different_words(inside: str, tmp_path: Path):
    found = {}
    for seed, stem in enumerate(("red", "green", "blue")):
        torch.save(automatic1111(inside, seed), tmp_path / f"{stem}.pt")
        one = read_embedding(tmp_path / f"{stem}.pt")
        found[one.placeholder] = one.vectors["clip_l"]
        told = [note for note in one.notes if f"Inside, the file calls it '{inside}'" in note]
        assert len(told) == (inside != "*") and all(f"'{stem}'" in note for note in told)
    assert list(found) == ["red", "green", "blue"]
    assert all(found[stem].equal(rows(1, 768, seed)) for seed, stem in enumerate(found))


@pytest.mark.parametrize("kind", ["standard", "automatic1111", "diffusers", "onetrainer"])
def test_a_renamed_file_is_called_as_it_is_now_and_a_renamed_image_as_before(
    kind: str, tmp_path: Path
):
    made = embedding(clip_l=768)
    (path,) = write(tmp_path / "my-cat", made, kind)
    assert read_embedding(path).placeholder == "my-cat"
    assert read_embedding(path).notes == ()
    found = read_embedding(path.rename(path.with_stem("tom")))
    assert found.placeholder == "tom"
    assert "The word is 'tom', from the file's name" in found.notes[0]
    (card,) = write(tmp_path / "my-cat", made, "share image")
    renamed = read_embedding(card.rename(card.with_name("00012-1234567.PNG")))
    assert (renamed.placeholder, renamed.notes) == ("my-cat", ())


def test_the_word_that_is_asked_for_counts_most_and_nothing_is_told(tmp_path: Path):
    torch.save(automatic1111("w100000", 1), tmp_path / "a.pt")
    found = read_embedding(tmp_path / "a.pt", placeholder="my-style")
    assert (found.placeholder, found.initializer, found.notes) == ("my-style", "my style", ())


def test_words_in_the_file_of_something_else_keep_their_own_names(tmp_path: Path):
    lora = {"lora_unet_conv.lora_down.weight": torch.zeros(4, 320)}
    save_file({**lora, "bundle_emb.red.clip_l": rows(1, 768)}, tmp_path / "style.safetensors")
    assert read_embedding(tmp_path / "style.safetensors").placeholder == "red"
    save_file({"<red>": rows(1, 768), "<blue>": rows(1, 768)}, tmp_path / "two.safetensors")
    found = read_embedding(tmp_path / "two.safetensors", "<blue>")
    assert (found.placeholder, found.notes) == ("blue", ())


def test_two_words_that_a_file_calls_alike_are_both_offered(tmp_path: Path):
    data = {"red": rows(1, 768, 1), "red ": rows(1, 768, 2), "red (2)": rows(1, 768, 3)}
    torch.save(data, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"several words: red, red \(2\), red \(2\) \(2\)"):
        read_embedding(tmp_path / "a.pt")
    assert read_embedding(tmp_path / "a.pt", "red (2)").vectors["clip_l"].equal(rows(1, 768, 2))


@pytest.mark.parametrize(
    ("stem", "word"),
    [
        ("我的风格", "我的风格"),
        ("мой стиль (v2)", "мой-стиль-v2"),
        ("my cat (final)", "my-cat-final"),
        ("大猫，红", "大猫-红"),
        ("【猫】", "猫"),
        ("5", "w5"),
        ("1e5", "w1e5"),
        ("c" * 90, "c" * 64),
        ("---", "inside"),
        ("😀", "inside"),
        ("\u0301a", "a"),
        (unicodedata.normalize("NFD", "café"), "café"),
        ("style.v2", "style.v2"),
        ("a\u3164b", "ab"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200cb", "a-b"),
    ],
)
def test_every_file_name_becomes_a_word_that_prompts_can_carry(stem: str, word: str):
    for ending in (".pt", ".SAFETENSORS", ".pti"):
        found, _ = word_of_file(Path("pets") / f"{stem}{ending}", "<inside>", counts=False)
        assert found == word
        check_placeholder(found)


@pytest.mark.parametrize(
    ("inside", "word"), [("<cat toy>", "cat-toy"), ("../../etc/passwd", "etc-passwd"), ("***", "x")]
)
def test_so_does_every_name_inside_of_a_image(inside: str, word: str):
    assert word_of_file(Path("x.png"), inside, counts=True) == (word, "")


def test_a_file_without_any_name_is_called_embedding():
    assert word_of_file(Path("---.pt"), "", counts=False) == ("embedding", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_word_of_any_script_is_a_name_to_save_under_and_comes_back(name: str, tmp_path: Path):
    check_placeholder(unicodedata.normalize("NFC", name))
    for typed in (name, unicodedata.normalize("NFD", name)):
        assert name_to_write(typed).as_posix() == unicodedata.normalize("NFC", name)
        assert name_to_write(f"宠物/{typed}.PT").as_posix().startswith("宠物/")
    path = tmp_path / f"{name_to_write(name)}.safetensors"
    save_file({"emb_params": rows(2, 768)}, path)
    found = read_embedding(path)
    assert (found.placeholder, found.notes) == (unicodedata.normalize("NFC", name), ())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "大猫，",
            "（猫）",
            "大 猫",
            "猫　狗",
            "«кот»",
            "кот:1",
            "猫<",
            "a\u200bb",
            "a\u202eb",
            "\ue000x",
        ),
        *(
            "a\u3164",
            "\u0301a",
            "😀",
            "猫/",
            "/猫",
            "猫。",
            "a\ufe0f",
            "１，２",
            "a\ud800",
            "猫" * 74,
        ),
    ],
)
def test_what_no_word_has_in_any_script_is_refused_as_a_name(name: str):
    with pytest.raises(ValueError, match="is not allowed for an embedding file"):
        name_to_write(name)


@pytest.mark.parametrize("name", ["com¹", "LPT³.猫", "猫/Com²", "con.猫"])
def test_devices_of_windows_are_refused_in_every_spelling(name: str):
    with pytest.raises(ValueError, match="is a device on Windows"):
        name_to_write(name)


def test_the_longest_names_fit_the_disk_with_ending_number_and_temporary_marks(tmp_path: Path):
    for letter in ("x", "é", "猫"):
        size = min(128, 220 // len(letter.encode()))
        base = tmp_path / name_to_write(letter * size)
        assert [
            path.is_file() for path in write(base, embedding(clip_l=768, clip_g=1280), "diffusers")
        ]
        with pytest.raises(ValueError, match="up to 128 characters"):
            name_to_write(letter * (size + 1))
