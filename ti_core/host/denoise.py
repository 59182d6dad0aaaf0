"""The host's models as the engine wants them: borrowed, differentiable, loaded together, given back
as they were.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import comfy.model_management as memory
import comfy.model_sampling as sampling
import torch
from comfy.clip_model import CLIPLayer
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import merge_nested_dicts
from comfy.samplers import cond_cat
from comfy.sd import CLIP
from torch import Tensor, nn

from ..embedding import Embedding
from ..objective import Prediction
from .borrow import (
    attention_with_backward,
    differentiable,
    forwards,
    out_of_place,
    recomputed,
    training_flag,
)
from .text import Word, check_fits, encoders, with_word

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Checkpointing = Literal["auto", "on", "off"]
DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
FP16_LOSS_SCALE = 2.0**14


@dataclass(frozen=True)
class BorrowSettings:
    """How to run the borrowed models; `rows` is how many samples are denoised together."""

    rows: int
    precision: Precision = "auto"
    checkpointing: Checkpointing = "auto"


class HostModel:
    """MODEL and CLIP of the host as a frozen model of the engine
    (`ti_core.training.FrozenModel`).
    """

    def __init__(self, model: ModelPatcher, clip: CLIP, embedding: Embedding, checkpointed: bool):
        self.model: Any = model.model
        self.clip = clip
        self.embedding = embedding
        self.device = model.load_device
        self.options = model.model_options
        self.checkpointed = checkpointed
        self.patcher = model
        schedule = self.model.model_sampling
        self.sigmas: Tensor = schedule.sigmas.detach().float().cpu().clone()
        self.prediction = prediction(schedule)
        self.sigma_data = float(getattr(schedule, "sigma_data", 1.0))
        self.loss_scale = FP16_LOSS_SCALE if self.compute_dtype == torch.float16 else 1.0
        self.vocabulary_norms = {
            key: encoders(clip)[key].vocabulary_norm() for key in embedding.vectors
        }

    @property
    def compute_dtype(self) -> torch.dtype:
        """What the diffusion model computes in."""
        return self.model.get_dtype_inference()

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        with (
            differentiable(self.model, self.clip.cond_stage_model),
            forwards(self.trainable_forwards()),
        ):
            yield

    def trainable_forwards(self) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
        """The modules that need another forward to be trained through: what works in place, and
        what is to be checkpointed.
        """
        for module in self.clip.cond_stage_model.modules():
            if isinstance(module, CLIPLayer):
                forward = out_of_place(module)
                yield module, recomputed(forward, mutates=False) if self.checkpointed else forward
        for encoder in self.clip.cond_stage_model.children():
            if not any(isinstance(module, CLIPLayer) for module in encoder.modules()):
                yield from (
                    (block, recomputed(block.forward, mutates=True))
                    for block in listed_blocks(encoder)
                )
        network = self.model.diffusion_model
        if self.checkpointed or mutates(network):
            yield from (
                (block, recomputed(block.forward, mutates(network))) for block in blocks(network)
            )

    def encode(
        self, captions: Sequence[str], vectors: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """Conditioning of each caption, as the host's samplers take it; equal captions are encoded
        once.
        """
        clip = with_word(
            self.clip, self.embedding.placeholder, Word(self.embedding.initialiser, vectors)
        )
        # The encoder is loaded; asking the memory manager again in the middle of a step could evict
        # the diffusion model.
        clip.load_model = lambda tokens={}: clip.patcher
        known = {caption: conditioning(clip, caption) for caption in dict.fromkeys(captions)}
        return [known[caption] for caption in captions]

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return self.model.model_sampling.noise_scaling(sigma, noise, latents).to(self.device)

    def denoise(
        self, noisy: Tensor, sigma: Tensor, conditioning: Sequence[dict[str, Any]]
    ) -> Tensor:
        conds = [
            self.model_conds(cond, noisy[index : index + 1])
            for index, cond in enumerate(conditioning)
        ]
        groups = together(conds)
        parts = [
            self.apply(noisy[rows], sigma[rows], [conds[row] for row in rows]) for rows in groups
        ]
        places = torch.tensor([row for rows in groups for row in rows]).argsort()
        return torch.cat(parts)[places.to(noisy.device)]

    def model_conds(self, cond: Mapping[str, Any], noisy: Tensor) -> dict[str, Any]:
        """The model's own conditioning objects for one sample, as
        `comfy.samplers.encode_model_conds` prepares them.
        """
        size = {"width": noisy.shape[-1] * 8, "height": noisy.shape[-2] * 8}
        given = {
            **size,
            **cond,
            "noise": noisy,
            "latent_image": noisy,
            "device": self.device,
            "prompt_type": "positive",
            "seed": 0,
        }
        made = self.model.extra_conds(**given)
        return {
            name: value.process_cond(batch_size=1, area=None, device=self.device)
            for name, value in made.items()
        }

    def apply(self, noisy: Tensor, sigma: Tensor, conds: Sequence[dict[str, Any]]) -> Tensor:
        """One call of the diffusion model, as `comfy.samplers.calc_cond_batch` makes it."""
        sigma = sigma.to(self.device)
        options = dict(self.options.get("transformer_options", {}))
        options.update(
            cond_or_uncond=[0] * len(conds),
            uuids=[self.patcher.patches_uuid] * len(conds),
            sigmas=sigma,
        )
        arguments = {**cond_cat(list(conds)), "transformer_options": options}
        wrapper = self.options.get("model_function_wrapper")
        if wrapper is None:
            return self.model.apply_model(noisy, sigma, **arguments)
        return wrapper(
            self.model.apply_model,
            {
                "input": noisy,
                "timestep": sigma,
                "c": arguments,
                "cond_or_uncond": options["cond_or_uncond"],
            },
        )


@contextmanager
def borrowed(
    model: ModelPatcher,
    clip: CLIP,
    embedding: Embedding,
    latent_shape: Sequence[int],
    settings: BorrowSettings,
) -> Iterator[HostModel]:
    """MODEL and CLIP, loaded together and ready to train; afterwards they are as they were."""
    check_fits(embedding, clip)
    own_model, own_clip = training_clones(model, clip)
    set_precision(own_model, settings.precision)
    own_model.model_options.setdefault("transformer_options", {})[
        "optimized_attention_override"
    ] = attention_with_backward
    merge_wrappers(own_model)
    needed = memory_estimate(own_model, settings.rows, latent_shape)
    try:
        # Under the host's own inference mode, because a patch may write into weights that are
        # inference tensors (ComfyUI issue 13527).
        memory.load_models_gpu(
            [own_model, own_clip.patcher], memory_required=needed, force_full_load=True
        )
        check_loaded(own_model, own_clip.patcher)
        own_model.pre_run()
        with torch.inference_mode(False), torch.enable_grad(), training_flag():
            yield HostModel(
                own_model,
                own_clip,
                embedding,
                checkpointed(own_model, settings.checkpointing, needed),
            )
    finally:
        own_model.cleanup()
        give_back(model, clip)


def training_clones(model: ModelPatcher, clip: CLIP) -> tuple[ModelPatcher, CLIP]:
    """Clones that share the weights. With dynamic VRAM weights move under autograd's feet (core
    ops.py:433), so that the host's non-dynamic delegate stands in.
    """
    own_clip = clip.clone()
    try:
        own_model = model.get_non_dynamic_delegate() if model.is_dynamic() else model.clone()
        if clip.patcher.is_dynamic():
            own_clip.patcher = clip.patcher.get_non_dynamic_delegate()
            own_clip.cond_stage_model = own_clip.patcher.model
    except RuntimeError as error:
        raise RuntimeError(
            f"This model cannot be trained under dynamic VRAM, because its loader gives ComfyUI no "
            f"way to load it without ({error}). "
            "Start ComfyUI with --disable-dynamic-vram, or load the model with a core loader node."
        ) from error
    return own_model, own_clip


def conditioning(clip: CLIP, caption: str) -> dict[str, Any]:
    """What CLIPTextEncode would give, under the names that the host's samplers use."""
    out = clip.encode_from_tokens(clip.tokenize(caption), return_pooled=True, return_dict=True)
    return {"cross_attn": out.pop("cond"), **out}


def set_precision(model: ModelPatcher, precision: Precision) -> None:
    """Choose what the diffusion model computes in. 'auto' takes the weights' own dtype where the
    device is good at it, because a cast of every weight in every step costs more than it gains.
    """
    stored = model.model.get_dtype()
    wanted = DTYPES.get(precision)
    if wanted is None:
        wanted = (
            stored
            if stored in native_dtypes(model.load_device)
            else model.model.get_dtype_inference()
        )
    if wanted == model.model.get_dtype_inference():
        return
    if wanted == stored:
        model.add_object_patch("manual_cast_dtype", None)
    else:
        model.set_model_compute_dtype(wanted)


def native_dtypes(device: torch.device) -> list[torch.dtype]:
    """What the device computes in as fast as in fp32 or faster."""
    if memory.is_device_cpu(device):
        return [torch.float32, torch.bfloat16]
    halves = [
        (torch.bfloat16, memory.should_use_bf16(device)),
        (torch.float16, memory.should_use_fp16(device)),
    ]
    return [torch.float32, *(dtype for dtype, good in halves if good)]


def merge_wrappers(model: ModelPatcher) -> None:
    """Put the wrappers of the patcher where the model looks for them, as
    `comfy.sampler_helpers.prepare_model_patcher` does.
    """
    options = model.model_options["transformer_options"]
    merge_nested_dicts(options.setdefault("wrappers", {}), model.wrappers, copy_dict1=False)
    merge_nested_dicts(options.setdefault("callbacks", {}), model.callbacks, copy_dict1=False)


def memory_estimate(model: ModelPatcher, rows: int, latent_shape: Sequence[int]) -> float:
    """Bytes that a training step needs beyond the weights."""
    return TRAINING_MEMORY_FACTOR * model.memory_required([rows, *latent_shape])


# Saved activations of an SD 1.5 UNet at 512 px against the host's estimate for sampling; measured
# by benchmarks/speed.py.
TRAINING_MEMORY_FACTOR = 3.0


def check_loaded(*patchers: ModelPatcher) -> None:
    """Raise RuntimeError if the host kept a part of the weights off the device: it would cast them
    through buffers that it overwrites while autograd still needs them.
    """
    for patcher in patchers:
        if getattr(patcher.model, "model_lowvram", False):
            raise RuntimeError(
                f"Only a part of {type(patcher.model).__name__} fits into the memory of "
                f"{patcher.load_device}, and ComfyUI's partial loading cannot be trained through. "
                "Lower the resolution or the batch size, free memory (other models, other "
                "programs), or start ComfyUI without --lowvram and --novram."
            )


def checkpointed(model: ModelPatcher, choice: Checkpointing, needed: float) -> bool:
    """Whether blocks run again in the backward pass instead of keeping their activations."""
    if choice != "auto":
        return choice == "on"
    network = model.model.diffusion_model
    casts = (
        model.model.get_dtype_inference() != model.model.get_dtype()
    )  # Autograd would keep a cast copy of every weight.
    return casts or mutates(network) or needed > memory.get_free_memory(model.load_device)


def mutates(network: nn.Module) -> bool:
    """Whether the network changes in place what autograd has saved; the UNet of SD 1, 2 and XL does
    not.
    """
    return not isinstance(network, UNetModel)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks that are worth recomputing. In a UNet the residual and transformer blocks: a
    wrapped `TimestepEmbedSequential` would never be called (core openaimodel.py:36).
    """
    if isinstance(network, UNetModel):
        return [
            module
            for module in network.modules()
            if isinstance(module, ResBlock | SpatialTransformer)
        ]
    return listed_blocks(network)


def listed_blocks(network: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules, which are the blocks of a transformer."""
    if isinstance(network, nn.ModuleList):
        return list(network)
    return [block for child in network.children() for block in listed_blocks(child)]


def prediction(schedule: Any) -> Prediction:
    """What the network predicts, from the host's sampling class."""
    if type(schedule).calculate_denoised is sampling.CONST.calculate_denoised:
        return "flow"
    if type(schedule).calculate_denoised in (
        sampling.V_PREDICTION.calculate_denoised,
        sampling.EDM.calculate_denoised,
    ):
        return "v"
    if type(schedule).calculate_denoised is sampling.EPS.calculate_denoised:
        return "eps"
    bases = ", ".join(base.__name__ for base in type(schedule).__mro__[1:3])
    raise ValueError(
        f"Models of this kind ({bases}) cannot be trained yet. Noise, v and flow prediction can: "
        f"SD 1.x, SD 2.x, SDXL, SD3, Flux and their relatives."
    )


def together(conds: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Group samples whose conditioning the host can put into one call."""
    groups: list[list[int]] = []
    for row, cond in enumerate(conds):
        fitting = next((group for group in groups if joins(conds[group[0]], cond)), None)
        if fitting is None:
            groups.append([row])
        else:
            fitting.append(row)
    return groups


def joins(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two samples' conditioning can be concatenated."""
    return one.keys() == other.keys() and all(
        value.can_concat(other[name]) for name, value in one.items()
    )


def give_back(model: ModelPatcher, clip: CLIP) -> None:
    """Load the given patchers in place of the clones, which takes the clones' patches off the
    shared modules; nothing is copied where the weights are the same.
    """
    clones = [patcher for patcher in (model, clip.patcher) if not patcher.is_dynamic()]
    if clones:
        memory.load_models_gpu(clones)
