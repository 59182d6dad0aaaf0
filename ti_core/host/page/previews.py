"""Previews: images of the word while it is learned, through the host's own sampler."""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.model_management as memory
import comfy.sample
import comfy.samplers
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ...concept.concept import Concept
from ...training.run import Keep, RunState
from ...word.embedding import Embedding
from ..models.compatibility import is_interrupt
from ..models.host_model import prediction
from ..models.text import apply_embedding
from .preview_images import USUAL_SCHEDULER, PreviewSettings, kept, labeled

log = logging.getLogger(__name__)

PREVIEWS = "No preview could be generated"
SAMPLERS: list[str] = comfy.samplers.KSampler.SAMPLERS
SCHEDULERS: list[str] = comfy.samplers.KSampler.SCHEDULERS
# What is drawn of a word where nobody has said what: the word alone, and with something new.
OBJECT = ("a photo of {}", "a photo of {} in the snow")
STYLE = ("a picture in the style of {}", "a house by the sea in the style of {}")
QUICK_STEPS = 16
LONGEST_SIDE = 768  # pixels; smaller than some models are made for, and drawn in seconds
SIDE_STEP = 64
LATENT_STEP = 8  # pixels, as the host's empty latents
GUIDANCE = {"flow": 4.5, "eps": 7.0, "v": 7.0}  # As the templates of the host have them.

Show = Callable[[int, Tensor, Mapping[str, Tensor]], None]  # step, image, vectors


class Previews:
    """Draws the word on the graph's own MODEL, CLIP and VAE, and gives each image to `show`.

    While these are borrowed, call it inside `HostModel.set_aside()`. Raises ValueError when made
    for a prompt that does not say the word. An image that cannot be drawn ends neither the
    training nor the previews: `problem` says why, until one can be. `regular` is whether it is
    drawn in turn, and not only when somebody asks.
    """

    def __init__(
        self,
        settings: PreviewSettings,
        model: ModelPatcher,
        clip: CLIP,
        vae: Any,
        embedding: Embedding,
        show: Show = lambda step, image, vectors: None,
        also: str = "",
        regular: bool = True,
        size: tuple[int, int] = (512, 512),
    ):
        self.settings, self.size = settings, size
        self.model = model
        self.clip = clip
        self.vae = vae
        self.embedding = embedding
        self.show = show
        self.regular = regular
        asked = [settings, *([replace(settings, prompt=also)] if also else [])]
        self.prompts = [one.text(embedding.placeholder) for one in asked]
        self.images: dict[int, Tensor] = {}
        self.problem: str | None = None

    def due(self, step: int) -> bool:
        """Whether an image is to be drawn after that step."""
        return self.regular and step % self.settings.every == 0

    def ask(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw out of turn, at first also the word as it came, to compare with."""
        before = None
        if not self.images:
            self(0, self.embedding.vectors)
            before = self.problem
        self(step, vectors)
        self.problem = self.problem or before

    def __call__(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw the word with `vectors` `[n, dim]` per encoder key, and show it."""
        # Before the first step a method may have changed their norm; shown is the word as it came.
        shown = vectors if step else self.embedding.vectors
        self.problem = problem_of(lambda: self.made(step, shown), step)

    def made(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw the word as it is shown after a step, and show it."""
        with randomness_kept(self.model.load_device):
            image = self.draw(vectors)
        self.images[step] = labeled(image, f"step {step}")
        self.images = {step: self.images[step] for step in kept(self.images)}
        self.show(step, image, vectors)

    def finish(self, state: RunState, keep: Keep) -> None:
        """Draw the vectors that a run gives, unless they have been drawn on the way."""
        step = state.choice.step if keep == "best" else state.step
        if step not in self.images:
            self(step, state.kept(keep))

    def draw(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """An image `[h, w, 3]` in 0..1 on the CPU, the prompts beside one another."""
        return torch.cat([self.drawn(prompt, vectors) for prompt in self.prompts], dim=1)

    def drawn(self, prompt: str, vectors: Mapping[str, Tensor]) -> Tensor:
        """An image `[h, w, 3]` in 0..1 on the CPU, the same that ApplyEmbeddingToCLIP,
        CLIPTextEncode, EmptyLatentImage, KSampler and VAEDecode give.
        """
        chosen = completed(self.settings, self.model, self.size)
        clip = apply_embedding(self.clip, replace(self.embedding, vectors=vectors), 1.0)
        positive, negative = (
            clip.encode_from_tokens_scheduled(clip.tokenize(text))
            for text in (prompt, chosen.negative)
        )
        empty = empty_latent(self.model, chosen.width, chosen.height)
        latent = comfy.sample.sample(
            self.model,
            comfy.sample.prepare_noise(empty, chosen.seed),
            chosen.steps,
            chosen.cfg,
            chosen.sampler,
            chosen.scheduler,
            positive,
            negative,
            empty,
            disable_pbar=True,
            seed=chosen.seed,
        )
        pixels = self.vae.decode(latent)
        return pixels.reshape(-1, *pixels.shape[-3:])[0].float().cpu()

    def image_batch(self) -> Tensor | None:
        """The images `[n, h, w, 3]` in 0..1 in the order of their steps, None without any."""
        return torch.stack(list(self.images.values())) if self.images else None


def problem_of(draw: Callable[[], None], step: int) -> str | None:
    """Draw, and say what went wrong with it after that step, if anything did; the host's Cancel
    goes on.
    """
    try:
        draw()
        return None
    except Exception as error:  # Of a sampler or of memory: no reason to lose the training.
        if is_interrupt(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
    # Here the error is gone, and with it what its frames held.
    memory.soft_empty_cache()
    problem = f"The preview at step {step} failed: {reason.rstrip('.')}."
    log.warning("%s Training continues.", problem)
    return problem


def empty_latent(model: ModelPatcher, width: int, height: int) -> Tensor:
    """What EmptyLatentImage gives, as KSampler shapes it for the model."""
    blank = torch.zeros(
        (1, 4, height // 8, width // 8),
        device=memory.intermediate_device(),
        dtype=memory.intermediate_dtype(),
    )
    return comfy.sample.fix_empty_latent_channels(model, blank, 8)


def on_request(
    concept: Concept,
    model: ModelPatcher,
    clip: CLIP,
    vae: Any,
    embedding: Embedding,
    show: Show,
) -> Previews:
    """Previews that are drawn when somebody asks, in the shape of a training image, with what
    suits the kind of model as far as that can be known.
    """
    size = concept.crops[0].shape[:2]
    alone, edited = STYLE if concept.kind.startswith("style") else OBJECT
    height, width = (quick_side(length, max(size)) for length in size)
    settings = PreviewSettings(prompt=alone, steps=QUICK_STEPS, width=width, height=height)
    return Previews(settings, model, clip, vae, embedding, show, edited, regular=False)


def completed(
    settings: PreviewSettings, model: ModelPatcher, size: tuple[int, int]
) -> PreviewSettings:
    """The settings with what they leave to the model and to the training image of `size`, height
    and width in pixels, rounded to what its latents can have.
    """
    predicted = prediction(model.get_model_object("model_sampling"))
    config = getattr(model.model.model_config, "unet_config", {})
    # Models that are distilled with guidance have an input for it (Flux).
    usual = 1.0 if config.get("guidance_embed") else GUIDANCE[predicted]
    scheduler = "simple" if predicted == "flow" else "normal"
    height, width = (max(LATENT_STEP, length // LATENT_STEP * LATENT_STEP) for length in size)
    return replace(
        settings,
        cfg=settings.cfg or usual,
        scheduler=scheduler if settings.scheduler == USUAL_SCHEDULER else settings.scheduler,
        width=settings.width or width,
        height=settings.height or height,
    )


def quick_side(length: int, longest: int) -> int:
    """A side of an image in pixels, made smaller with its longest one."""
    fitting = length * min(1.0, LONGEST_SIDE / longest)
    return max(SIDE_STEP, round(fitting / SIDE_STEP) * SIDE_STEP)


@contextmanager
def randomness_kept(device: torch.device) -> Iterator[None]:
    """Put the global random states back, which the host's samplers seed and draw from."""
    python, numpy = random.getstate(), np.random.get_state()
    kind = device.type if device.type in ("cuda", "xpu") else "cuda"
    devices = range(getattr(torch, kind).device_count()) if device.type == kind else ()
    try:
        with torch.random.fork_rng(devices, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
