"""Folders as users of other trainers lay them out, and what is refused."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from PIL import Image
from small import Loaded, concept, settings, word
from tiny_checkpoint import randomized

from ti_core.concept.audit import concept_report
from ti_core.concept.caption_files import CaptionFiles
from ti_core.concept.caption_settings import CaptionSettings, sample_text
from ti_core.concept.concept import Concept
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import CaptionOptions
from ti_core.concept.masks import MaskSettings
from ti_core.host.images.concept_requests import (
    Request,
    caption_options_state,
    folder_state,
    load_concept,
    read_templates,
)
from ti_core.host.images.dataset_files import dataset_file_state, load_dataset_file
from ti_core.host.images.folders import NO_FOLDER, folder_path, read_text, text_file
from ti_core.host.images.token_counts import audit, encoder_facts, native_side
from ti_core.host.models.encode import encode_images
from ti_core.host.models.text import create_embedding
from ti_core.host.run_key import run_key
from ti_core.training.latents import Gaussian, expected

toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads no TOML")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input folder of its own."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    return folder


def put(folder: Path, **files: str | None) -> Path:
    """Images of different colors with their captions (None: no caption file)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (stem, caption) in enumerate(files.items()):
        image = Image.effect_noise((96, 80), 60 + number).convert("RGB")
        image.save(folder / f"{stem}.png")
        if caption is not None:
            (folder / f"{stem}.txt").write_text(caption, "utf-8")
    return folder


def load(folder: str, kind: Any = "captions", **more: Any) -> Concept:
    return loaded_with_notes(folder, kind, **more)[0]


def loaded_with_notes(
    folder: str, kind: Any = "captions", texts: Sequence[str] = ("",), **more: Any
) -> tuple[Concept, list[str]]:
    images = more.pop("images", [])
    return load_concept(Request(folder, images, kind, texts, FitSettings(64, 64), **more))


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a cat\n" + "(" * 5000])
def test_a_typed_caption_without_end_is_refused_before_it_is_read(inputs: Path, text: str):
    put(inputs / "cats", a=None, b=None)
    with pytest.raises(ValueError, match="has .* characters, but at most 4000 are allowed"):
        loaded_with_notes("input/cats", texts=[text])


def test_an_initializer_without_end_is_refused_before_it_is_read(loaded: Loaded):
    with pytest.raises(ValueError, match="has 1000000 characters; at most 200 are allowed"):
        create_embedding(loaded.clip, "my-cat", "c" * 1_000_000, 1)


def names_of(concept: Concept) -> list[str]:
    return [image.name for image in concept.images]


def captions_of(concept: Concept) -> list[str]:
    return [image.caption for image in concept.images]


def options(source: Any = "auto", **caption_settings: Any) -> CaptionOptions:
    return CaptionOptions(CaptionFiles(source), CaptionSettings(**caption_settings))


def test_the_layout_of_automatic1111_loads_as_it_is(inputs: Path):
    """Pre-processing writes numbered names with a caption in a text file, or in the name itself;
    templates say [name] and [filewords].
    """
    folder = put(
        inputs / "a1111",
        **{"00000-0-a red cat": None, "00001-0-IMG": "a cat, on grass", "00002-0-sleeping": None},
    )
    (inputs / "subject_filewords.txt").write_text("a photo of a [name], [filewords]\n# x\n\n")
    templates = read_templates("", "input/subject_filewords.txt")
    concept = load(f"input/{folder.name}", "object", captions=options(templates=templates))
    assert [concept.text(n, "my-cat") for n in range(3)] == [
        "a photo of a my-cat, a red cat",
        "a photo of a my-cat, a cat, on grass",
        "a photo of a my-cat, sleeping",
    ]
    assert "caption from the file name" in concept_report(concept)


def test_the_folders_of_kohya_load_as_they_are(inputs: Path):
    put(inputs / "train" / "20_my-cat animal", one=None, two="a my-cat on grass")
    put(inputs / "train" / "5_other", three=None)
    concept = load("input/train")
    assert names_of(concept) == [
        "5_other/three.png",
        "20_my-cat animal/one.png",
        "20_my-cat animal/two.png",
    ]
    assert [image.repeats for image in concept.images] == [5, 20, 20]
    texts = [concept.text(n, "my-cat") for n in range(3)]
    assert texts == ["my-cat, other", "my-cat animal", "a my-cat on grass"]
    assert list(load("input/train/20_my-cat animal", repeats=3).turns) == [0] * 60 + [1] * 60


def test_kohyas_caption_files_and_metadata_are_found(inputs: Path):
    folder = put(inputs / "meta", a=None, b=None)
    (folder / "a.caption").write_text("from caption")
    entries = {"C:\\x\\b.png": {"caption": "from json", "tags": "t"}}
    (folder / "meta_cap.json").write_text(json.dumps(entries))
    assert captions_of(load("input/meta")) == ["from caption", "from json, t"]
    (folder / "own.json").write_text(json.dumps({"a": {"caption": "x"}, "b": {"caption": "y"}}))
    files = CaptionFiles("metadata", metadata="own.json")
    assert captions_of(load("input/meta", captions=CaptionOptions(files))) == ["x", "y"]
    files = CaptionFiles("metadata", metadata="../../secret.json")
    with pytest.raises(ValueError, match="There is no metadata file"):
        load("input/meta", captions=CaptionOptions(files))


DATASET = """
[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1

[[datasets]]
resolution = 128
batch_size = 4
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = 'C:\\hoge'
  class_tokens = 'hoge girl'
  num_repeats = 3

  [[datasets.subsets]]
  image_dir = 'C:\\fuga'
  class_tokens = 'fuga boy'
  keep_tokens = 3

  [[datasets.subsets]]
  is_reg = true
  image_dir = 'C:\\reg'
  class_tokens = 'human'

[[datasets]]
resolution = [192, 128]
batch_size = 2

  [[datasets.subsets]]
  image_dir = 'C:\\piyo'
  metadata_file = 'C:\\piyo\\piyo_md.json'
"""


@toml
def test_a_dataset_file_of_kohya_loads_as_its_document_shows_it(inputs: Path):
    put(inputs / "hoge", a="a, b, c, d, e", b=None)
    put(inputs / "fuga", c=None)
    (put(inputs / "piyo", d=None) / "piyo_md.json").write_text('{"d": {"caption": "piyo"}}')
    (inputs / "set.toml").write_text(DATASET)
    concept, notes = load_dataset_file("input/set.toml", "captions", 0)
    assert names_of(concept) == ["a.png", "b.png", "c.png", "d.png"]
    assert captions_of(concept) == ["a, b, c, d, e", "hoge girl", "fuga boy", "piyo"]
    assert [image.repeats for image in concept.images] == [3, 3, 1, 1]
    assert [image.size for image in concept.images] == [(128, 128)] * 3 + [(192, 128)]
    assert [image.caption_settings.keep_tokens for image in concept.images] == [2, 2, 3, 1]
    told = "\n".join(notes)
    assert "batch_size has no effect" in told
    assert "'C:\\\\reg' was left out" in told
    assert "image_dir 'C:\\\\hoge' is read from input/hoge." in told
    style, _ = load_dataset_file("input/set.toml", "style", 0)
    assert style.text(0, "x") == "a painting in the style of x"


@toml
@pytest.mark.parametrize("image_dir", ["/etc", "../..", "..", "C:\\Windows", "a\0b", "input/../.."])
def test_a_dataset_file_cannot_read_outside_of_the_folders(inputs: Path, image_dir: str):
    written = json.dumps(image_dir)
    (inputs / "set.toml").write_text(f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {written}\n")
    with pytest.raises(ValueError, match="is not in ComfyUI's input/ or datasets/"):
        load_dataset_file("input/set.toml", "captions", 0)


@pytest.mark.parametrize(
    "choice", ["input/../secret", "/etc", "input", "input/", "input/a\0b", "output/x", "input//etc"]
)
def test_folders_and_files_outside_are_refused(inputs: Path, choice: str):
    (inputs.parent / "secret").mkdir()
    with pytest.raises(ValueError, match="There is no image folder"):
        folder_path(choice)
    with pytest.raises(ValueError, match="There is no file"):
        text_file(choice)


def test_links_that_lead_outside_are_refused(inputs: Path):
    folder = put(inputs / "cats", a="one")
    outside = put(inputs.parent / "outside", b="secret")
    (folder / "b.png").symlink_to(outside / "b.png")
    with pytest.raises(ValueError, match="'b.png' is a link to a file outside ComfyUI's input/"):
        load("input/cats")
    (folder / "b.png").unlink()
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(outside / "b.txt")
    assert "secret" not in " ".join(captions_of(load("input/cats")))


def test_broken_files_stop_or_are_skipped_and_named(inputs: Path):
    folder = put(inputs / "cats", a="one", b="two")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "text.jpg").write_text("no image")
    Image.new("RGB", (8, 200)).save(folder / "tiny.png")
    with pytest.raises(ValueError) as stopped:
        load("input/cats")
    concept, skipped = loaded_with_notes("input/cats", skip=True)
    assert names_of(concept) == ["a.png", "b.png"]
    for name in ("torn.png", "text.jpg", "tiny.png"):
        assert name in str(stopped.value)
        assert name in " ".join(skipped)
    for path in folder.glob("[ab].png"):
        path.unlink()
    with pytest.raises(ValueError, match="No image can be used"):
        load("input/cats", skip=True)


def test_images_without_captions_are_named_unless_the_kind_needs_none(inputs: Path):
    put(inputs / "cats", IMG_1=None, DSC0002=None, a="one")
    with pytest.raises(ValueError, match=r"no captions for 2 images \(DSC0002.png, IMG_1.png\)"):
        load("input/cats")
    assert captions_of(load("input/cats", "object")) == ["", "", ""]
    named = load("input/cats", captions=options("file names"))
    assert captions_of(named) == ["a", "DSC0002", "IMG_1"]


def test_typed_captions_go_before_files_and_lists_belong_to_images(inputs: Path):
    put(inputs / "cats", a="one", b="two")
    assert captions_of(load("input/cats", texts=("x\n\n y \n",))) == ["x", "y"]
    assert captions_of(load("input/cats", texts=("one for all",))) == ["one for all"] * 2
    assert load("input/cats", texts=("", "p embedding:q")).text(1, "w") == "w, p q"
    assert load("input/cats", texts=("p embedding:q",)).text(1, "w") == "w, p embedding:q"
    with pytest.raises(ValueError, match="list has 3 captions for 2 images"):
        load("input/cats", texts=("x", "y", "z"))
    with pytest.raises(ValueError, match="3 captions for 2 images. Write one line per image"):
        load("input/cats", texts=("x\ny\nz",))


def test_typed_captions_do_not_ask_for_files(inputs: Path):
    put(inputs / "cats", IMG_1=None, IMG_2=None)
    assert captions_of(load("input/cats", texts=("x\ny",))) == ["x", "y"]


def test_captions_that_no_text_takes_up_are_told(inputs: Path):
    put(inputs / "cats", a=None, b=None, c=None)
    _, notes = loaded_with_notes("input/cats", "object", texts=("x\ny",))
    assert notes == [
        "The captions were not used: captions is 'object', which uses none. Set it to "
        "'captions' or 'object and captions'. There are also 2 captions for 3 images."
    ]
    own = options(templates=("a {}",))
    _, notes = loaded_with_notes("input/cats", "style", texts=("x\ny\nz",), captions=own)
    assert notes == [
        "The captions were not used: no template in Caption Options contains [filewords]. Add it "
        "to one."
    ]
    assert loaded_with_notes("input/cats", "object", texts=(" ",))[1] == []
    assert loaded_with_notes("input/cats", "object and captions", texts=("x",))[1] == []


def test_text_files_beside_images_that_no_text_takes_up_are_told(inputs: Path):
    put(inputs / "cats", a="one", b="two", c=None)
    why = "captions is 'object', which uses none. Set it to 'captions' or 'object and captions'."
    told = f"The captions in 2 text files next to the images were not used: {why}"
    assert loaded_with_notes("input/cats", "object")[1] == [told]
    assert loaded_with_notes("input/cats", "object", captions=options("file names"))[1] == []
    (inputs / "cats" / "c.txt").write_text("three")
    assert loaded_with_notes("input/cats", "object and captions")[1] == []


def test_metadata_of_another_kind_is_passed_over_and_told_unless_it_is_named(inputs: Path):
    folder = put(inputs / "cats", a="one", b="two")
    (folder / "metadata.jsonl").write_text('{"id": 1, "label": "x"}\n')
    concept, notes = loaded_with_notes("input/cats")
    assert captions_of(concept) == ["one", "two"]
    assert notes == [
        "The metadata file 'metadata.jsonl' names no image (line 1 has none of file_name, "
        "image, file), so it was not used."
    ]
    named = CaptionOptions(CaptionFiles(metadata="metadata.jsonl"))
    with pytest.raises(ValueError, match=r"'metadata.jsonl' names no image \(line 1 has none of"):
        load("input/cats", captions=named)
    (folder / "a.txt").unlink()
    put(folder, IMG_1=None)
    with pytest.raises(ValueError, match="no captions for 1 image .*so it was not used"):
        load("input/cats")
    (folder / "metadata.jsonl").write_text('{"image": "IMG_1.png", "text": "three"}\n')
    assert captions_of(load("input/cats")) == ["a", "two", "three"]


def test_prefix_and_suffix_of_the_node_stay_prompts_beside_a_files_caption(inputs: Path):
    put(inputs / "cats", a="{} embedding:evil (fate)")
    typed = options(prefix="embedding:film-look", suffix="(soft light:1.3)")
    text = load("input/cats", captions=typed).text(0, "my-cat")
    assert text == r"embedding:film-look my-cat evil \(fate\) (soft light:1.3)"


def test_sub_folders_can_be_left_out(inputs: Path):
    put(inputs / "cats", a="one")
    put(inputs / "cats" / "more", b="two")
    assert names_of(load("input/cats")) == ["a.png", "more/b.png"]
    assert names_of(load("input/cats", deep=False)) == ["a.png"]


def white_left(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def test_masks_come_from_files_transparency_and_sockets(inputs: Path):
    folder = put(inputs / "cats", a="one", b="two")
    white_left(96, 80).save(folder / "a_mask.png")
    image = Image.open(folder / "b.png").convert("RGBA")
    image.putalpha(white_left(96, 80))
    image.save(folder / "b.png")
    plain = load("input/cats")
    assert [mask is not None for mask in plain.weights] == [True, False]
    assert "Mask Options can mask it out" in concept_report(plain)
    both = load("input/cats", masking=MaskSettings("auto"))
    assert all(mask is not None for mask in both.weights)
    assert load("input/cats", masking=MaskSettings("none")).weights == (None, None)
    connected = torch.zeros(2, 80, 96)
    connected[:, :, 48:] = 1
    given = load("input/cats", masks=[connected])
    assert given.weights[0] is not None
    assert given.weights[0][:, 0].max() == 0
    with pytest.raises(ValueError, match="There are 3 masks for 2 images"):
        load("input/cats", masks=[torch.ones(3, 80, 96)])


def test_a_fourth_channel_of_the_graph_is_how_opaque_an_image_is():
    images = torch.zeros(2, 64, 64, 4)
    images[..., 0] = 1.0  # red
    images[0, :, :32, 3] = 1.0
    images[1, ..., 3] = 1.0
    green = MaskSettings("auto", background=(0, 255, 0))
    concept = load(NO_FOLDER, "object", images=[images], masking=green)
    assert concept.crops[0][0, 0].tolist() == [255, 0, 0]
    assert concept.crops[0][0, -1].tolist() == [0, 255, 0]
    assert concept.weights[1] is None
    assert concept.weights[0] is not None
    assert concept.weights[0][:, 40:].max() == 0
    plain = load(NO_FOLDER, "object", images=[images])
    assert plain.weights == (None, None)
    assert plain.crops[0][0, -1].tolist() == [255, 255, 255]
    assert "Mask Options can mask it out" in concept_report(plain)
    own = torch.ones(64, 64)
    given = load(NO_FOLDER, "object", images=[images], masks=[own], masking=MaskSettings("auto"))
    assert given.weights == (None, None)


def test_images_too_small_for_a_bucket_are_named_or_skipped(inputs: Path):
    folder = put(inputs / "cats", a="one")
    Image.new("RGB", (60, 40)).save(folder / "small.png")
    (folder / "small.txt").write_text("two")
    fit = FitSettings(64, 64, buckets=True, upscale=False)
    request = Request("input/cats", [], "captions", ("",), fit)
    with pytest.raises(ValueError, match="'small.png' is 60 x 40 pixels, smaller than"):
        load_concept(request)
    concept, notes = load_concept(replace(request, skip=True))
    assert names_of(concept) == ["a.png"]
    assert "'small.png' is 60 x 40 pixels" in notes[0]


def test_images_masks_and_captions_of_the_graph_belong_together():
    images = [torch.rand(2, 80, 80, 3), torch.rand(1, 64, 96, 3)]
    concept = load(
        NO_FOLDER,
        images=images,
        texts=("a", "b", "c"),
        masks=[torch.ones(80, 80)] * 2 + [torch.ones(64, 96)],
    )
    assert names_of(concept) == ["image 1", "image 2", "image 3"]
    assert captions_of(concept) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="connected images have no captions"):
        load(NO_FOLDER, images=images)
    with pytest.raises(ValueError, match="There are no images"):
        load(NO_FOLDER)


def test_templates_come_from_the_node_or_a_file_not_both(inputs: Path):
    (inputs / "mine.txt").write_text("# c\na {} embedding:evil\n")
    assert read_templates("", "input/mine.txt") == ("a {} evil",)
    assert read_templates("x {}", "") == ("x {}",)
    assert read_templates(" ", "") == ()
    with pytest.raises(ValueError, match="Clear one of them"):
        read_templates("x", "input/mine.txt")
    (inputs / "huge.txt").write_bytes(b"x" * (2 << 20))
    with pytest.raises(ValueError, match="'huge.txt' is larger than 1024 KiB. That is too long"):
        read_templates("", "input/huge.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files_of_usual_encodings_are_read(tmp_path: Path, encoding: str):
    path = tmp_path / "a.txt"
    path.write_bytes("schöne Katze\r\nim Gras".encode(encoding))
    assert read_text(path, 1000) == "schöne Katze\nim Gras"


@pytest.mark.parametrize("data", [b"\xff", b"\xff\xfe\x00", b"a\xc3", bytes(range(256))])
def test_bytes_that_are_no_text_are_named(tmp_path: Path, data: bytes):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="The file 'a.txt' cannot be read as text"):
        read_text(path, 1000)


def test_a_change_of_any_file_changes_the_folders_state(inputs: Path):
    folder = put(inputs / "cats", a="one")
    before = folder_state("input/cats")
    (folder / "a.txt").write_text("another")
    assert folder_state("input/cats") != before
    assert folder_state("input/cats") == folder_state("input/cats")


def test_the_files_that_caption_options_name_are_watched(inputs: Path):
    """Load Images as Concept does not see them: they lie outside of its folder."""
    named = ("input/mine.txt", "input/own.json")
    seen = {caption_options_state(*named)}
    for name in ("mine.txt", "own.json"):
        (inputs / name).write_text("a {}")
        seen.add(caption_options_state(*named))
        (inputs / name).write_text("another {}")
        seen.add(caption_options_state(*named))
    assert len(seen) == 5
    assert caption_options_state(None, "") == caption_options_state()


SUBSETS = """
[[datasets]]
resolution = 64

  [[datasets.subsets]]
  image_dir = 'cats'
  conditioning_data_dir = 'masks'
  metadata_file = 'input/texts/captions.json'

  [[datasets.subsets]]
  image_dir = 'dogs'
  class_tokens = 'dog'
"""


def dataset(inputs: Path) -> None:
    """A dataset file whose masks and metadata lie in folders of their own."""
    put(inputs / "cats", a=None)
    put(inputs / "dogs", b=None)
    put(inputs / "masks", a=None)
    (inputs / "texts").mkdir()
    (inputs / "texts" / "captions.json").write_text('{"a": {"caption": "one"}}')
    (inputs / "set.toml").write_text(SUBSETS)


@toml
@pytest.mark.parametrize(
    "file", ["cats/a.png", "dogs/b.png", "masks/a.png", "texts/captions.json", "set.toml"]
)
def test_a_change_of_any_file_of_a_dataset_changes_its_state(inputs: Path, file: str):
    dataset(inputs)
    before = dataset_file_state("input/set.toml", "captions")
    assert dataset_file_state("input/set.toml", "captions") == before
    os.utime(inputs / file, ns=(1, 1))
    assert dataset_file_state("input/set.toml", "captions") != before


@toml
def test_no_file_is_read_that_the_state_does_not_know(inputs: Path):
    """Every file that is opened below input/ has its name in the state."""
    dataset(inputs)
    put(inputs / "mine" / "2_cat", c=None, d="two")
    white_left(96, 80).save(inputs / "mine" / "2_cat" / "c_mask.png")
    (inputs / "own.json").write_text('{"c": {"caption": "three"}}')
    (inputs / "templates.txt").write_text("a {}, [filewords]")
    opened: set[str] = set()
    watching = [True]

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(given[0]).startswith(str(inputs)):
            opened.add(str(given[0]))

    sys.addaudithook(watch)
    try:
        load_dataset_file("input/set.toml", "captions", 0)
        files = CaptionFiles(metadata="input/own.json")
        caption_settings = CaptionSettings(read_templates("", "input/templates.txt"))
        load("input/mine", captions=CaptionOptions(files, caption_settings))
    finally:
        watching.clear()
    known = dataset_file_state("input/set.toml", "captions") + folder_state("input/mine")
    known += caption_options_state("input/templates.txt", "input/own.json")
    assert len(opened) == 11
    assert all(path in known for path in opened)


def test_the_run_key_changes_with_all_of_a_concept_that_is_learned_from(loaded: Loaded):
    first, *rest = concept().images
    changes: list[dict[str, Any]] = [
        {},
        {"crops": (first.crops[0] * 0.5,)},
        {"crops": first.crops * 2, "weights": (None, None)},
        {"weights": (torch.full((64, 64), 0.5),)},
        {"caption": "red"},
        {"caption_settings": replace(first.caption_settings, shuffle=True)},
        {"repeats": 2},
    ]
    concepts = [Concept((replace(first, **one), *rest), "object") for one in changes]
    concepts += [Concept((first, *rest[:1]), "object"), replace(concepts[0], latents="random")]

    def key(one: Concept) -> str:
        model, clip, vae = loaded
        return run_key(model, clip, vae, one, word(clip), settings())

    assert len({key(one) for one in concepts}) == len(concepts)
    assert key(Concept((replace(first, name="x.png"), *rest), "style")) == key(concepts[0])


HOSTILE = {
    "parentheses": "(" * 100_000,
    "braces": "{" * 200_000,
    "wildcards": "a {b|c " * 30_000,
    "nameless": "x embedding:",
    "nameless twice": "embedding: " * 20_000,
    "others": "embedding:other " * 10_000,
    "the host's own escapes": "\0\1\2\x7f a red cat on the grass by the sea",
    "a weight": "((a:1e30)",
    "tags": "a, " * 60_000,
    "slots": "[filewords]" * 5000,
}


@pytest.mark.parametrize("caption", HOSTILE.values(), ids=HOSTILE)
def test_hostile_captions_reach_the_encoder_as_plain_words(
    inputs: Path, loaded: Loaded, caption: str
):
    """The host's own tokenizer recurses into parentheses and fails on a nameless `embedding:`."""
    put(inputs / "cats", a=caption, b="two", c="three")
    caption_settings = {"shuffle": True, "wildcards": True, "templates": ("{} [filewords]",)}
    concept = load("input/cats", "object", captions=options(**caption_settings))
    word = create_embedding(loaded.clip, "my-cat", "cat", 2)
    facts = encoder_facts(loaded.clip, word, concept.text(0, "my-cat"))
    assert facts[0].longest < 5000
    assert "embedding:" not in concept.text(0, "my-cat")


def test_the_audit_counts_tokens_and_knows_ordinary_words(inputs: Path, loaded: Loaded):
    put(inputs / "cats", a="a red thing, " * 40, b="two", c="three")
    concept = load("input/cats")
    word = create_embedding(loaded.clip, "cat", "cat", 3)
    sheet, text = audit(concept, word, loaded.clip, 2, 1)
    assert sheet.ndim == 3
    assert "'cat' is an ordinary word in the vocabulary of clip_l" in text
    assert "chunks of 75" in text
    assert "smaller than the 512 x 512" in text
    assert "One epoch takes 1.5 steps" in text
    assert native_side(loaded.clip) == 512
    assert "\n3 images at 64 x 64" in audit(concept, None, None, 1, 1)[1]


def test_latents_can_be_the_middle_one_sample_or_a_distribution(loaded: Loaded):
    """The tiny checkpoint's VAE has no distribution, and says so."""
    image = torch.rand(64, 64, 3)
    scale = loaded.model.model.latent_format
    (middle,) = encode_images(loaded.vae, scale, [image])
    assert isinstance(middle, torch.Tensor)
    with pytest.raises(ValueError, match="Set 'latents' in Crop & Buckets to 'deterministic'"):
        encode_images(loaded.vae, scale, [image], "random")


class GaussianVae:
    """The host's KL autoencoder, small, behind the two attributes that are used of a VAE."""

    def __init__(self) -> None:
        from comfy.ldm.models.autoencoder import AutoencoderKL

        layout = {
            "double_z": True,
            "z_channels": 4,
            "resolution": 32,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1, 1],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        }
        self.first_stage_model = AutoencoderKL(ddconfig=layout, embed_dim=4)
        randomized(self.first_stage_model, torch.Generator().manual_seed(0))

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        latents = self.first_stage_model.encode(pixels.movedim(-1, 1) * 2 - 1)
        assert isinstance(latents, torch.Tensor)
        return latents


def test_the_distribution_is_the_hosts_and_scaled_as_its_middle(loaded: Loaded):
    vae = GaussianVae()
    scale = loaded.model.model.latent_format
    image, state = torch.rand(64, 64, 3), torch.get_rng_state()
    before = vae.first_stage_model.regularization
    (middle,) = encode_images(vae, scale, [image])
    (found,) = encode_images(vae, scale, [image], "random")
    once = [expected(encode_images(vae, scale, [image], "once", n)[0]) for n in (1, 1, 2)]
    assert vae.first_stage_model.regularization is before
    assert torch.get_rng_state().equal(state)
    assert isinstance(found, Gaussian)
    assert isinstance(middle, torch.Tensor)
    torch.testing.assert_close(found.mean, middle)
    assert found.spread.min() > 0
    assert once[0].equal(once[1])
    assert not once[0].equal(once[2])
    deviation = ((once[0] - middle) / found.spread).std()
    assert 0.9 < deviation < 1.1


@toml
def test_subsets_of_one_folder_share_their_crops(inputs: Path):
    put(inputs / "cats", a=None, b=None)
    subset = "[[datasets.subsets]]\nimage_dir = 'cats'\nclass_tokens = '{}'\n"
    text = "[[datasets]]\nresolution = 64\n" + "".join(subset.format(n) for n in range(5))
    (inputs / "set.toml").write_text(text)
    concept, _ = load_dataset_file("input/set.toml", "captions", 0)
    assert captions_of(concept) == [str(n) for n in range(5) for _ in "ab"]
    assert len({id(crop) for crop in concept.crops}) == 2


def test_captions_in_an_older_encoding_are_read_and_told(inputs: Path):
    folder = put(inputs / "cats", a=None, b="two", c="three")
    (folder / "a.txt").write_bytes("un café".encode("cp1252"))
    concept = load("input/cats")
    assert captions_of(concept)[0] == "un café"
    assert "1 caption file not in UTF-8: a.txt, read as Windows-1252." in concept_report(concept)


def test_a_caption_file_that_is_no_text_is_named_and_not_trained_on(inputs: Path):
    folder = put(inputs / "cats", a="one", b="two")
    (folder / "a.txt").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="The file 'a.txt' cannot be read as text"):
        load("input/cats")
    concept, notes = loaded_with_notes("input/cats", skip=True)
    assert names_of(concept) == ["b.png"]
    assert "'a.txt' cannot be read as text" in " ".join(notes)


@pytest.mark.skipif(os.name == "nt", reason="Windows' names are Unicode")
def test_a_name_that_is_not_utf_8_is_shown_with_signs(inputs: Path):
    folder = put(inputs / "cats", a=None)
    os.rename(folder / "a.png", os.fsencode(folder) + b"/a\xff.png")
    concept = load("input/cats", "object")
    assert concept_report(concept).encode()
    assert names_of(concept) == ["a?.png"]


@pytest.mark.parametrize(
    "caption",
    ["embedding: (cat)", "(embedding::1.2)", "embedding: my-cat", "a \ud800 cat", "embedding::"],
)
def test_typed_captions_that_name_no_embedding_are_tokenized(loaded: Loaded, caption: str):
    text = sample_text(caption, CaptionSettings(), "my-cat")
    word = create_embedding(loaded.clip, "my-cat", "cat", 2)
    assert encoder_facts(loaded.clip, word, text)[0].longest > 0
