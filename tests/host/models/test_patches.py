"""What people put in front of the training: each patch trains with the right gradient, or is told.

One SD 1.x with a UNet of three levels, and the classes of the host's own nodes.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import comfy.supported_models as families
import folder_paths
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer
from comfy.supported_models_base import ClipTarget
from comfy.utils import save_torch_file
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import (
    nodes_differential_diffusion,
    nodes_easycache,
    nodes_eps,
    nodes_freelunch,
    nodes_fresca,
    nodes_hypernetwork,
    nodes_hypertile,
    nodes_lora_debug,
    nodes_mahiro,
    nodes_model_advanced,
    nodes_model_downscale,
    nodes_pag,
    nodes_sag,
    nodes_tomesd,
)
from small import concept, settings, small_sd1, word
from small_models import SMALL_UNET, patcher, text_encoders
from test_gradients import leaves
from torch import Tensor, nn

import nodes
from ti_core.host.learn import Learned, Models, learn
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.host_model import HostModel
from ti_core.training.batches import Batch, batch_loss
from ti_core.word.embedding import Embedding

Pair = tuple[ModelPatcher, CLIP]
SEED = 3  # of what the patches draw
SIDE = 16  # latents; HyperTile has a choice of tiles from here on
CAPTIONS = ("a photo of my-cat", "a (my-cat:1.3) on a table")
LEVELS = {
    **SMALL_UNET,
    "context_dim": 768,
    "model_channels": 32,
    "channel_mult": [1, 2, 4],
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1],
    "num_head_channels": 32,
}
TWO_LAYERS = {"clip_l_model_config": {"num_hidden_layers": 2, "intermediate_size": 256}}
# What only changes how the same numbers are computed, which training sets aside.
ASIDE = ("torch.compile",)


@functools.cache
def models() -> Pair:
    """The MODEL and CLIP without patches."""
    with torch.inference_mode():
        model = patcher(families.SD15(dict(LEVELS)), {})
        return model, text_encoders(ClipTarget(SD1Tokenizer, SD1ClipModel), TWO_LAYERS)


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A LoRA and a hypernetwork where the host's loaders look for them."""
    folder, known = tmp_path_factory.mktemp("patches"), folder_paths.folder_names_and_paths
    before = dict(known)
    for kind, write in (("loras", write_lora), ("hypernetworks", write_hypernetwork)):
        folder_paths.add_model_folder_path(kind, str(folder / kind), is_default=True)
        (folder / kind).mkdir()
        write(folder / kind)
    yield
    known.clear()
    known.update(before)


def write_lora(folder: Path) -> None:
    """Of rank 2 for every attention of the UNet and every linear of the text encoder."""
    draws, state = torch.Generator().manual_seed(8), {}
    model, clip = models()
    network = model.model.diffusion_model
    named = [("lora_unet", name, one) for name, one in network.named_modules() if ".attn" in name]
    encoder = clip.cond_stage_model.clip_l.transformer
    named += [("lora_te", name, one) for name, one in encoder.named_modules()]
    for prefix, name, module in named:
        if isinstance(module, nn.Linear) and "projection" not in name:
            key = f"{prefix}_{name.replace('.', '_')}"
            up, down = (module.out_features, 2), (2, module.in_features)
            state[f"{key}.lora_up.weight"] = torch.randn(up, generator=draws) / 8
            state[f"{key}.lora_down.weight"] = torch.randn(down, generator=draws) / 8
    save_torch_file(state, str(folder / "small.safetensors"))


def write_hypernetwork(folder: Path) -> None:
    """For the text's vectors: two layers with a bend between them."""
    draws = torch.Generator().manual_seed(9)
    layers = {
        f"linear.{n}.{name}": torch.randn(shape, generator=draws) / 30
        for n, width in enumerate((64, 768))
        for name, shape in (("weight", (width, 832 - width)), ("bias", (width,)))
    }
    torch.save({768: [layers, layers], "activation_func": "swish"}, folder / "small.pt")


def result(made: Any) -> ModelPatcher:
    """The MODEL that a node gives, of either kind."""
    return made[0] if isinstance(made, tuple) else made.result[0]


def lora(model: ModelPatcher, clip: CLIP) -> Pair:
    host: Any = nodes
    return host.LoraLoader().load_lora(model, clip, "small.safetensors", 0.7, 0.5)


def bypass_lora(model: ModelPatcher, clip: CLIP) -> Pair:
    loader: Any = nodes_lora_debug.LoraLoaderBypass()
    return loader.load_lora(model, clip, "small.safetensors", 0.7, 0.5)


def with_weights_of_its_own(model: ModelPatcher) -> ModelPatcher:
    """As IPAdapter does it: attention is replaced, and a second one with its own weights added,
    in a part of the sampling.
    """
    model, draws = model.clone(), torch.Generator().manual_seed(10)
    image = torch.randn(1, 4, 768, generator=draws)
    schedule: Any = model.get_model_object("model_sampling")
    limit = schedule.percent_to_sigma(0.55)
    for block, width in ((("input", 1), 32), (("input", 3), 64), (("middle", 0), 128)):
        keys, values = (torch.randn(768, width, generator=draws) / 28 for _ in range(2))

        def attention(q: Any, k: Any, v: Any, more: Any, ours: Any = (keys, values)) -> Any:
            heads = more["n_heads"]
            found = nodes_sag.optimized_attention(q, k, v, heads)
            if more["sigmas"][0].item() < limit:
                return found
            k, v = ((image @ one).expand(len(q), -1, -1) for one in ours)
            return found + nodes_sag.optimized_attention(q, k, v, heads)

        model.set_model_attn2_replace(attention, *block)
    return model


def with_residuals(model: ModelPatcher) -> ModelPatcher:
    """As a ControlNet that wraps the model: residuals of its own network, from what it is given."""
    model, draws = model.clone(), torch.Generator().manual_seed(11)
    shallow = torch.randn(32, 4, 3, 3, generator=draws) / 6
    deep = torch.randn(128, 768, generator=draws) / 28

    def wrapper(apply_model: Any, given: Any) -> Tensor:
        c = given["c"]
        first = torch.nn.functional.conv2d(given["input"], shallow, padding=1)
        last = (c["c_crossattn"].mean(1) @ deep.T)[:, :, None, None]
        control = {"input": [first], "middle": [last], "output": []}
        return apply_model(given["input"], given["timestep"], **{**c, "control": control})

    model.set_model_unet_function_wrapper(wrapper)
    return model


def compiled(model: ModelPatcher) -> ModelPatcher:
    """As TorchCompileModel, with a backend that needs no compiler of C++."""
    model = model.clone()
    set_torch_compile_wrapper(model, backend="aot_eager")
    return model


def discrete(sampling: str, zsnr: bool = False) -> Callable[[ModelPatcher], ModelPatcher]:
    return lambda model: nodes_model_advanced.ModelSamplingDiscrete().patch(model, sampling, zsnr)[
        0
    ]


def shrunk(model: ModelPatcher) -> ModelPatcher:
    """Kohya's Deep Shrink, in the first part of the sampling."""
    node = nodes_model_downscale.PatchModelAddDownscale
    return result(node.execute(model, 3, 2.0, 0.0, 0.55, True, "bicubic", "bicubic"))


advanced = nodes_model_advanced
PATCHES: dict[str, Callable[[ModelPatcher], ModelPatcher]] = {
    "hypernetwork": lambda m: result(
        nodes_hypernetwork.HypernetworkLoader.execute(m, "small.pt", 0.8)
    ),
    "FreeU": lambda m: result(nodes_freelunch.FreeU.execute(m, 1.1, 1.2, 0.9, 0.2)),
    "FreeU_V2": lambda m: result(nodes_freelunch.FreeU_V2.execute(m, 1.3, 1.4, 0.9, 0.2)),
    "ToMe": lambda m: result(nodes_tomesd.TomePatchModel.execute(m, 0.5)),
    "HyperTile": lambda m: result(nodes_hypertile.HyperTile.execute(m, 32, 3, 1, False)),
    "Deep Shrink": shrunk,
    "IPAdapter": with_weights_of_its_own,
    "ControlNet": with_residuals,
    "torch.compile": compiled,
    "ModelSamplingDiscrete eps zsnr": discrete("eps", True),
    "ModelSamplingDiscrete v": discrete("v_prediction"),
    "ModelSamplingContinuousEDM": lambda m: advanced.ModelSamplingContinuousEDM().patch(
        m, "edm_playground_v2.5", 80.0, 0.002
    )[0],
    "ModelSamplingSD3": lambda m: advanced.ModelSamplingSD3().patch(m, 3.0)[0],
    "ModelSamplingFlux": lambda m: advanced.ModelSamplingFlux().patch(m, 1.15, 0.5, 512, 512)[0],
}
PAIRS: dict[str, Callable[[ModelPatcher, CLIP], Pair]] = {
    "LoRA": lora,
    "LoRA beside the weights": bypass_lora,
}


def patched(name: str) -> Pair:
    """MODEL and CLIP behind a node."""
    model, clip = models()
    return PAIRS[name](model, clip) if name in PAIRS else (PATCHES[name](model), clip)


def samples(frozen: HostModel, rows: slice = slice(None)) -> Batch:
    """Two samples on both sides of where patches of a part of the sampling begin."""
    draws = torch.Generator().manual_seed(5)
    clean, noise = torch.randn(2, 2, 4, SIDE, SIDE, generator=draws)
    count = len(frozen.sigmas)
    places = torch.tensor([count // 3, 2 * count // 3])
    return Batch(clean[rows], noise[rows], places[rows], CAPTIONS[rows])


class Trained(NamedTuple):
    """Losses of some samples `[n]`, and the gradient of their mean."""

    losses: Tensor
    gradient: Tensor


def step(frozen: HostModel, vectors: dict[str, Tensor]) -> Trained:
    """One forward and backward pass."""
    with frozen.differentiable(SEED):
        losses = batch_loss(frozen, samples(frozen), vectors)
        losses.mean().backward()
    found = vectors["clip_l"].grad
    assert found is not None
    return Trained(losses.detach(), found)


@torch.no_grad()
def losses(frozen: HostModel, rows: Tensor, batch: Batch) -> Tensor:
    with frozen.differentiable(SEED):
        return batch_loss(frozen, batch, {"clip_l": rows}).double()


@contextmanager
def lent(pair: Pair, checkpointing: Any) -> Iterator[tuple[HostModel, Embedding]]:
    """The models ready to train, and a word."""
    made, settings = word(pair[1]), BorrowSettings(2, "fp32", checkpointing)
    with borrowed(*pair, made, (4, SIDE, SIDE), settings) as frozen:
        assert frozen.checkpointed is (checkpointing == "on")
        yield frozen, made


def trained(pair: Pair, checkpointing: Any) -> Trained:
    """Losses and gradient on patched models."""
    with lent(pair, checkpointing) as (frozen, made):
        return step(frozen, leaves(made))


@functools.cache
def without_patches() -> Trained:
    with torch.inference_mode():
        return trained(models(), "off")


def check_gradient(frozen: HostModel, made: Embedding, found: Trained, reach: float) -> None:
    """By central differences along it."""
    rows, norm = made.vectors["clip_l"], found.gradient.norm()
    away = reach * found.gradient / norm
    ends = [losses(frozen, rows + one, samples(frozen)).mean() for one in (away, -away)]
    assert float((ends[0] - ends[1]) / (2 * reach)) == pytest.approx(float(norm), rel=0.01)


def check_singles(frozen: HostModel, made: Embedding, found: Trained) -> None:
    """Each sample alone, which is how a sampler would ask for it."""
    for row in range(2):
        (alone,) = losses(frozen, made.vectors["clip_l"], samples(frozen, slice(row, row + 1)))
        assert float(found.losses[row]) == pytest.approx(float(alone), rel=1e-5)


@pytest.mark.parametrize("name", [*PAIRS, *PATCHES])
def test_a_patch_trains_with_the_gradient_of_finite_differences(name: str):
    """With and without recomputation, and a batch as its samples one by one."""
    pair, before = patched(name), torch.get_rng_state()
    reach = 1e-4 if name == "ToMe" else 5e-4  # It chooses what is most alike, which is not smooth.
    with lent(pair, "off") as (frozen, made):
        found = step(frozen, leaves(made))
        check_gradient(frozen, made, found, reach)
        check_singles(frozen, made, found)
    again = trained(pair, "on")
    torch.testing.assert_close(again.losses, found.losses, rtol=1e-5, atol=0)
    assert (again.gradient - found.gradient).norm() < 1e-4 * found.gradient.norm()
    assert torch.allclose(found.losses, without_patches().losses, rtol=1e-4) is (name in ASIDE)
    assert torch.get_rng_state().equal(before)


GUIDANCE: dict[str, Callable[[ModelPatcher], Any]] = {
    "RescaleCFG": lambda m: advanced.RescaleCFG().patch(m, 0.7),
    "PerturbedAttentionGuidance": lambda m: nodes_pag.PerturbedAttentionGuidance.execute(m, 3.0),
    "SelfAttentionGuidance": lambda m: nodes_sag.SelfAttentionGuidance.execute(m, 0.5, 2.0),
    "FreSca": lambda m: nodes_fresca.FreSca.execute(m, 1.0, 1.25, 20),
    "DifferentialDiffusion": lambda m: nodes_differential_diffusion.DifferentialDiffusion.execute(
        m, 1.0
    ),
    "EpsilonScaling": lambda m: nodes_eps.EpsilonScaling.execute(m, 1.005),
    "Mahiro": lambda m: nodes_mahiro.Mahiro.execute(m),
    "easycache": lambda m: nodes_easycache.EasyCacheNode.execute(m, 0.2, 0.15, 0.95, False),
    "lazycache": lambda m: nodes_easycache.LazyCacheNode.execute(m, 0.2, 0.15, 0.95, False),
    "torch.compile": lambda m: (compiled(m),),
}


def learned(pair: Pair, checkpointing: Any = "off") -> Learned:
    """What a run of one step gives."""
    chosen = settings(1, precision="fp32", checkpointing=checkpointing)
    given = Models(*pair, small_sd1().vae)
    return learn(given, concept(1), word(pair[1]), chosen)


def test_what_acts_on_guidance_alone_changes_nothing_and_stands_in_the_report():
    model, clip = models()
    for patch in GUIDANCE.values():
        model = result(patch(model))
    found = trained((model, clip), "off")
    torch.testing.assert_close(found.losses, without_patches().losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.gradient, without_patches().gradient, rtol=1e-4, atol=1e-7)
    told = learned((model, clip)).report
    line = next(line for line in told.splitlines() if "no effect in training" in line)
    assert all(name in line for name in GUIDANCE), line


@pytest.mark.parametrize("name", ["ToMe", "HyperTile"])
def test_what_a_patch_draws_comes_from_the_seed_of_the_step(name: str):
    """Wherever torch's own generators stand."""
    with lent(patched(name), "on") as (frozen, made):
        found = []
        for place in (1, 2):
            torch.manual_seed(place)
            found.append(step(frozen, leaves(made)))
        assert found[0].gradient.equal(found[1].gradient)
        with torch.no_grad(), frozen.differentiable(SEED + 2):
            other = batch_loss(frozen, samples(frozen), made.vectors)
    assert not other.equal(found[0].losses)


def test_runs_of_one_seed_are_equal_behind_a_patch_that_draws():
    """Also where blocks are computed again; and the host's generator stays where it was."""
    found = []
    for place, checkpointing in enumerate(("off", "off", "on")):
        torch.manual_seed(place)
        before = torch.get_rng_state()
        found.append(learned(patched("ToMe"), checkpointing).embedding.vectors["clip_l"])
        assert torch.get_rng_state().equal(before)
    assert found[0].equal(found[1])
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-6)


def detaching(h: Tensor, *_: Any) -> Tensor:
    return h.detach()


def failing(h: Tensor, *_: Any) -> Tensor:
    raise KeyError("no step of a sampling is going on")


def writing(h: Tensor, *_: Any) -> Tensor:
    """Into a result of its own that it has used."""
    twice = h.exp()
    found = twice * twice
    twice *= 0
    return found


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        (detaching, r"patch detaching in front .*\(its result has no gradient"),
        (failing, r"patch failing in front .*no step of a sampling"),
        (writing, r"patch writing in front .*\(it changes what it has used"),
    ],
)
def test_a_patch_that_cannot_be_trained_through_is_named(patch: Any, why: str):
    model, clip = models()
    model = model.clone()
    model.set_model_attn2_output_patch(patch)
    with pytest.raises(RuntimeError, match=f"(?s){why}"):
        trained((model, clip), "off")
