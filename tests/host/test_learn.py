"""Whole runs on the host's models: what they learn, and that they leave no trace."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import comfy.lora
import comfy.model_management
import comfy.sample
import comfy.utils
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from small import (
    Loaded,
    concept,
    latents,
    load_checkpoint,
    observer,
    settings,
    small_flux,
    small_sd1,
    word,
)
from torch import Tensor

from ti_core.host.learn import Learned, Models, learn
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.gradients import weights
from ti_core.training.batches import Batch, batch_loss
from ti_core.training.loop import train
from ti_core.training.objective import Objective
from ti_core.training.optimizers import AdamWSettings
from ti_core.training.validation import validation_batches, validation_loss
from ti_core.word.embedding import Embedding

# What the host puts on a module when it loads it, with the value that the class has anyway.
DEFAULTED = ("comfy_cast_weights", "weight_function", "bias_function")


def run(loaded: Loaded, steps: int = 3, on_step: Any = None, **changes: Any) -> Learned:
    """A short run as the node makes it."""
    chosen = settings(steps, **changes)
    watching = observer(on_step=on_step or (lambda state: None))
    return learn(Models(*loaded), concept(), word(loaded.clip), chosen, watching)


def sampled(model: ModelPatcher, clip: CLIP, text: str = "a photo of a cat") -> Tensor:
    """Latents of a four-step sampling."""
    positive, negative = (
        clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in (text, "")
    )
    start = torch.zeros(1, 4, 8, 8)
    noise = comfy.sample.prepare_noise(start, 3)
    return comfy.sample.sample(
        model, noise, 4, 4.0, "euler", "normal", positive, negative, start, seed=3
    )


def state(loaded: Loaded) -> dict[str, Any]:
    """Every weight, buffer and plain attribute of the models, and the host's own switches."""
    found: dict[str, Any] = {"in_training": comfy.model_management.in_training}
    modules = {
        "model": loaded.model.model,
        "clip": loaded.clip.cond_stage_model,
        "vae": loaded.vae.first_stage_model,
    }
    plain = (bool, int, float, str, torch.dtype, torch.device, type(None))
    for owner, module in modules.items():
        for name, child in module.named_modules():
            for key, value in vars(child).items():
                if isinstance(value, plain):
                    found[f"{owner}.{name}.{key}"] = value
            for key in DEFAULTED:
                found[f"{owner}.{name}.{key}"] = repr(getattr(child, key, None))
            found[f"{owner}.{name}.attributes"] = sorted(set(vars(child)) - set(DEFAULTED))
        for name, tensor in module.state_dict().items():
            found[f"{owner}:{name}"] = (tensor.dtype, tensor.device, tensor.clone())
    for owner, patcher in (("model", loaded.model), ("clip", loaded.clip.patcher)):
        found[f"{owner} options"] = repr(patcher.model_options)
        found[f"{owner} patches"] = sorted(patcher.patches)
        found[f"{owner} object patches"] = sorted(patcher.object_patches)
    found["rng"] = torch.get_rng_state()
    return found


def bits(tensor: Tensor) -> Tensor:
    """A tensor's bytes: a weight that no checkpoint fills may hold NaN, which equals nothing."""
    return tensor.reshape(-1).view(torch.uint8)


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, tuple):
            return a[:2] == b[:2] and torch.equal(bits(a[2]), bits(b[2]))
        return torch.equal(a, b) if isinstance(a, Tensor) else a == b

    return [
        name
        for name in sorted({*one, *other})
        if name not in one or name not in other or not same(one[name], other[name])
    ]


@pytest.mark.parametrize("precision", ["auto", pytest.param("bf16", marks=pytest.mark.slow)])
def test_training_leaves_everything_bit_identical(loaded: Loaded, precision: str):
    image = sampled(loaded.model, loaded.clip)
    loaded.vae.encode(concept().crops[0][None])  # Loading alone sets the host's own marks.
    before = state(loaded)
    run(loaded, precision=precision)
    assert differences(before, state(loaded)) == []
    assert sampled(loaded.model, loaded.clip).equal(image)


def test_training_allocates_no_second_copy_of_the_weights(loaded: Loaded):
    made = word(loaded.clip)
    modules = [loaded.model.model, loaded.clip.cond_stage_model]
    before = {t.untyped_storage().data_ptr() for *_, t in weights(modules)}
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
        for _ in train(frozen, concept(), latents(), made, settings(2)):
            during = {t.untyped_storage().data_ptr() for *_, t in weights(modules)}
            assert during == before
        with frozen.differentiable():
            used = {t.untyped_storage().data_ptr() for *_, t in weights(modules)}
            assert used == before


@pytest.mark.parametrize("method", ["spherical", "adamw"])
def test_the_validation_loss_falls(loaded: Loaded, method: str):
    changes: dict[str, Any] = {} if method == "spherical" else {"method": AdamWSettings()}
    made = word(loaded.clip)
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(4)) as frozen:
        drawn = validation_batches(frozen, concept(), latents(), "my-cat", 8, 4)
        before = validation_loss(frozen, drawn, made.vectors)
        rate = "0.05" if method == "spherical" else "0.01"
        *_, last = train(frozen, concept(), latents(), made, settings(12, rate, **changes))
        assert validation_loss(frozen, drawn, last.vectors) < 0.98 * before


@pytest.mark.slow
def test_every_precision_learns_nearly_the_same(loaded: Loaded):
    made = [run(loaded, 2, precision=choice).embedding for choice in ("fp32", "bf16", "fp16")]
    moves = [(one.vectors["clip_l"] - one.initial["clip_l"]).flatten() for one in made]
    assert [one.provenance["compute_dtype"] for one in made] == ["float32", "bfloat16", "float16"]
    for move in moves[1:]:
        assert torch.cosine_similarity(moves[0], move, dim=0) > 0.95


def test_runs_repeat_bit_for_bit_in_one_process_and_after_a_cancelled_one(loaded: Loaded):
    first = run(loaded)
    torch.rand(10)
    again = run(loaded)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(loaded, on_step=cancel)
    after = run(loaded)
    other = run(loaded, seed=8)
    vectors = [made.embedding.vectors["clip_l"] for made in (first, again, after, other)]
    assert vectors[0].equal(vectors[1])
    assert vectors[0].equal(vectors[2])
    assert not vectors[0].equal(vectors[3])
    assert first.losses == again.losses == after.losses


def cancel(report: Any) -> None:
    """What the host's Cancel does."""
    raise comfy.model_management.InterruptProcessingException()


def test_a_cancelled_run_leaves_everything_bit_identical(loaded: Loaded):
    image = sampled(loaded.model, loaded.clip)
    before = state(loaded)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(loaded, on_step=cancel)
    assert differences(before, state(loaded)) == []
    assert sampled(loaded.model, loaded.clip).equal(image)


def test_cancel_in_the_middle_of_a_backward_pass_leaves_everything_bit_identical(loaded: Loaded):
    before = state(loaded)
    made = word(loaded.clip)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(2)) as frozen:
            with frozen.differentiable():
                rows = made.vectors["clip_l"].clone().requires_grad_()
                rows.register_hook(cancel)
                frozen.encode(["a my-cat"], {"clip_l": rows})[0]["cross_attn"].sum().backward()
    assert differences(before, state(loaded)) == []


def patched(model: ModelPatcher, strength: float) -> ModelPatcher:
    """The model with a LoRA on all of its attention output projections."""
    draws = torch.Generator().manual_seed(11)
    own = model.clone()
    keys = [key for key in model.model.state_dict() if key.endswith("to_out.0.weight")]
    assert keys
    low_rank = {}
    for key in keys:
        rows, columns = model.model.state_dict()[key].shape
        up = torch.randn(rows, 4, generator=draws) / 2
        down = torch.randn(4, columns, generator=draws) / 16
        low_rank[key] = ("diff", (up @ down,))
    assert set(own.add_patches(low_rank, strength)) == set(keys)
    return own


def test_a_lora_takes_part_and_is_taken_off_again(loaded: Loaded):
    made = word(loaded.clip)
    image = sampled(loaded.model, loaded.clip)
    before = state(loaded)
    found = {}
    for strength in (0.0, 1.0):
        model = patched(loaded.model, strength) if strength else loaded.model
        with borrowed(model, loaded.clip, made, (4, 8, 8), BorrowSettings(4)) as frozen:
            drawn = validation_batches(frozen, concept(), latents(), "my-cat", 4, 4)
            found[strength] = validation_loss(frozen, drawn, made.vectors)
            *_, last = train(frozen, concept(), latents(), made, settings(3))
            assert not last.vectors["clip_l"].equal(made.vectors["clip_l"])
    assert found[0.0] != pytest.approx(found[1.0], rel=1e-3)
    assert sampled(loaded.model, loaded.clip).equal(image)
    assert differences(before, state(loaded)) == []


def test_a_lora_on_the_model_trains_as_the_merged_model_does(loaded: Loaded):
    """The loss with the patch is that of a model whose weights carry it."""
    made = word(loaded.clip)
    model = patched(loaded.model, 0.7)
    with borrowed(model, loaded.clip, made, (4, 8, 8), BorrowSettings(4)) as frozen:
        drawn = validation_batches(frozen, concept(), latents(), "my-cat", 4, 4)
        by_patch = validation_loss(frozen, drawn, made.vectors)
    whole = small_sd1().model
    for key, patches in model.patches.items():
        weight = comfy.utils.get_attr(whole.model, key)
        weight.copy_(comfy.lora.calculate_weight(patches, weight.clone(), key))
    with borrowed(whole, loaded.clip, made, (4, 8, 8), BorrowSettings(4)) as frozen:
        assert validation_loss(frozen, drawn, made.vectors) == pytest.approx(by_patch, rel=1e-5)


@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_each_caption_reaches_its_own_image_only(loaded: Loaded, family: str):
    """A batch of three equals three batches of one; captions have different lengths."""
    model, clip = (loaded.model, loaded.clip) if family == "sd1" else small_flux()
    channels = 4 if family == "sd1" else 16
    made = word(clip)
    texts = ("a photo of my-cat", "my-cat, " + "on a long red table, " * 40, "(my-cat:1.4)")
    clean = torch.stack(latents(3, channels))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    with borrowed(model, clip, made, (channels, 8, 8), BorrowSettings(3)) as frozen:
        positions = torch.tensor([100, 500, 800])
        together = Batch(clean, noise, positions, texts)
        whole, vectors = losses(frozen, made, together)
        single = []
        for i in range(3):
            part = Batch(clean[i : i + 1], noise[i : i + 1], positions[i : i + 1], texts[i : i + 1])
            single.append(losses(frozen, made, part))
        swapped, _ = losses(frozen, made, together._replace(captions=texts[::-1]))
    torch.testing.assert_close(whole, torch.cat([loss for loss, _ in single]), rtol=1e-4, atol=0)
    for key, gradient in vectors.items():
        parts = torch.stack([grads[key] for _, grads in single]).sum(0)
        torch.testing.assert_close(gradient, parts, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(whole[0], swapped[0], rtol=1e-4)


def losses(frozen: Any, made: Embedding, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss per sample, and the gradient of their sum."""
    vectors = {key: rows.clone().requires_grad_() for key, rows in made.vectors.items()}
    with frozen.differentiable():
        loss = batch_loss(frozen, batch, vectors)
        loss.sum().backward()
    return loss.detach(), {k: rows.grad for k, rows in vectors.items() if rows.grad is not None}


def test_a_batch_costs_one_row_per_sample(loaded: Loaded):
    made, rows = word(loaded.clip), []
    with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), BorrowSettings(3)) as frozen:
        network = frozen.model.diffusion_model
        hook = network.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
        clean = torch.stack(latents(3))
        batch = Batch(clean, clean, torch.tensor([1, 2, 3]), ("my-cat", "a my-cat", "the my-cat"))
        losses(frozen, made, batch)
        hook.remove()
    assert rows == [3]


def test_wrappers_and_attention_patches_of_the_model_take_part(loaded: Loaded):
    made, seen = word(loaded.clip), []
    model = loaded.model.clone()

    def wrapper(apply: Any, arguments: dict[str, Any]) -> Tensor:
        seen.append("wrapper")
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> tuple[Tensor, ...]:
        seen.append(options["block"])
        return q, k, v

    model.set_model_unet_function_wrapper(cast(Any, wrapper))
    model.set_model_attn2_patch(patch)
    with borrowed(model, loaded.clip, made, (4, 8, 8), BorrowSettings(1)) as frozen:
        *_, last = train(frozen, concept(), latents(), made, settings(1, batch_size=1))
    assert not last.vectors["clip_l"].equal(made.vectors["clip_l"])
    assert seen[0] == "wrapper"
    assert {block[0] for block in seen if block != "wrapper"} == {"input", "middle", "output"}


def test_the_report_and_the_provenance_tell_what_happened(checkpoint_file: Path):
    made = run(load_checkpoint(checkpoint_file, torch.float32), 2)
    assert "Learned 'my-cat' (clip_l 2 x 768) from 3 images" in made.report
    assert len(made.losses) == 2
    provenance = made.embedding.provenance
    assert provenance["method"] == "spherical"
    assert provenance["steps"] == 2
    assert provenance["base_model"] == checkpoint_file.name
    assert provenance["prediction"] == "eps"
    assert provenance["noise_levels"] == "uniform"
    assert provenance["objective"] == vars(Objective())
    assert "Noise levels: uniform." in made.report


def test_training_goes_on_from_a_trained_word(loaded: Loaded):
    first = run(loaded, 2).embedding
    how = settings(2, keep="last")
    second = learn(Models(*loaded), concept(), first, how).embedding
    assert second.initial["clip_l"].equal(first.initial["clip_l"])
    assert not second.vectors["clip_l"].equal(first.vectors["clip_l"])


def test_what_people_wrote_into_a_word_stays_when_it_is_trained_on(loaded: Loaded):
    written = {"author": "somebody", "license": "CC0-1.0"}
    found = replace(word(loaded.clip), provenance={"modelspec": written, "steps": 900})
    how = settings(1)
    made = learn(Models(*loaded), concept(), found, how).embedding.provenance
    assert made["modelspec"] == written
    assert made["steps"] == 1


def test_a_vae_of_another_family_is_an_error_before_the_first_step(loaded: Loaded):
    class SixteenChannels:
        def encode(self, pixels: Tensor) -> Tensor:
            return torch.zeros(1, 16, 8, 8)

    steps: list[Any] = []
    with pytest.raises(ValueError, match="produces 16-channel latents; the model expects 4"):
        learn(
            Models(loaded.model, loaded.clip, SixteenChannels()),
            concept(),
            word(loaded.clip),
            settings(1),
            observer(on_step=steps.append),
        )
    assert steps == []


def test_an_embedding_of_another_family_is_an_error_before_the_first_step(loaded: Loaded):
    flux = word(small_flux()[1])
    with pytest.raises(ValueError, match=r"t5xxl \(4096 wide\), but this CLIP has clip_l"):
        with borrowed(loaded.model, loaded.clip, flux, (4, 8, 8), BorrowSettings(1)):
            pass
