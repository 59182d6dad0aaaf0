"""Borrow the host's models: loaded together, ready to train, given back as they were."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import comfy.model_management as memory
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ...training.settings import Checkpointing, Precision
from ...word.embedding import Embedding
from .compatibility import end_prefetches, even_if_interrupted, interrupts_unmasked, is_interrupt
from .gradients import attention_with_backward, training_flag, works_in_place
from .host_model import HostModel, prediction
from .memory import native_dtypes, out_of_memory, release_memory, training_plan
from .patches import OVERRIDE, merge_wrappers
from .streamed_weights import unpin_all
from .text import check_fits

log = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
FROM_A_IMAGE = {"HunyuanVideoI2V", "HunyuanVideoSkyreelsI2V", "SVD_img2vid"}


@dataclass(frozen=True)
class BorrowSettings:
    """How to run the borrowed models; `rows` is how many samples are denoised together, `offload`
    keeps what the backward pass needs in the host's memory, `room` is what a step is given of the
    memory that it is estimated to take; `guidance` is an input of distilled models.
    """

    rows: int
    precision: Precision = "auto"
    checkpointing: Checkpointing = "auto"
    offload: bool = False
    room: float = 1.0
    guidance: float = 1.0


@contextmanager
def borrowed(
    model: ModelPatcher,
    clip: CLIP,
    embedding: Embedding,
    latent_shape: Sequence[int],
    settings: BorrowSettings,
) -> Iterator[HostModel]:
    """MODEL and CLIP, loaded together and ready to train; afterwards they are as they were. The
    host's Cancel leaves as itself, whatever happens while they are given back.
    """
    check_fits(embedding, clip)
    check_hooks(clip)
    check_kind(model)
    own_model, own_clip = model.clone(), clip.clone()
    set_precision(own_model, settings.precision)
    options = own_model.model_options.setdefault("transformer_options", {})
    options[OVERRIDE] = attention_with_backward
    merge_wrappers(own_model)
    checkpointing = {"on": True, "off": False}.get(settings.checkpointing)
    if works_in_place(own_model.model.diffusion_model):
        checkpointing = True
    rows, room = settings.rows, settings.room
    plan = training_plan(own_model, own_clip, rows, latent_shape, room, checkpointing)
    with interrupts_unmasked(), ExitStack() as afterwards:  # Each of them, whatever the last did.
        afterwards.callback(even_if_interrupted, give_back, model, clip)
        afterwards.callback(even_if_interrupted, own_model.cleanup)
        try:
            with torch.inference_mode(False), torch.enable_grad(), training_flag():
                how = (rows, settings.offload, settings.guidance)
                yield HostModel(own_model, own_clip, embedding, plan, *how)
        except BaseException:
            for module in (own_model.model, own_clip.cond_stage_model):
                unpin_all(module)
            even_if_interrupted(end_prefetches)
            raise


def check_hooks(clip: CLIP) -> None:
    """Raise ValueError if the CLIP carries hooks, which the host applies while it samples only."""
    if clip.patcher.forced_hooks is not None or clip.apply_hooks_to_conds is not None:
        raise ValueError(
            "This CLIP carries hooks (Set CLIP Hooks), which training would ignore. Connect the "
            "CLIP from before that node. LoRAs from a LoRA loader do apply."
        )


def check_kind(model: ModelPatcher) -> None:
    """Raise ValueError for a model that no word can be learned on."""
    prediction(model.get_model_object("model_sampling"))
    kinds = [kind.__name__ for kind in type(model.model).__mro__]
    if "SDXLRefiner" in kinds:
        raise ValueError(
            "This is the SDXL refiner, which only refines images and depends little on the text. "
            "Connect MODEL and CLIP of the base checkpoint; the refiner can use the word too."
        )
    if getattr(model.model, "image_to_video", False) or FROM_A_IMAGE & {*kinds}:
        raise ValueError(
            f"This model ({kinds[0]}) makes a film from an image, and training shows it single "
            f"images only. Use the text-to-video model of the same family, or an image model."
        )


def empty_condition(model: ModelPatcher) -> str:
    """A note on a model that is given an image beside the text, which training does not have;
    '' for others.
    """
    if "IP2P" not in [kind.__name__ for kind in type(model.model).__mro__]:
        return ""
    return (
        "This model edits an input image. Training passes an empty one, so the word is learned "
        "without it: try the word on the base model, too."
    )


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
    elif model.is_dynamic():
        # It casts every weight anyway, and the other call would have all of them moved again.
        model.add_object_patch("manual_cast_dtype", wanted)
    else:
        model.set_model_compute_dtype(wanted)


def give_back(model: ModelPatcher, clip: CLIP) -> None:
    """Load the given patchers in place of the clones, which takes the clones' patches off the
    shared modules; nothing is copied where the weights are the same. Where the memory is too full
    for that, they are unloaded, for whoever uses them next to load.
    """
    try:
        memory.load_models_gpu([model, clip.patcher])
    except Exception as error:
        if is_interrupt(error) or not out_of_memory(error):
            raise
        log.warning("The models are unloaded after training, because memory is full: %s", error)
        release_memory()
