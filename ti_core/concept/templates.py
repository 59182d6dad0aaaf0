"""The sentences that a word is trained with where an image has no caption of its own."""

from typing import Literal

Kind = Literal["object", "style", "captions", "object and captions", "style and captions"]

OBJECT_TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a snapshot of {}",
    "a close-up of {}",
    "a close photo of {}",
    "a photograph showing {}",
    "a sharp photo of {}",
    "a clear photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a good photo of {}",
    "a plain photo of {}",
    "a cropped photo of {}",
    "a detailed photo of {}",
    "a professional photo of {}",
    "a photo of one {}",
    "a photo of my {}",
    "a photo of the {}",
    "a photo of a small {}",
    "a photo of a large {}",
    "a photo of a clean {}",
    "a photo of a nice {}",
    "a view of {}",
    "a rendering of {}",
    "a depiction of {}",
    "{}",
)

STYLE_TEMPLATES = (
    "a painting in the style of {}",
    "a picture in the style of {}",
    "an image in the style of {}",
    "a drawing in the style of {}",
    "a rendering in the style of {}",
    "an illustration in the style of {}",
    "art in the style of {}",
    "a work in the style of {}",
    "a detailed painting in the style of {}",
    "a small painting in the style of {}",
    "a large painting in the style of {}",
    "a bright painting in the style of {}",
    "a dark painting in the style of {}",
    "a close-up painting in the style of {}",
    "a cropped painting in the style of {}",
    "a fine painting in the style of {}",
    "a clean painting in the style of {}",
    "a painting, art by {}",
    "{} style",
)

FILEWORDS = "[filewords]"
TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "object": OBJECT_TEMPLATES,
    "style": STYLE_TEMPLATES,
    "captions": (),
    "object and captions": tuple(f"{template}, {FILEWORDS}" for template in OBJECT_TEMPLATES),
    "style and captions": tuple(f"{template}, {FILEWORDS}" for template in STYLE_TEMPLATES),
}
