"""Our files in ComfyUI's own loader and tokenizers, and files of the host's folders in ours."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.text_encoders.flux as flux
import comfy.text_encoders.hunyuan_video as hunyuan_video
import comfy.text_encoders.sd2_clip as sd2
import comfy.text_encoders.sd3_clip as sd3
import comfy.text_encoders.z_image as z_image
import folder_paths
import pytest
import torch
from comfy.model_management import InterruptProcessingException, interrupt_current_processing
from comfy.sd1_clip import SD1Tokenizer
from comfy.sdxl_clip import SDXLTokenizer
from safetensors.torch import save_file
from sample_embeddings import (  # pyright: ignore[reportMissingImports]
    FAMILIES,
    embedding,
    rows,
    same_vectors,
    write,
)
from small import Loaded, small_flux, small_sdxl, word
from test_text import learned, spliced
from torch import Tensor

from ti_core.host.embedding_files import (
    checkpoint_hash,
    chosen_file,
    embedding_files,
    embedding_path,
    export_settings,
    file_state,
    load_embedding,
    namesakes,
    namesakes_note,
    save_embedding,
)
from ti_core.host.models.text import apply_embedding, encoders, missing_vectors
from ti_core.host.nearest_words import token_texts, vocabularies
from ti_core.word.embedding import Embedding
from ti_core.word.formats import Export, read_embedding
from ti_core.word.inspection import inspection_image, inspection_report

TOKENIZERS: dict[str, Any] = {
    "SD 1": SD1Tokenizer,
    "SD 2": sd2.SD2Tokenizer,
    "SDXL": SDXLTokenizer,
    "SD 3": sd3.SD3Tokenizer,
    "Flux": flux.FluxTokenizer,
    "Z-Image": z_image.ZImageTokenizer,
}
NAMES = {"clip_l": "l", "clip_g": "g", "clip_h": "h"}  # The host's short names in token lists.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An embeddings folder, and input/ beside it."""
    root = tmp_path / "embeddings"
    root.mkdir()
    (tmp_path / "input").mkdir()
    kept = dict(folder_paths.folder_names_and_paths)
    changed = {**kept, "embeddings": ([str(root)], kept["embeddings"][1])}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", changed)
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    yield root


def tokens(family: str, folder: Path, text: str) -> dict[str, list[Tensor]]:
    """The vectors that a prompt brings to each encoder, by the host's own tokenizer."""
    made = TOKENIZERS[family](embedding_directory=[str(folder)])
    return {
        key: [entry[0] for part in parts for entry in part if torch.is_tensor(entry[0])]
        for key, parts in made.tokenize_with_weights(text).items()
    }


@pytest.mark.parametrize("family", TOKENIZERS)
def test_comfyui_puts_the_right_rows_into_every_encoder(family: str, folder: Path):
    made = embedding(**FAMILIES[family])
    write(folder / "my-cat", made, "standard")
    found = tokens(family, folder, "a photo of embedding:my-cat on a beach")
    for key, vectors in made.vectors.items():
        assert torch.stack(found[NAMES.get(key) or key]).equal(vectors), key


@pytest.mark.parametrize("family", ["SD 1", "SD 2"])
@pytest.mark.parametrize("kind", ["automatic1111", "diffusers", "onetrainer"])
def test_comfyui_reads_the_other_formats_for_one_encoder(kind: str, family: str, folder: Path):
    made = embedding(**FAMILIES[family])
    write(folder / "my-cat", made, kind)
    ((key, vectors),) = made.vectors.items()
    found = tokens(family, folder, "embedding:my-cat")[NAMES[key]]
    assert torch.stack(found).equal(vectors)


def test_comfyui_reads_the_sdxl_file_for_automatic1111(folder: Path):
    made = embedding(**FAMILIES["SDXL"])
    write(folder / "my-cat", made, "automatic1111")
    found = tokens("SDXL", folder, "embedding:my-cat")
    assert torch.stack(found["g"]).equal(made.vectors["clip_g"])
    assert torch.stack(found["l"]).equal(made.vectors["clip_l"])


def test_a_loaded_word_draws_what_the_learned_one_drew(loaded: Loaded, folder: Path):
    made = learned(loaded.clip)
    save_embedding(made, "pets/my-cat", "standard", Export(), False)
    again = load_embedding("pets/my-cat.safetensors", "", loaded.clip, "", "")
    same_vectors(again, made)
    assert again.initial["clip_l"].equal(made.initial["clip_l"])
    for strength in (0.0, 0.5, 1.0):
        assert again.at_strength(strength)["clip_l"].equal(made.at_strength(strength)["clip_l"])
    applied = apply_embedding(loaded.clip, again, 1.0)
    found = [row for row, _ in spliced(applied, "a photo of my-cat")]
    assert torch.stack(found).equal(made.vectors["clip_l"])
    assert not any(
        rows.is_inference() for rows in (*again.vectors.values(), again.initial["clip_l"])
    )


def test_a_run_replaces_its_own_file_and_no_other(folder: Path):
    one, other = (
        replace(embedding(clip_l=768), provenance={"run": run}) for run in ("one", "other")
    )

    def save(made: Embedding, kind: str = "standard") -> str:
        (path,) = save_embedding(made, "pets/cat", kind, Export(), False)
        return path.name

    assert [save(one), save(other), save(one), save(other)] == [
        "cat.safetensors",
        "cat-2.safetensors",
        "cat.safetensors",
        "cat-2.safetensors",
    ]
    assert [save(one, "automatic1111"), save(one, "automatic1111")] == ["cat.pt", "cat.pt"]
    unknown = replace(one, provenance={})
    assert [save(unknown), save(unknown)] == ["cat-3.safetensors", "cat-4.safetensors"]
    # A loaded word may have been changed on the way.
    again = load_embedding("pets/cat.safetensors", "", None, "", "")
    assert save(again) == "cat-5.safetensors"
    (folder / "pets" / "cat.safetensors").write_bytes(b"broken")
    assert save(one) == "cat-6.safetensors"


def test_the_recipe_survives_loading_and_saving_in_every_format(loaded: Loaded, folder: Path):
    made = replace(learned(loaded.clip), provenance={"steps": 7, "seed": 3, "settings": {"a": [1]}})
    (path,) = save_embedding(made, "", "standard", Export(), False)
    for kind in ("automatic1111", "share image", "diffusers", "onetrainer", "standard"):
        found = load_embedding(path.name, "", None, "", "")
        (path,) = save_embedding(found, f"via-{kind.split()[0]}", kind, Export(), False)
    last = load_embedding(path.name, "", loaded.clip, "", "")
    same_vectors(last, made)
    assert (last.placeholder, last.initializer) == ("via-standard", made.initializer)
    assert last.provenance == {**made.provenance, "initializer": made.initializer}


@pytest.mark.parametrize(
    ("family", "fits"),
    [
        ("SDXL", r"holds clip_l \(768 wide\), clip_g \(1280 wide\).*It fits SDXL"),
        ("SD 2", r"holds clip_h \(1024 wide\).*It fits SD 2.x"),
        ("Flux", r"t5xxl \(4096 wide\), but this CLIP has clip_l \(768 wide\). It fits Flux.1"),
    ],
)
def test_a_file_for_another_model_says_which_checkpoint_it_fits(
    loaded: Loaded, family: str, fits: str, folder: Path
):
    write(folder / "my-cat", embedding(**FAMILIES[family]), "standard")
    with pytest.raises(ValueError, match=fits):
        load_embedding("my-cat.safetensors", "", loaded.clip, "", "")
    unchecked = load_embedding("my-cat.safetensors", "", None, "", "")
    with pytest.raises(ValueError, match="but this CLIP has clip_l"):
        apply_embedding(loaded.clip, unchecked, 1.0)


def test_onetrainers_t5_reaches_flux_which_the_hosts_own_loader_drops(folder: Path):
    """Core takes the first tensor for T5, finds it 768 wide, and warns (sd1_clip.py:478)."""
    clip = small_flux()[1]
    data = {"clip_l": rows(2, 768), "t5": rows(2, 4096)}
    save_file(data, folder / "theirs.safetensors")
    found = apply_embedding(clip, load_embedding("theirs.safetensors", "", clip, "", ""), 1.0)
    assert torch.stack([row for row, _ in spliced(found, "a theirs", "t5xxl")]).equal(data["t5"])


def test_an_sd1_word_on_sdxl_reaches_clip_l_and_clip_g_reads_the_initializer(folder: Path):
    clip = small_sdxl()[1]
    save_file({"emb_params": rows(2, 768)}, folder / "theirs.safetensors")
    found = apply_embedding(clip, load_embedding("theirs.safetensors", "", clip, "", "cat"), 1.0)
    assert len(spliced(found, "a theirs", "l")) == 2
    assert found.tokenize("a theirs")["g"] == clip.tokenize("a cat")["g"]


def test_a_given_initializer_is_where_strength_zero_is(loaded: Loaded, folder: Path):
    save_file({"emb_params": rows(3, 768)}, folder / "theirs.safetensors")
    found = load_embedding("theirs.safetensors", "", loaded.clip, "my-word", "cat")
    cat = encoders(loaded.clip)["clip_l"]
    assert found.placeholder == "my-word"
    assert found.at_strength(0.0)["clip_l"].equal(cat.rows(cat.token_ids("cat")).repeat(3, 1))


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ("embedding:private cat", "private cat"),
        ("(cat:1e9)", "\\(cat:1e9\\)"),
        ("a cat \\\\", "a cat"),
        ("\ud800cat", "cat"),
    ],
)
def test_an_initializer_from_a_file_reads_as_plain_words(told: str, heard: str, folder: Path):
    """An encoder without vectors of the word reads it in every prompt."""
    clip = small_sdxl()[1]
    recipe = json.dumps({"initializer": told})
    rows_of = {"emb_params": rows(2, 768)}
    save_file(rows_of, folder / "theirs.safetensors", {"textual_inversion": recipe})
    found = load_embedding("theirs.safetensors", "", clip, "", "")
    assert found.initializer == heard
    applied = apply_embedding(clip, found, 1.0)
    assert applied.tokenize("(a theirs), x")["g"] == clip.tokenize(f"(a {heard}), x")["g"]


def test_where_a_word_starts_its_parentheses_are_read_without_their_marks(
    loaded: Loaded, folder: Path
):
    recipe = json.dumps({"initializer": "cat (toy)"})
    save_file({"emb_params": rows(9, 768)}, folder / "a.safetensors", {"textual_inversion": recipe})
    found = load_embedding("a.safetensors", "", loaded.clip, "", "")
    typed = load_embedding("a.safetensors", "", loaded.clip, "", "cat (toy)")
    assert found.initial["clip_l"].equal(typed.initial["clip_l"])


def test_an_initializer_from_a_file_has_at_most_75_tokens(loaded: Loaded, folder: Path):
    recipe = json.dumps({"initializer": "猫" * 10_000})
    save_file({"emb_params": rows(9, 768)}, folder / "a.safetensors", {"textual_inversion": recipe})
    assert len(load_embedding("a.safetensors", "", None, "", "").initializer) == 200
    found = load_embedding("a.safetensors", "", loaded.clip, "", "")
    assert 40 < len(encoders(loaded.clip)["clip_l"].token_ids(found.initializer)) <= 75


def test_the_dropdown_lists_embeddings_and_images_but_no_previews(folder: Path):
    for name in (
        "b.safetensors",
        "sub/a.pt",
        "card.png",
        "b.preview.png",
        "notes.txt",
        "b.json",
        "e.PTI",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert embedding_files() == ["b.safetensors", "card.png", "e.PTI", "sub/a.pt"]


def test_a_file_dropped_onto_the_node_is_found_in_input_and_not_mixed_up(folder: Path):
    write(folder / "card", embedding(clip_l=768, clip_g=1280), "share image")
    (path,) = write(folder.parent / "input" / "card", embedding(clip_l=768), "share image")
    assert chosen_file("input/card.png") == path
    same_vectors(load_embedding("input/card.png", "", None, "", ""), embedding(clip_l=768))
    assert chosen_file("card.png") == folder / "card.png"


@pytest.mark.parametrize(
    "choice",
    [
        "",
        "input/",
        "../outside.pt",
        "/etc/passwd",
        "sub/../../outside.pt",
        "input/../outside.pt",
        "a.py",
    ],
)
def test_no_choice_leads_out_of_the_folders(choice: str, folder: Path):
    (folder.parent / "outside.pt").touch()
    (folder / "a.py").touch()
    with pytest.raises(ValueError, match="There is no embedding file"):
        chosen_file(choice)


def test_linked_files_and_folders_are_listed_loaded_and_saved_into_as_the_host_does(folder: Path):
    """People link the folders of their model library (the host follows links: sd1_clip.py:371)."""
    library = folder.parent / "library"
    library.mkdir()
    (folder / "linked").symlink_to(library)
    made = embedding(clip_l=768)
    assert save_embedding(made, "linked/cat", "standard", Export(), False) == [
        folder / "linked" / "cat.safetensors"
    ]
    assert (library / "cat.safetensors").is_file()
    (folder / "one.safetensors").symlink_to(library / "cat.safetensors")
    assert embedding_files() == ["linked/cat.safetensors", "one.safetensors"]
    for name in embedding_files():
        same_vectors(load_embedding(name, "", None, "", ""), made)
        assert file_state(name)
        found = tokens("SD 1", folder, f"embedding:{name}")["l"]
        assert torch.stack(found).equal(made.vectors["clip_l"])


def test_links_in_input_are_not_followed_as_the_host_does_not(folder: Path):
    (folder.parent / "outside.pt").touch()
    (folder.parent / "input" / "link.pt").symlink_to(folder.parent / "outside.pt")
    with pytest.raises(ValueError, match="There is no embedding file"):
        chosen_file("input/link.pt")


def test_a_broken_link_beside_a_file_changes_nothing(folder: Path):
    write(folder / "cat", embedding(clip_l=768), "standard")
    before = file_state("cat.safetensors")
    (folder / "cat_2.safetensors").symlink_to("nowhere")
    assert file_state("cat.safetensors") == before


def test_names_are_paths_below_the_folder(folder: Path):
    assert embedding_path("pets/a.png") == folder / "pets" / "a"
    with pytest.raises(ValueError, match="There is no embedding file 'xxx") as error:
        chosen_file("x" * 5000 + ".pt")
    assert len(str(error.value)) < 300


def test_a_disk_that_takes_no_file_is_our_sentence(folder: Path):
    (folder / "file").touch()
    with pytest.raises(RuntimeError, match="cannot be written to .* Free disk space"):
        save_embedding(embedding(clip_l=768), "file/cat", "standard", Export(), False)


def test_a_changed_file_is_noticed_and_so_is_its_other_half(folder: Path):
    first, second = write(folder / "cat", embedding(**FAMILIES["SDXL"]), "diffusers")
    states = [file_state("cat.safetensors")]
    for path in (first, second):
        path.write_bytes(path.read_bytes() + b" ")
        states.append(file_state("cat.safetensors"))
    assert len(set(states)) == 3


def test_the_graph_goes_into_the_image_unless_metadata_is_off(monkeypatch: pytest.MonkeyPatch):
    import ti_core.host.embedding_files as files

    batch = torch.rand(2, 20, 30, 3)
    made = export_settings("fp32", batch, {"1": {}}, {"workflow": {"nodes": []}})
    assert made.text == {"prompt": '{"1": {}}', "workflow": '{"nodes": []}'}
    assert made.image is not None
    assert made.image.size == (30, 20)
    monkeypatch.setattr(files.args, "disable_metadata", True)
    assert export_settings("fp32", None, {}, {"workflow": {}}) == Export()


def test_the_checkpoints_hash_is_that_of_the_file_as_it_is(tmp_path: Path):
    path = tmp_path / "base.safetensors"
    path.write_bytes(b"abc" * 1_000_000)
    assert checkpoint_hash(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    path.write_bytes(b"other")
    assert checkpoint_hash(path) == hashlib.sha256(b"other").hexdigest()


def test_cancel_ends_the_hashing_of_a_checkpoint(tmp_path: Path):
    path = tmp_path / "base.safetensors"
    path.write_bytes(b"abc")
    interrupt_current_processing(True)
    with pytest.raises(InterruptProcessingException):
        checkpoint_hash(path)
    assert checkpoint_hash(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_checkpoint_is_hashed_once_for_each_state_of_the_file(tmp_path: Path):
    path = tmp_path / "base.safetensors"
    path.write_bytes(b"abc")
    first = checkpoint_hash(path)
    state = path.stat()
    path.write_bytes(b"xyz")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert checkpoint_hash(path) == first  # It was not read again.


TOKENS: dict[str, tuple[Any, dict[str, str], dict[str, str]]] = {
    "CLIP": (
        lambda: TOKENIZERS["SD 1"]().clip_l,
        {
            "cat</w>": "cat",
            "sel": "sel",
            "cÃ©</w>": "cé",
            "ðŁį¸": "🍸",
            "<|endoftext|>": "<|endoftext|>",
        },
        {"°</w>": "\\xb0", "ãĤ¹ãĥ": "ス\\xe3\\x83", "č": "'\\r'"},
    ),
    "Qwen": (
        lambda: TOKENIZERS["Z-Image"]().qwen3_4b,
        {"Ġastonished": "astonished", "é¡ĺ": "願", "á»ħn": "ễn", "<think>": "<think>"},
        {"ã«": "\\xe3\\xab", "Ċ": "'\\n'", "Ġ": "' '"},
    ),
    "LLaMA": (
        hunyuan_video.LLAMA3Tokenizer,
        {"ä½ł": "你", "lt": "lt", "<|begin_of_text|>": "<|begin_of_text|>"},
        {"ĠĠĠ": "'   '"},
    ),
    "T5": (
        lambda: TOKENIZERS["SD 3"]().t5xxl,
        {"▁look": "look", "▁bénéfice": "bénéfice", "poziție": "poziție", "</s>": "</s>"},
        {"▁": "' '"},
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_listed_as_they_are_written(name: str):
    """Language models and CLIP write the bytes of a text in characters of their own."""
    make, readable, unreadable = TOKENS[name]
    vocabulary = make().inv_vocab
    numbers = {token: number for number, token in vocabulary.items()}
    expected = {**readable, **unreadable}
    found = token_texts(vocabulary, {numbers[token] for token in expected})
    assert {token: found[numbers[token]] for token in expected} == expected


def test_a_vector_without_a_token_is_listed_by_its_number():
    vocabulary = TOKENIZERS["Z-Image"]().qwen3_4b.inv_vocab
    assert token_texts(vocabulary, {151900}) == {151900: "token 151900"}


def test_neighbors_of_an_untrained_word_are_its_initializer(loaded: Loaded):
    made = word(loaded.clip, 1)
    known = vocabularies(made, loaded.clip, 3)
    nearest = known["clip_l"].nearest[0]
    assert nearest[0].token == "cat"
    assert nearest[0].cosine == pytest.approx(1.0, abs=1e-5)
    assert known["clip_l"].norm == pytest.approx(encoders(loaded.clip)["clip_l"].vocabulary_norm())
    report = inspection_report(made, known)
    assert "Fits SD 1.x" in report
    assert "nearest cat 1.00" in report
    image = inspection_image(made, known)
    assert image.shape[0] == 1
    assert image.shape[-1] == 3


def test_a_neighbor_that_is_no_english_word_can_be_read(loaded: Loaded):
    part = encoders(loaded.clip)["clip_l"]
    vectors = {"clip_l": part.rows(part.token_ids("🍸"))}
    found = vocabularies(Embedding("a", "b", vectors, {}), loaded.clip, 1)["clip_l"]
    assert [near.token for (near,) in found.nearest] == ["🍸"]


def test_neighbors_are_those_of_the_whole_vocabulary(loaded: Loaded):
    part = encoders(loaded.clip)["clip_l"]
    table = part.rows(list(range(49408)))
    vector = rows(2, 768)
    found = vocabularies(Embedding("a", "b", {"clip_l": vector}, {}), loaded.clip, 7)["clip_l"]
    expected = torch.cosine_similarity(vector[:, None], table[None], dim=-1).topk(7)
    got = torch.tensor([[one.cosine for one in near] for near in found.nearest])
    torch.testing.assert_close(got, expected.values)


def test_reading_needs_no_host(tmp_path: Path):
    """The engine's reader, without folders."""
    (path,) = write(tmp_path / "a", embedding(clip_l=768), "standard")
    same_vectors(read_embedding(path), embedding(clip_l=768))


@pytest.mark.parametrize("name", ["大猫", "кошка", "γάτα", "猫のスタイル", "pets/кот-2"])
@pytest.mark.parametrize("kind", ["standard", "automatic1111"])
def test_comfyui_reads_what_was_saved_under_a_name_of_any_script(
    kind: str, name: str, folder: Path
):
    made = replace(embedding(clip_l=768), placeholder="大猫")
    (path,) = save_embedding(made, name, kind, Export(), False)
    assert path.is_relative_to(folder)
    found = tokens("SD 1", folder, f"a photo of embedding:{name} on a beach")["l"]
    assert torch.stack(found).equal(made.vectors["clip_l"])
    again = load_embedding(path.relative_to(folder).as_posix(), "", None, "", "")
    same_vectors(again, made)
    assert again.placeholder == name.rpartition("/")[2]


def test_files_of_one_name_are_told_of_one_another_and_images_beside_them_are_not(folder: Path):
    save_file({"emb_params": rows(1, 768)}, folder / "cat.safetensors")
    state = file_state("cat.safetensors")
    assert namesakes("cat.safetensors") == [] and namesakes_note("cat.safetensors") == ""
    for name in ("pets/cat.pt", "wild/CAT.SAFETENSORS", "wild/cat.png", "wild/cats.pt", "._cat.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert namesakes("cat.safetensors") == ["pets/cat.pt", "wild/CAT.SAFETENSORS"]
    assert namesakes("pets/cat.pt") == ["cat.safetensors", "wild/CAT.SAFETENSORS"]
    assert namesakes("wild/cat.png") == namesakes("wild/cats.pt") == []
    told = namesakes_note("cat.safetensors")
    assert "have the same name: pets/cat.pt, wild/CAT.SAFETENSORS. AUTOMATIC1111" in told
    assert file_state("cat.safetensors") != state


@pytest.mark.parametrize(
    ("small", "held", "told"),
    [
        (small_sdxl, {"clip_l": 768}, "Half of it is missing: .*SD 1.x.*SDXL.*clip_g reads.*'cat'"),
        (
            small_sdxl,
            {"clip_g": 1280},
            "Half of it is missing: .*clip_l reads the init word 'cat'",
        ),
        (small_flux, {"clip_l": 768}, "Half of it is missing: .*SD 1.x.*Flux.1.*t5xxl reads"),
        (small_flux, {"t5xxl": 4096}, "Half of it is missing: .*Flux.1.*clip_l reads"),
        (small_sdxl, {"clip_l": 768, "clip_g": 1280}, "^$"),
    ],
)
def test_which_half_of_a_word_is_missing_for_a_clip_is_told(
    small: Any, held: dict[str, int], told: str, folder: Path
):
    clip = small()[1]
    write(folder / "my-cat", embedding(**held), "standard")
    found = load_embedding("my-cat.safetensors", "", clip, "", "")
    assert re.search(told, missing_vectors(found, clip))
