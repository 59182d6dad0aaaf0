"""The host's models as the engine wants them: captions to conditioning, noisy latents to x0."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import comfy.model_management as memory
import comfy.model_sampling as sampling
import torch
from comfy.clip_model import CLIPLayer
from comfy.model_patcher import ModelPatcher
from comfy.samplers import cond_cat
from comfy.sd import CLIP
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu

from ...concept.concept import CropOrigin
from ...concept.placeholder import places
from ...training.noise_levels import NoiseLevels
from ...training.objective import Prediction
from ...word.embedding import Embedding
from .gradients import (
    blocks,
    checkpointed,
    differentiable,
    listed_blocks,
    out_of_place,
    replacing_forwards,
    training_flag,
    works_in_place,
)
from .memory import Plan, out_of_memory
from .patches import WRAPPER, PatchError, names_of, patches_in_effect, with_differentiable_patches
from .random_numbers import drawing_from
from .streamed_weights import Streamed, private_casts, streaming_forwards
from .streaming_check import GradientProbe, gradient_probes
from .text import Word, encoders, with_word
from .usual_levels import usual_levels
from .with_backward import with_backward

FP16_LOSS_SCALE = 2.0**14
# Where a step takes less than this share of its memory, the models are loaded again, with some room
# beside what it took.
RELOAD_BELOW, MARGIN = 0.8, 1.1
# Choices of ModelSamplingDiscrete, by the host's class (core nodes_model_advanced.py:64).
SAMPLED_OTHERWISE = {
    "LCM": "lcm",
    "X0": "x0",
    "IMG_TO_IMG": "img_to_img",
    "IMG_TO_IMG_FLOW": "img_to_img_flow",
}


class HostModel:
    """MODEL and CLIP of the host as a frozen model of the engine
    (`ti_core.training.FrozenModel`).
    """

    def __init__(
        self,
        model: ModelPatcher,
        clip: CLIP,
        embedding: Embedding,
        plan: Plan,
        rows: int,
        offload: bool,
        guidance: float = 1.0,
    ):
        self.model: Any = model.model
        self.clip = clip
        self.embedding = embedding
        self.device = model.load_device
        self.options = model.model_options
        self.plan = plan
        self.patcher = model
        self.streamed = Streamed(timed=True)
        self.probes: list[GradientProbe] = []
        self.rows = rows
        self.seed = 0
        self.patches = patches_in_effect(model)
        self.offload = offload
        self.guidance = guidance
        self.weight_aliases = differentiable()
        self.load(plan.activations)
        schedule = self.model.model_sampling
        self.sigmas: Tensor = schedule.sigmas.detach().float().cpu().clone()
        self.prediction: Prediction = prediction(schedule)
        self.sigma_data = float(getattr(schedule, "sigma_data", 1.0))
        self.loss_scale = FP16_LOSS_SCALE if self.compute_dtype == torch.float16 else 1.0
        self.vocabulary_norms = {
            key: encoders(clip)[key].vocabulary_norm() for key in embedding.vectors
        }

    @property
    def compute_dtype(self) -> torch.dtype:
        """What the diffusion model computes in."""
        return self.model.get_dtype_inference()

    @property
    def checkpointed(self) -> bool:
        """Whether blocks run again in the backward pass."""
        return self.plan.checkpointing

    def usual_levels(self, shape: Sequence[int]) -> NoiseLevels:
        return usual_levels(self.patcher, shape)

    def load(self, activations: int) -> None:
        """Load both models through the host, which keeps so many bytes free for a step."""
        self.weight_aliases.forget()
        # What does not fit is to be first of all the encoders: the host loads the last of a list
        # first, and moves first what it has loaded first under dynamic VRAM.
        both = [self.clip.patcher, self.patcher]
        # In inference mode, because a patch may write into weights that are inference tensors
        # (ComfyUI issue 13527).
        with torch.inference_mode(), training_flag(False):
            memory.load_models_gpu(
                both[::-1] if self.patcher.is_dynamic() else both, memory_required=activations
            )
            self.patcher.pre_run()
        self.prepare()

    def prepare(self) -> None:
        """Find out how the host holds the weights, which each load may change, and which modules
        need another forward to be trained through: those whose weights are fetched, what works in
        place, and what is to be checkpointed.
        """
        network, text = self.model.diffusion_model, self.clip.cond_stage_model
        self.weight_aliases = differentiable(self.model, text)
        found = dict([*streaming_forwards(text), *streaming_forwards(self.model)])
        for module in text.modules():
            if isinstance(module, CLIPLayer):
                forward = out_of_place(module)
                found[module] = checkpointed(forward, False) if self.checkpointed else forward
        for encoder in text.children():
            if not any(isinstance(module, CLIPLayer) for module in encoder.modules()):
                found |= {one: checkpointed(one.forward, True) for one in listed_blocks(encoder)}
        in_place = works_in_place(network)
        if self.checkpointed or in_place:
            found |= {one: checkpointed(one.forward, in_place) for one in blocks(network)}
        self.replaced_forwards = found

    @contextmanager
    def differentiable(self, seed: int = 0) -> Iterator[None]:
        keeping = save_on_cpu() if self.offload else nullcontext()
        self.seed = seed
        try:
            with self.weight_aliases, self.streaming(), keeping:
                yield
        except RuntimeError as error:
            patches = names_of(self.patches)
            if not patches or isinstance(error, PatchError) or out_of_memory(error):
                raise
            raise RuntimeError(
                f"{error} The model comes with patches ({', '.join(patches)}). If it trains "
                f"without them, connect the model from before their nodes."
            ) from error
        finally:
            self.seed = 0
        self.streamed.calls += 1
        self.streamed.timed = False  # In the first call only: the device waits for it.

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Ask the host for every weight that does not stay, whenever it is used."""
        with replacing_forwards(self.replaced_forwards.items()), private_casts(self.streamed):
            yield

    def watch_streaming(self) -> None:
        """Remember what the first block whose weights are fetched is given in the next step."""
        self.probes = gradient_probes(self.model.diffusion_model, self.compute_dtype)
        for probe in self.probes:
            probe.forward = self.replaced_forwards.get(probe.block, probe.forward)
            self.replaced_forwards[probe.block] = probe

    def check_streaming(self) -> None:
        """Raise RuntimeError if the gradient through that block is another one than through weights
        that stay.
        """
        self.prepare()  # Takes the probes off.
        for probe in [one for one in self.probes if one.given is not None]:
            with self.weight_aliases, with_backward():
                probe.check(self.streaming(), works_in_place(self.model.diffusion_model))
        self.probes = []

    def settle(self, peak: int | None) -> None:
        """Load more of the weights if a step took much less memory than it was given; `peak` is
        what the device held, None where nobody counts that.
        """
        held = int(self.patcher.loaded_size() + self.clip.patcher.loaded_size())
        if peak is None or self.patcher.is_dynamic() or not self.streamed.bytes:
            return
        took = int(MARGIN * (peak - held))
        if took < RELOAD_BELOW * self.plan.activations:
            self.plan = self.plan._replace(activations=took)
            self.load(took)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Let the graph's own models be used inside the block as if nobody trained on them; the
        training goes on afterwards with whatever the host had to move meanwhile.
        """
        self.weight_aliases.forget()
        self.patcher.cleanup()
        with torch.inference_mode(), training_flag(False):
            yield
        self.load(self.plan.activations)

    def encode(
        self, captions: Sequence[str], vectors: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """Conditioning of each caption, as the host's samplers take it; equal captions are encoded
        once.
        """
        clip = with_word(
            self.clip, self.embedding.placeholder, Word(self.embedding.initializer, vectors)
        )
        # Else the end of this clone would take the injections (LoraLoaderBypass) off the module
        # that both have (core model_patcher.py __del__).
        clip.patcher.is_injected = False
        # The encoder is loaded; asking the memory manager again in the middle of a step could evict
        # the diffusion model.
        clip.load_model = lambda tokens={}: clip.patcher
        with with_backward():
            read = [(one, *places(one, [self.embedding.placeholder])) for one in captions]
            known = {one: conditioning(clip, one[0]) for one in dict.fromkeys(read)}
        return [known[one] for one in read]

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return self.model.model_sampling.noise_scaling(sigma, noise, latents).to(self.device)

    def denoise(
        self,
        noisy: Tensor,
        sigma: Tensor,
        conditioning: Sequence[dict[str, Any]],
        crop_origins: Sequence[CropOrigin] = (),
    ) -> Tensor:
        conds = [
            self.model_conds(cond, noisy[index : index + 1], *crop_origins[index : index + 1])
            for index, cond in enumerate(conditioning)
        ]
        # Patches may decide by the noise level of the first sample for all (PatchModelAddDownscale,
        # and whatever acts in a part of the sampling).
        alone = [[row] for row in range(len(conds))]
        groups = alone if names_of(self.patches) else batchable(conds)
        with with_backward():
            parts = [
                self.apply(noisy[rows], sigma[rows], [conds[row] for row in rows])
                for rows in groups
            ]
        places = torch.tensor([row for rows in groups for row in rows]).argsort()
        return torch.cat(parts)[places.to(noisy.device)]

    def model_conds(
        self, cond: Mapping[str, Any], noisy: Tensor, crop_origin: CropOrigin | None = None
    ) -> dict[str, Any]:
        """The model's own conditioning objects for one sample, as
        `comfy.samplers.encode_model_conds` prepares them, and with what trainers add: how the
        image was cut (core model_base.py:509, SDXL), and the guidance.
        """
        size = {"width": noisy.shape[-1] * 8, "height": noisy.shape[-2] * 8}
        given = {
            **size,
            **(sdxl_size_conditioning(crop_origin, size) if crop_origin else {}),
            **({"guidance": self.guidance} if takes_guidance(self.model.diffusion_model) else {}),
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
        held = self.options.get("transformer_options", {})
        options = with_differentiable_patches(held, works_in_place(self.model.diffusion_model))
        options.update(
            cond_or_uncond=[0] * len(conds),
            uuids=[self.patcher.patches_uuid] * len(conds),
            sigmas=sigma,
        )
        arguments = {**cond_cat(list(conds)), "transformer_options": options}
        wrapper: Any = self.options.get(WRAPPER)
        with drawing_from(self.seed):  # Whatever shares the call: a sample alone, or a whole batch.
            if wrapper is None:
                return self.model.apply_model(noisy, sigma, **arguments)
            given = {"input": noisy, "timestep": sigma, "c": arguments}
            return wrapper(
                self.model.apply_model, {**given, "cond_or_uncond": options["cond_or_uncond"]}
            )


def sdxl_size_conditioning(crop_origin: CropOrigin, size: Mapping[str, int]) -> dict[str, int]:
    """How an image of a size was cut, under the names that CLIPTextEncodeSDXL uses."""
    return {
        "width": crop_origin.width,
        "height": crop_origin.height,
        "crop_w": crop_origin.left,
        "crop_h": crop_origin.top,
        "target_width": size["width"],
        "target_height": size["height"],
    }


def takes_guidance(network: nn.Module) -> bool:
    """Whether a diffusion model takes its guidance as an input, as the distilled Flux dev and
    Hunyuan do; Chroma has such an input too, but was trained with 0 there.
    """
    return bool(getattr(getattr(network, "params", None), "guidance_embed", False))


def conditioning(clip: Any, caption: str) -> dict[str, Any]:
    """What CLIPTextEncode would give, under the names that the host's samplers use."""
    out = clip.encode_from_tokens(clip.tokenize(caption), return_pooled=True, return_dict=True)
    return {"cross_attn": out.pop("cond"), **out}


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
    kinds = [kind.__name__ for kind in type(schedule).__mro__[1:]]
    # The first in order: the host makes some of them of others.
    if chosen := next((SAMPLED_OTHERWISE[one] for one in kinds if one in SAMPLED_OTHERWISE), None):
        raise ValueError(
            f"This model is set to {chosen} sampling, which has no objective to train with. Take "
            f"ModelSamplingDiscrete off the model for training."
        )
    raise ValueError(
        f"Models of this kind ({', '.join(kinds[:2])}) cannot be trained yet. Use a model with "
        f"noise, v or flow prediction: SD 1.x, SD 2.x, SDXL, SD3, Flux and their relatives."
    )


def batchable(conds: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Group samples whose conditioning the host can put into one call."""
    groups: list[list[int]] = []
    for row, cond in enumerate(conds):
        fitting = next((group for group in groups if can_concat_all(conds[group[0]], cond)), None)
        if fitting is None:
            groups.append([row])
        else:
            fitting.append(row)
    return groups


def can_concat_all(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two samples' conditioning can be concatenated."""
    return one.keys() == other.keys() and all(
        value.can_concat(other[name]) for name, value in one.items()
    )
