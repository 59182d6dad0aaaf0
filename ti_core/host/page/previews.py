"""Previews: pictures of the word while it is learned, through the host's own sampler."""

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
from ...training.preview_pictures import PreviewSettings, kept, labelled
from ...training.run import Keep, RunState
from ...word.embedding import Embedding
from ..models.host_model import prediction
from ..models.text import apply_embedding

log = logging.getLogger(__name__)

SAMPLERS: list[str] = comfy.samplers.KSampler.SAMPLERS
SCHEDULERS: list[str] = comfy.samplers.KSampler.SCHEDULERS
# What is drawn of a word where nobody has said what: the word alone, and with something new.
OBJECT = ("a photo of {}", "a photo of {} in the snow")
STYLE = ("a picture in the style of {}", "a house by the sea in the style of {}")
QUICK_STEPS = 16
LONGEST_SIDE = 768  # pixels; smaller than some models are made for, and drawn in seconds
SIDE_STEP = 64
GUIDANCE = {"flow": 4.5, "eps": 7.0, "v": 7.0}  # As the templates of the host have them.

Show = Callable[[int, Tensor, Mapping[str, Tensor]], None]  # step, picture, vectors


class Previews:
    """Draws the word on the graph's own MODEL, CLIP and VAE, and gives each picture to `show`.

    While these are borrowed, call it inside `HostModel.set_aside()`. Raises ValueError when made
    for a prompt that does not say the word. A picture that cannot be drawn ends the previews, not
    the training: `problem` then says why. `regular` is whether it is drawn in turn, and not only
    when somebody asks.
    """

    def __init__(
        self,
        settings: PreviewSettings,
        model: ModelPatcher,
        clip: CLIP,
        vae: Any,
        embedding: Embedding,
        show: Show = lambda step, picture, vectors: None,
        also: str = "",
        regular: bool = True,
    ):
        self.settings = settings
        self.model = model
        self.clip = clip
        self.vae = vae
        self.embedding = embedding
        self.show = show
        self.regular = regular
        asked = [settings, *([replace(settings, prompt=also)] if also else [])]
        self.prompts = [one.text(embedding.placeholder) for one in asked]
        self.pictures: dict[int, Tensor] = {}
        self.problem: str | None = None

    def due(self, step: int) -> bool:
        """Whether a picture is to be drawn after that step."""
        return self.regular and step % self.settings.every == 0

    def ask(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw out of turn, at first also the word as it came, to compare with."""
        if not self.pictures:
            self(0, self.embedding.vectors)
        self(step, vectors)

    def __call__(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw the word with `vectors` `[n, dim]` per encoder key, and show it."""
        if self.problem is not None:
            return
        # Before the first step a method may have changed their norm; shown is the word as it came.
        shown = vectors if step else self.embedding.vectors
        try:
            with randomness_kept(self.model.load_device):
                picture = self.draw(shown)
            self.pictures[step] = labelled(picture, f"step {step}")
            self.pictures = {step: self.pictures[step] for step in kept(self.pictures)}
            self.show(step, picture, shown)
        except Exception as error:  # Of a sampler or of memory: no reason to lose the training.
            reason = str(error).partition("\n")[0] or type(error).__name__
            self.problem = f"The preview at step {step} could not be drawn: {reason}"
            log.warning("%s. The training goes on without previews.", self.problem)
        if self.problem is not None:  # Here the error is gone, and with it what its frames held.
            memory.soft_empty_cache()

    def finish(self, state: RunState, keep: Keep) -> None:
        """Draw the vectors that a run gives, unless they have been drawn on the way."""
        step = state.choice.step if keep == "best" else state.step
        if step not in self.pictures:
            self(step, state.kept(keep))

    def draw(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """A picture `[h, w, 3]` in 0..1 on the CPU, the prompts beside one another."""
        return torch.cat([self.drawn(prompt, vectors) for prompt in self.prompts], dim=1)

    def drawn(self, prompt: str, vectors: Mapping[str, Tensor]) -> Tensor:
        """A picture `[h, w, 3]` in 0..1 on the CPU, the same that ApplyEmbeddingToCLIP,
        CLIPTextEncode, EmptyLatentImage, KSampler and VAEDecode give.
        """
        chosen = self.settings
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

    def images(self) -> Tensor | None:
        """The pictures `[n, h, w, 3]` in 0..1 in the order of their steps, None without any."""
        return torch.stack(list(self.pictures.values())) if self.pictures else None


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
    """Previews that are drawn when somebody asks, in the shape of a training picture, with what
    suits the kind of model as far as that can be known.
    """
    size = concept.crops[0].shape[:2]
    alone, edited = STYLE if concept.kind.startswith("style") else OBJECT
    height, width = (quick_side(length, max(size)) for length in size)
    sampling = model.get_model_object("model_sampling")
    predicted = prediction(sampling)
    config = getattr(model.model.model_config, "unet_config", {})
    settings = PreviewSettings(
        prompt=alone,
        steps=QUICK_STEPS,
        # Models that were taught their own guidance have an input for it (Flux).
        cfg=1.0 if config.get("guidance_embed") else GUIDANCE[predicted],
        scheduler="simple" if predicted == "flow" else "normal",
        width=width,
        height=height,
    )
    return Previews(settings, model, clip, vae, embedding, show, edited, regular=False)


def quick_side(length: int, longest: int) -> int:
    """A side of a picture in pixels, made smaller with its longest one."""
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
