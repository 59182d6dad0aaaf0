"""kohya's dataset files."""

import sys
from dataclasses import replace

import pytest

from ti_core.concept.caption_settings import sample_text
from ti_core.concept.kohya_toml import subsets

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads no TOML")

# The example of sd-scripts' docs/config_README-en.md.
DOCUMENTED = r"""
[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1

# This is a DreamBooth-style dataset
[[datasets]]
resolution = 512
batch_size = 4
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = 'C:\hoge'
  class_tokens = 'hoge girl'
  # This subset uses keep_tokens = 2 (the value of the parent datasets)

  [[datasets.subsets]]
  image_dir = 'C:\fuga'
  class_tokens = 'fuga boy'
  keep_tokens = 3

  [[datasets.subsets]]
  is_reg = true
  image_dir = 'C:\reg'
  class_tokens = 'human'
  keep_tokens = 1

# This is a fine-tuning dataset
[[datasets]]
resolution = [768, 768]
batch_size = 2

  [[datasets.subsets]]
  image_dir = 'C:\piyo'
  metadata_file = 'C:\piyo\piyo_md.json'
  # This subset uses keep_tokens = 1 (the value of [general])
"""


def one(text: str, head: str = "", dataset: str = ""):  # type: ignore[no-untyped-def]
    """The single subset of a small file."""
    whole = f"{head}\n[[datasets]]\n{dataset}\n[[datasets.subsets]]\nimage_dir = 'a'\n{text}"
    (found,), _ = subsets(whole)
    return found


def test_the_documents_example_is_read_as_it_is():
    found, notes = subsets(DOCUMENTED)
    assert [subset.folder for subset in found] == ["C:\\hoge", "C:\\fuga", "C:\\piyo"]
    assert [subset.captions.caption_settings.keep_tokens for subset in found] == [2, 3, 1]
    assert all(subset.captions.caption_settings.shuffle for subset in found)
    assert [(subset.fit.width, subset.fit.height) for subset in found] == [
        (512, 512),
        (512, 512),
        (768, 768),
    ]
    assert [subset.captions.files.source for subset in found] == ["kohya", "kohya", "metadata"]
    assert found[0].captions.files.words == "hoge girl"
    assert found[0].captions.files.extension == ".txt"
    assert "batch_size has no effect here: set batch_size in Train Textual Inversion." in notes
    assert any("'C:\\\\reg' was left out" in note for note in notes)


def test_every_switch_arrives():
    found = one(
        """
        num_repeats = 10
        caption_prefix = 'pre'
        caption_suffix = 'post'
        caption_dropout_rate = 0.1
        caption_dropout_every_n_epochs = 3
        caption_tag_dropout_rate = 0.2
        enable_wildcard = true
        keep_tokens_separator = '|||'
        secondary_separator = ';;;'
        caption_separator = ';'
        token_warmup_min = 2
        token_warmup_step = 50
        flip_aug = true
        color_aug = true
        random_crop = true
        alpha_mask = true
        conditioning_data_dir = 'masks'
        """,
        dataset="""
        resolution = [640, 512]
        enable_bucket = true
        min_bucket_reso = 320
        max_bucket_reso = 960
        bucket_reso_steps = 32
        bucket_no_upscale = true
        skip_image_resolution = 256
        """,
    )
    caption_settings, fit = found.captions.caption_settings, found.fit
    assert found.repeats == 10
    assert (caption_settings.prefix, caption_settings.suffix) == ("pre", "post")
    assert (caption_settings.caption_dropout, caption_settings.caption_dropout_epochs) == (0.1, 3)
    assert (caption_settings.tag_dropout, caption_settings.wildcards, caption_settings.lines) == (
        0.2,
        True,
        "draw",
    )
    assert (caption_settings.keep_separator, caption_settings.secondary_separator) == ("|||", ";;;")
    assert (
        caption_settings.separator,
        caption_settings.warmup_min,
        caption_settings.warmup_steps,
    ) == (";", 2, 50)
    assert (fit.flip, fit.position, fit.variants) == (0.5, "random", 4)
    assert fit.color > 0
    assert (fit.width, fit.height, fit.smallest, fit.largest, fit.step) == (640, 512, 320, 960, 32)
    assert fit.buckets
    assert not fit.upscale
    assert (found.masks.source, found.mask_folder) == ("alpha", "masks")
    assert found.smallest_area == 256 * 256


def test_prefix_and_suffix_of_a_dataset_file_are_a_strangers():
    lines = "caption_prefix = 'embedembedding:ding:a {}'\ncaption_suffix = '(embedding:b:1.3)'"
    caption_settings = replace(one(lines).captions.caption_settings, typed=False)
    assert sample_text("c", caption_settings, "x") == r"a x c \(b:1.3\)"


def test_the_defaults_are_kohyas():
    found = one("")
    assert found.captions.files.extension == ".caption"
    assert found.captions.caption_settings.lines == "first"
    assert (found.repeats, found.fit.buckets, found.fit.step) == (1, False, 64)


def test_lower_levels_win():
    assert one("num_repeats = 3", "[general]\nnum_repeats = 1", "num_repeats = 2").repeats == 3
    assert one("", "[general]\nnum_repeats = 1", "num_repeats = 2").repeats == 2
    assert one("", "[general]\nnum_repeats = 4").repeats == 4


def test_a_subset_that_is_repeated_counts_once():
    text = "[[datasets]]\n" + "[[datasets.subsets]]\nimage_dir = 'a'\n" * 2
    assert len(subsets(text)[0]) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"no \[\[datasets\]\]"),
        ("[[datasets]]\nresolution = 512", r"no \[\[datasets.subsets\]\]"),
        ("datasets = 3", "value 3 of 'datasets'"),
        ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2", "has no image_dir"),
        ("[generall]", "Unknown key 'generall' at the top .* Did you mean 'general'"),
        ("[[datasets]\n", "is not valid TOML"),
        ("a = " + "[" * 5000, "is not valid TOML"),
        ('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "C:\\Users"', "single quotes"),
    ],
)
def test_files_that_cannot_be_meant_are_explained(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        subsets(text)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("num_repeat = 3", "Unknown key 'num_repeat' .* Did you mean 'num_repeats'"),
        ("resolution = 512", r"Unknown key 'resolution' in \[\[datasets.subsets"),
        ("num_repeats = '3'", "value '3' of 'num_repeats' .* a number"),
        ("num_repeats = true", "value True of 'num_repeats'"),
        ("flip_aug = 1", "value 1 of 'flip_aug' .* true or false"),
        ("token_warmup_step = 0.5", "Write the number of steps"),
        ("xyzzy = 1", "Known keys: num_repeats"),
    ],
)
def test_wrong_keys_and_values_are_errors_with_the_nearest_known_name(line: str, says: str):
    with pytest.raises(ValueError, match=says):
        one(line)


@pytest.mark.parametrize("value", ["10", "[512]", "[512, 9999]", "[1, 2, 3]", "['a', 'b']"])
def test_resolutions_that_cannot_be_meant_are_explained(value: str):
    with pytest.raises(ValueError, match="should be a number from 64 to 4096"):
        one("", dataset=f"resolution = {value}")


@pytest.mark.parametrize(
    "line",
    [
        "num_repeats = 1000000000",
        "num_repeats = 0",
        "keep_tokens = -1",
        "caption_dropout_rate = 1.5",
        "caption_dropout_rate = -0.1",
        "caption_tag_dropout_rate = nan",
        "token_warmup_step = inf",
        "token_warmup_step = nan",
        "token_warmup_min = -1",
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_key(line: str):
    key, value = line.split(" = ")
    with pytest.raises(ValueError, match=f"The value {value} of '{key}' .* should be from"):
        one(line)


def test_buckets_have_bounds():
    with pytest.raises(ValueError, match="of 'max_bucket_reso' .* should be from 64 to 8192"):
        one("", dataset="max_bucket_reso = 2000000000")


def test_many_dots_and_subsets_are_refused_before_they_are_read():
    with pytest.raises(ValueError, match="has more than 64 dots"):
        subsets("a." * 1000 + "b = 1")
    many = "[[datasets]]\n" + "[[datasets.subsets]]\nimage_dir = 'a'\n" * 1001
    with pytest.raises(ValueError, match="has 1001 subsets, but at most 1000 are allowed"):
        subsets(many)
