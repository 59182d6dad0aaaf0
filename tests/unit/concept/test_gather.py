"""From sources to a concept: sizes, masks, variants."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ti_core.concept.audit import concept_report
from ti_core.concept.caption_files import LONGEST_CAPTION
from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import CropOrigin
from ti_core.concept.fit import FitSettings, scaled
from ti_core.concept.gather import ImageRecipe, SourceImage, concept_of, difference_hash
from ti_core.concept.masks import MaskSettings, latent_weights, over_image, stacked_weights
from ti_core.concept.pixels import in_floats


def noise(width: int, height: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def half_mask(width: int, height: int) -> torch.Tensor:
    """White on the left half."""
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


def recipe(masks: MaskSettings | None = None, **fit: object) -> ImageRecipe:
    chosen = FitSettings(64, 64, **fit)  # type: ignore[arg-type]
    return ImageRecipe("captions", CaptionSettings(), chosen, masks or MaskSettings())


def test_images_get_their_buckets():
    sources = [
        SourceImage("a", noise(300, 200)),
        SourceImage("b", noise(100, 100)),
        SourceImage("c", noise(64, 128)),
    ]
    concept = concept_of(sources, recipe(buckets=True, step=16))
    assert [tuple(crop.shape[:2]) for crop in concept.crops] == [(48, 80), (64, 64), (80, 48)]
    assert concept.weights == (None,) * 3
    assert (found := concept.images[0].found) and (found.width, found.height) == (300, 200)


def test_crops_are_kept_as_the_bytes_of_the_file_where_nothing_is_scaled():
    pixels = (noise(64, 64) * 255).to(torch.uint8)
    (crop,) = concept_of([SourceImage("a", pixels)], recipe()).crops
    assert crop.dtype == torch.uint8
    assert crop.equal(pixels)
    assert in_floats(crop).equal(torch.from_numpy(pixels.numpy() / np.float32(255)))


def test_repeats_of_a_source_and_of_the_recipe_multiply():
    chosen = replace(recipe(), repeats=3)
    concept = concept_of(
        [SourceImage("a", noise(64, 64), repeats=2), SourceImage("b", noise(64, 64))], chosen
    )
    assert [image.repeats for image in concept.images] == [6, 3]


def test_each_image_has_views_of_its_own():
    same = [SourceImage(name, noise(200, 64)) for name in "ab"]
    one, two = concept_of(same, recipe(position="random")).crops
    assert not one.equal(two)


def test_what_was_enlarged_is_noted():
    for size, enlarged in (((64, 64), False), ((63, 200), True), ((200, 63), True)):
        (image,) = concept_of([SourceImage("a", noise(*size))], recipe()).images
        assert image.found is not None
        assert ("enlarged" in image.found.notes) == enlarged


def test_random_fits_make_variants_that_repeat_with_the_seed():
    sources = [SourceImage("a", noise(200, 100)), SourceImage("b", noise(100, 200))]
    fit = {"position": "random", "flip": 0.5, "variants": 3}
    one, two = (concept_of(sources, recipe(**fit)) for _ in range(2))
    other = concept_of(sources, recipe(**fit, seed=1))
    assert one.places == (range(0, 3), range(3, 6))
    assert all(a.equal(b) for a, b in zip(one.crops, two.crops, strict=True))
    assert not all(a.equal(b) for a, b in zip(one.crops, other.crops, strict=True))
    assert not one.crops[0].equal(one.crops[1])


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"flip": 1.0},
        {"method": "pad", "position": "random", "zoom": 0.2},
        {"method": "squash", "position": "random", "zoom": 0.2},
    ],
)
def test_without_chance_there_is_one_crop_whatever_variants_says(fit: dict[str, Any]):
    """Padding and squashing show the whole image, wherever one looks."""
    concept = concept_of([SourceImage("a", noise(99, 70))], recipe(variants=8, **fit))
    assert len(concept.crops) == 1


@pytest.mark.parametrize("chance", [{"flip": 0.5}, {"color": 0.1}])
def test_padded_images_differ_by_flips_and_colors(chance: dict[str, Any]):
    concept = concept_of(
        [SourceImage("a", noise(99, 70))], recipe(variants=8, method="pad", **chance)
    )
    assert len(concept.crops) == 8


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 128)])
def test_a_mask_lies_over_its_crop_in_any_shape(size: tuple[int, int]):
    """Also where width and height differ; AUTOMATIC1111 transposes such masks."""
    width, height = size
    image = half_mask(width, height)[..., None].expand(-1, -1, 3).clone()
    masked = SourceImage("a", image, half_mask(width, height))
    fit = FitSettings(width, height)
    concept = concept_of(
        [masked], ImageRecipe("object", CaptionSettings(), fit, MaskSettings(normalize=False))
    )
    crop, weights = concept.crops[0], concept.weights[0]
    assert weights is not None
    assert weights.shape == (height, width)
    assert torch.allclose(in_floats(crop)[..., 0], weights, atol=1e-4)
    latents = latent_weights(weights, (4, height // 8, width // 8))
    assert latents.shape == (1, height // 8, width // 8)
    assert latents[0, :, 0].min() == 1
    assert latents[0, :, -1].max() == 0


def test_flips_take_the_mask_along():
    source = SourceImage(
        "a", half_mask(64, 64)[..., None].expand(-1, -1, 3).clone(), half_mask(64, 64)
    )
    concept = concept_of([source], recipe(MaskSettings(normalize=False), flip=1.0))
    (weights,) = concept.weights
    assert weights is not None
    assert weights[:, -1].min() == 1
    assert torch.allclose(in_floats(concept.crops[0])[..., 0], weights, atol=1e-4)


def test_unmasked_weight_normalization_and_inversion():
    mask = half_mask(64, 64)
    weights = MaskSettings(unmasked=0.2, normalize=False).weights(mask)
    assert weights[0, 0] == 1
    assert weights[0, -1] == pytest.approx(0.2)
    assert MaskSettings(unmasked=0.2).weights(mask).mean() == pytest.approx(1.0)
    source = SourceImage("a", noise(64, 64), mask)
    inverted = concept_of([source], recipe(MaskSettings(invert=True))).weights[0]
    assert inverted is not None
    assert inverted[0, 0] == 0
    assert inverted[0, -1] == 2


@pytest.mark.parametrize("size", [64, 77, 512])
@pytest.mark.parametrize("masks", [MaskSettings(), MaskSettings(normalize=False)])
def test_a_mask_that_is_white_everywhere_is_none(size: int, masks: MaskSettings):
    """Scaling leaves its weights 2.4e-7 below 1."""
    source = SourceImage("a", noise(size, size), torch.ones(size, size))
    assert concept_of([source], recipe(masks)).weights == (None,)
    source.mask[:4, :4] = 0.9  # type: ignore[index]
    assert concept_of([source], recipe(masks)).weights != (None,)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.zeros(64, 64), "The mask of 'a' is empty"),
        (torch.ones(64, 128), "mask of 'a' is 128 x 64, but the image is 64 x 64"),
    ],
)
def test_masks_that_cannot_be_meant_are_explained(mask: torch.Tensor, says: str):
    with pytest.raises(ValueError, match=says):
        concept_of([SourceImage("a", noise(64, 64), mask)], recipe())


@pytest.mark.parametrize("size", [(32, 16), (65, 32), (63, 32), (130, 66)])
def test_a_mask_of_nearly_the_same_shape_is_laid_over_its_image(size: tuple[int, int]):
    """Masks that were drawn at another scale differ by a rounded pixel."""
    assert over_image(half_mask(*size), noise(64, 32), "a").shape == (32, 64)


@pytest.mark.parametrize("size", [(66, 32), (62, 32), (64, 33), (32, 64)])
def test_a_mask_of_another_shape_is_refused(size: tuple[int, int]):
    with pytest.raises(ValueError, match="but the image is 64 x 32"):
        over_image(half_mask(*size), noise(64, 32), "a")


@pytest.mark.parametrize(("side", "told"), [(64, True), (30, False), (100, False)])
def test_the_empty_mask_of_load_image_is_explained_where_it_is_one(side: int, told: bool):
    with pytest.raises(ValueError, match="Use a mask with the image's shape") as error:
        over_image(torch.zeros(side, side), noise(64, 32), "a")
    assert ("Load Image gives" in str(error.value)) == told


def test_random_crops_see_what_counts():
    mask = torch.zeros(64, 640)
    mask[:, 300:330] = 1
    source = SourceImage("a", noise(640, 64), mask)
    concept = concept_of([source], recipe(position="random", variants=8))
    assert all(weights is not None and weights.max() > 0 for weights in concept.weights)


def test_padding_is_not_learned():
    concept = concept_of([SourceImage("a", noise(128, 64))], recipe(method="pad"))
    weights = concept.weights[0]
    assert weights is not None
    assert weights[0].max() == 0
    assert weights[32].min() == pytest.approx(2.0, abs=0.01)


def test_batches_mix_images_with_and_without_masks():
    weights = torch.rand(1, 8, 8)
    both = stacked_weights([None, weights])
    assert both is not None
    assert both.shape == (2, 1, 8, 8)
    assert both[0].min() == both[0].max() == 1
    assert stacked_weights([None, None]) is None


def test_the_weight_of_a_latent_is_the_mean_over_what_it_covers():
    weights = torch.zeros(16, 16)
    weights[:2, :8] = 1  # a quarter of the first latent
    weights[8, 8] = 1  # one pixel of the last one
    found = latent_weights(weights, (4, 2, 2))
    assert found.tolist() == [[[0.25, 0.0], [0.0, 1 / 64]]]


def test_weights_broadcast_over_latents_of_videos():
    assert latent_weights(torch.ones(64, 64), (16, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_a_tiny_image_is_named():
    with pytest.raises(ValueError, match="'a' is 15 x 300 pixels, too small"):
        concept_of([SourceImage("a", noise(15, 300))], recipe())


def test_an_image_that_fills_no_bucket_is_named():
    small = [SourceImage("a", noise(60, 40))]
    with pytest.raises(ValueError, match="'a' is 60 x 40 pixels, smaller than the smallest bucket"):
        concept_of(small, recipe(buckets=True, upscale=False, step=64))
    assert concept_of(small, recipe(buckets=True, step=64)).images[0].size == (64, 64)
    unscaled = concept_of(small, recipe(buckets=True, upscale=False, step=8))
    assert unscaled.images[0].size == (56, 40)


def test_captions_of_files_and_typed_ones_are_told_apart():
    """By what the source says of them, not by where the report says that they stood."""
    sources = [
        SourceImage("a", noise(64, 64), caption="embedding:x", caption_from="typed"),
        SourceImage("b", noise(64, 64), caption="embedding:x", typed=True),
    ]
    concept = concept_of(sources, recipe())
    assert concept.text(0, "my-cat") == "my-cat, x"
    assert concept.text(1, "my-cat") == "my-cat, embedding:x"


def test_captions_of_files_are_cleaned_and_what_is_cut_is_told():
    most = "x" * LONGEST_CAPTION
    captions = {"  a\0b  ": "a b", f" {most} ": most, f"{most}x": most}
    sources = [SourceImage("a", noise(64, 64), caption=caption) for caption in captions]
    concept = concept_of(sources, recipe())
    assert [image.caption for image in concept.images] == list(captions.values())
    assert concept_report(concept).count("a caption of 4001 characters, cut") == 1
    (typed,) = concept_of(
        [SourceImage("a", noise(64, 64), caption="a  b", typed=True)], recipe()
    ).images
    assert typed.caption == "a  b"


def test_looks_survive_scaling_and_tell_images_apart():
    smooth = (
        torch.nn.functional.interpolate(
            noise(12, 12).movedim(-1, 0)[None], (240, 240), mode="bicubic"
        )[0]
        .movedim(0, -1)
        .clamp(0, 1)
    )
    small = smooth[::2, ::2] * 0.9
    assert (difference_hash(smooth) ^ difference_hash(small)).bit_count() <= 5
    assert (difference_hash(smooth) ^ difference_hash(noise(240, 240, 5))).bit_count() > 10
    assert difference_hash(torch.full((64, 64, 3), 0.5)) == 0
    faint = torch.linspace(0.5, 0.51, 9).repeat_interleave(8).expand(3, 64, 72).movedim(0, -1)
    assert difference_hash(faint) == 2**64 - 1


@pytest.mark.parametrize(
    ("fit", "corner"),
    [
        ({}, (32, 0)),
        ({"position": "top"}, (32, 0)),
        ({"method": "squash"}, (0, 0)),
        ({"method": "pad"}, (0, 0)),
    ],
)
def test_a_crop_remembers_the_images_size_and_where_it_begins(
    fit: dict[str, Any], corner: tuple[int, int]
):
    """As SDXL was trained: the size before scaling, the corner after it."""
    made = concept_of([SourceImage("a", noise(256, 128))], recipe(**fit))
    assert made.crop_origins == (CropOrigin(256, 128, *corner),)


def test_the_corner_of_a_mirrored_crop_is_that_in_the_mirrored_image():
    source = noise(256, 128)
    made = concept_of([SourceImage("a", source)], recipe(position="random", flip=1.0, variants=3))
    mirrored = scaled(source.flip(1), 128, 64)
    for crop, (_, _, left, top) in zip(made.crops, made.crop_origins, strict=True):
        assert (crop / 255 - mirrored[top : top + 64, left : left + 64]).abs().max() < 0.02
    assert len({crop_origin.left for crop_origin in made.crop_origins}) == 3
