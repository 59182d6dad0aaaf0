"""Previews: pictures of the word while it is learned, through the host's own sampler."""

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.model_management as memory
import comfy.sample
import comfy.samplers
import comfy.utils
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy_execution.progress import get_progress_state
from PIL import Image
from torch import Tensor

from ...training.preview_pictures import PreviewSettings, kept, labelled
from ...training.run import Keep, RunState
from ...word.embedding import Embedding
from ..models.text import apply_embedding

log = logging.getLogger(__name__)

SAMPLERS: list[str] = comfy.samplers.KSampler.SAMPLERS
SCHEDULERS: list[str] = comfy.samplers.KSampler.SCHEDULERS


class Previews:
    """Draws the word on the graph's own MODEL, CLIP and VAE, and shows it on a node.

    While these are borrowed, call it inside `HostModel.set_aside()`. Raises ValueError when made
    for a prompt that does not say the word. A picture that cannot be drawn ends the previews, not
    the training: `problem` then says why.
    """

    def __init__(
        self,
        settings: PreviewSettings,
        model: ModelPatcher,
        clip: CLIP,
        vae: Any,
        embedding: Embedding,
        node_id: str | None,
    ):
        self.settings = settings
        self.every = settings.every
        self.model = model
        self.clip = clip
        self.vae = vae
        self.embedding = embedding
        self.node_id = node_id
        self.prompt = settings.text(embedding.placeholder)
        self.pictures: dict[int, Tensor] = {}
        self.problem: str | None = None

    def __call__(self, step: int, vectors: Mapping[str, Tensor]) -> None:
        """Draw the word with `vectors` `[n, dim]` per encoder key, and show it."""
        if self.problem is not None:
            return
        # Before the first step a method may have changed their norm; shown is the word as it came.
        shown = vectors if step else self.embedding.vectors
        try:
            with randomness_kept(self.model.load_device):
                picture = labelled(self.draw(shown), f"step {step}")
            self.pictures[step] = picture
            self.pictures = {step: self.pictures[step] for step in kept(self.pictures)}
            show(picture, self.node_id)
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
        """A picture `[h, w, 3]` in 0..1 on the CPU, the same that ApplyEmbeddingToCLIP,
        CLIPTextEncode, EmptyLatentImage, KSampler and VAEDecode give.
        """
        chosen = self.settings
        clip = apply_embedding(self.clip, replace(self.embedding, vectors=vectors), 1.0)
        positive, negative = (
            clip.encode_from_tokens_scheduled(clip.tokenize(text))
            for text in (self.prompt, chosen.negative)
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


def show(picture: Tensor, node_id: str | None) -> None:
    """Put a picture `[h, w, 3]` onto a node, as samplers do; its progress stays where it is."""
    if node_id is None:
        return
    progress = get_progress_state().ensure_entry(node_id)
    pixels = (picture * 255).round().clamp(0, 255).byte().numpy()
    bar = comfy.utils.ProgressBar(progress["max"], node_id)
    bar.update_absolute(progress["value"], preview=("JPEG", Image.fromarray(pixels), None))


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
