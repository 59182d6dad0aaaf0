"""The noise levels that the trainers of a family train on."""

import math
from collections.abc import Sequence
from typing import Any

import comfy.model_sampling as sampling
from comfy.model_patcher import ModelPatcher

from ...training.noise_levels import NoiseLevels

EDM_MEAN, EDM_SPREAD = -1.2, 1.2  # of log sigma (Karras et al., arXiv 2206.00364, table 1)
# What trainers publish where it is not what people sample with, by the host's class: kohya's
# sd-scripts (docs of Chroma and Anima) and musubi-tuner (the others).
TRAINING_SHIFTS = {
    "Chroma": 1.0,
    "Anima": 1.0,
    "QwenImage": 2.2,
    "ZImage": 2.0,
    "Krea2": 2.5,
    "WAN21_T2V": 3.0,
    "HunyuanVideo15": 2.0,
    "Kandinsky5": 5.0,
}
# Flux.1 dev and its relatives; the logarithm of their shift grows with the tokens of an image
# (Black Forest Labs' sampling.py, kohya's flux_shift, OneTrainer's dynamic shift).
SHIFTED_BY_SIZE = ("Flux", "FluxInpaint")
FEWEST_TOKENS, MOST_TOKENS = 256, 4096
LEAST_LOG_SHIFT, MOST_LOG_SHIFT = 0.5, 1.15


def usual_levels(patcher: ModelPatcher, shape: Sequence[int]) -> NoiseLevels:
    """The noise levels to train on, as places in the model's schedule, for latents of a shape:
    uniform for noise and v prediction, log-normal for EDM, for flow logit-normal through the
    family's training shift. That of a ModelSampling node in front stands for the family's.
    """
    schedule: Any = patcher.get_model_object("model_sampling")
    kind = type(schedule)
    if issubclass(kind, sampling.CONST):
        chosen = "model_sampling" in patcher.object_patches
        wanted = None if chosen else log_training_shift(patcher, shape)
        return NoiseLevels("logit-normal", 0.0 if wanted is None else wanted - log_shift(schedule))
    if issubclass(kind, sampling.EDM):
        first, last = (math.log(float(end)) for end in (schedule.sigma_min, schedule.sigma_max))
        reach = last - first  # The host's EDM schedule is even in log sigma.
        return NoiseLevels("normal", (EDM_MEAN - first) / reach, EDM_SPREAD / reach)
    return NoiseLevels()


def log_shift(schedule: Any) -> float:
    """The logarithm of a flow schedule's shift; Flux's is one already."""
    if isinstance(schedule, sampling.ModelSamplingFlux):
        return float(schedule.shift)
    return math.log(schedule.shift)


def log_training_shift(patcher: ModelPatcher, shape: Sequence[int]) -> float | None:
    """The logarithm of the shift that a family is trained with; None where it is that of its
    schedule.
    """
    model: Any = patcher.model
    family = type(model.model_config).__name__
    if family in SHIFTED_BY_SIZE:
        tokens = (shape[-2] // 2) * (shape[-1] // 2)
        slope = (MOST_LOG_SHIFT - LEAST_LOG_SHIFT) / (MOST_TOKENS - FEWEST_TOKENS)
        return LEAST_LOG_SHIFT + slope * (tokens - FEWEST_TOKENS)
    shift = TRAINING_SHIFTS.get(family)
    return None if shift is None else math.log(shift)
