"""What a learned word is worth: every method's word judged on the same fresh images, noise and
prompts of a small world (toyworld/).

Import this before anything of the host, which looks for a device when it is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from learning_report import Marks
from PIL import Image
from torch import Tensor

from toyworld import gate  # finds the host, which those below import

# isort: split
from ti_core.concept import gather
from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept
from ti_core.concept.fit import FitSettings
from ti_core.concept.gather import ImageRecipe, SourceImage
from ti_core.concept.pixels import in_bytes
from ti_core.concept.templates import TEMPLATES
from ti_core.host.learn import Models
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.encode import encode_images
from ti_core.host.models.text import Word, create_embedding, with_word
from ti_core.training.latents import expected, shape_of
from ti_core.training.objective import Objective
from ti_core.training.validation import validation_batches, validation_loss
from toyworld.drawing import SIZE
from toyworld.judge import judge_of
from toyworld.world import POSITIONS, SIZES, Scene, Thing, World

PLACEHOLDER = "toyword"
TEMPLATE = "a photo of {}"
WHOLE = FitSettings(SIZE, SIZE)  # images as they are
SHOWN, FRESH = 5, 20  # images to learn from, and to judge by
EVEN = Objective("uniform")  # the same measure, whatever noise levels a word was learned at
SAMPLES = 80  # of the loss on the fresh images: places in the schedule, four for each image


class Spoken(NamedTuple):
    """What a prompt says: words, or the placeholder with the vectors that it stands for."""

    text: str
    vectors: Mapping[str, Tensor] = {}


class Asked(NamedTuple):
    """A prompt in which {} is the thing, and what it asks for besides the thing."""

    prompt: str
    change: Mapping[str, str]


class Judged(NamedTuple):
    """Marks, and an image of the word alone and of an edit."""

    marks: Marks
    alone: Image.Image
    edited: Image.Image


@dataclass(frozen=True)
class Exam:
    """The questions about one thing. `asked` are the prompts, those without a change first."""

    models: Models
    world: World
    thing: Thing
    asked: tuple[Asked, ...]
    sampling: gate.Sampling = gate.PLAIN

    @property
    def name(self) -> str:
        return " ".join(self.thing)

    @property
    def initializer(self) -> str:
        """What a user would call it."""
        return self.thing.shape if self.thing.shape not in self.world.unnamed else "thing"

    @property
    def truth(self) -> str | None:
        """All that it is, in words; None where a part of it has none."""
        return self.world.describe(self.thing) if self.thing in self.world.named else None

    def scenes(self, purpose: str, count: int) -> list[Scene]:
        """Scenes of the thing; another purpose, other scenes."""
        draws = Random(f"{self.name} {purpose}")
        return [self.world.random_scene(draws, self.thing) for _ in range(count)]

    @cached_property
    def fresh(self) -> Concept:
        """The images to judge by."""
        concept = concept_of(self.world, self.scenes("fresh", FRESH))
        plain = CaptionSettings((TEMPLATE,))
        images = tuple(replace(image, caption_settings=plain) for image in concept.images)
        return replace(concept, images=images)

    @cached_property
    def latents(self) -> list[Any]:
        """Latents of the fresh images."""
        form = self.models.model.model.latent_format
        return encode_images(self.models.vae, form, self.fresh.crops)

    @cached_property
    def ends(self) -> tuple[float, float | None]:
        """The initializer's loss, and the true description's."""
        first, *last = self.losses([Spoken(one) for one in (self.initializer, self.truth) if one])
        return first, last[0] if last else None

    def losses(self, words: Sequence[Spoken]) -> list[float]:
        """The loss on the fresh images, with the same noise for each of the words."""
        model, clip, _ = self.models
        stand_in = create_embedding(clip, PLACEHOLDER, self.initializer, 1)
        shape = shape_of(self.latents[0])
        with borrowed(model, clip, stand_in, shape, BorrowSettings(SAMPLES)) as frozen:
            found = []
            for text, vectors in words:
                shown = (frozen, self.fresh, self.latents, text, SAMPLES, SAMPLES)
                drawn = validation_batches(*shown, objective=EVEN)
                found.append(validation_loss(frozen, drawn, vectors))
        return found

    def gap(self, loss: float) -> float | None:
        """The part of the way from the initializer's loss to the true description's."""
        first, last = self.ends
        return None if last is None else (first - loss) / (first - last)

    def mark(self, word: Spoken) -> Judged:
        """Measure and draw."""
        (loss,) = self.losses([word])
        model, clip, vae = self.models
        if word.vectors:
            clip = with_word(clip, PLACEHOLDER, Word(self.initializer, word.vectors))
        texts = [asked.prompt.format(word.text) for asked in self.asked]
        drawn = list(gate.sampled(model, clip, vae, texts, sampling=self.sampling))
        judge = judge_of(self.world)
        alone = [one for one, asked in zip(drawn, self.asked, strict=True) if not asked.change]
        concept = [list(judge.fulfilled(self.thing._asdict(), one).values()) for one in alone]
        changes, kept = [], []
        for image, asked in zip(drawn, self.asked, strict=True):
            if asked.change:
                changes.append(all(judge.fulfilled(asked.change, image).values()))
                kept.append(all(judge.fulfilled(self.thing._asdict(), image).values()))
        both = [change and still for change, still in zip(changes, kept, strict=True)]
        shares = (float(np.mean(one)) for one in (concept, changes, kept, both))
        return Judged(Marks(loss, self.gap(loss), *shares), drawn[0], drawn[len(alone)])


def questions(world: World, alone: int, every_edit: bool) -> tuple[Asked, ...]:
    """The word alone so many times, then on each background; with `every_edit` also at each
    position and in each size.
    """
    first = Scene(world.named[0], next(iter(world.backgrounds)))
    grounds = {
        one: world.place_words(first._replace(background=one))[1] for one in world.backgrounds
    }
    sides = {one: world.place_words(first._replace(position=one))[0] for one in POSITIONS}
    asked = [Asked(TEMPLATE, {})] * alone
    asked += [Asked(f"{TEMPLATE} {words}", {"background": one}) for one, words in grounds.items()]
    if every_edit:
        asked += [Asked(f"{TEMPLATE} {words}", {"position": one}) for one, words in sides.items()]
        asked += [Asked(TEMPLATE.format(f"{one} {{}}"), {"size": one}) for one in SIZES]
    return tuple(asked)


def concept_of(
    world: World,
    shown: Sequence[Scene],
    fit: FitSettings = WHOLE,
    masks: bool = False,
    captions: bool = False,
) -> Concept:
    """Images of scenes, gathered as the pack's nodes do it; `masks` are of the thing alone,
    `captions` say all but the thing.
    """
    sources = [
        SourceImage(
            f"{number}.png",
            torch.from_numpy(np.asarray(world.render(scene), np.float32) / 255),
            torch.tensor(world.mask(scene)) if masks else None,
            surroundings(world, scene) if captions else "",
            typed=True,
        )
        for number, scene in enumerate(shown)
    ]
    kind = "captions" if captions else "object"
    return gather.concept_of(sources, ImageRecipe(kind, CaptionSettings(TEMPLATES[kind]), fit))


def surroundings(world: World, scene: Scene) -> str:
    """A caption in which {} is the thing: size, position and background."""
    words = " ".join([scene.size, "{}", *world.place_words(scene)])
    return TEMPLATE.format(words)


def save_images(concept: Concept, folder: Path) -> None:
    """The same images as files, for trainers that read a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in concept.images:
        as_image(image.crops[0]).save(folder / image.name)


def as_image(pixels: Tensor) -> Image.Image:
    """An image `[h, w, 3]`, of bytes or in 0..1, as an image."""
    return Image.fromarray(in_bytes(pixels).numpy())


def host_outputs(
    models: Models, text: str, image: Tensor, noise: Tensor, position: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What the host's networks make of these: conditioning `[1, 77, 768]` of the text, latents
    `[1, 4, 8, 8]` of the image `[h, w, 3]` as the denoiser takes them, and the noise that it sees
    in them.
    """
    model, clip, vae = models
    latents = encode_images(vae, model.model.latent_format, [image])
    stand_in = create_embedding(clip, PLACEHOLDER, "thing", 1)
    with borrowed(model, clip, stand_in, shape_of(latents[0]), BorrowSettings(1)) as frozen:
        conditioning = frozen.encode([text], {})
        clean, sigma = expected(latents[0])[None], frozen.sigmas[position : position + 1]
        with torch.no_grad():
            noisy = frozen.add_noise(clean, noise, sigma)
            seen = (noisy - frozen.denoise(noisy, sigma, conditioning)) / sigma.to(noisy)
    return conditioning[0]["cross_attn"], clean, seen
