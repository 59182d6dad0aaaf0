"""Runs on the host's models: kept on disk, gone on with, and brought through a full memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from hostile_disks import largest_file  # pyright: ignore[reportMissingImports]
from small import Loaded, concept, load_checkpoint, observer, settings, word
from test_learn import differences, patched, run, sampled, state
from torch import Tensor

from ti_core.host import attempt
from ti_core.host.learn import Learned, Models, learn, next_remedy
from ti_core.host.models.borrow import BorrowSettings, borrowed
from ti_core.host.models.text import apply_embedding
from ti_core.host.run_folders import FOLDER
from ti_core.host.run_key import run_key
from ti_core.store.run_store import checkpoints
from ti_core.training.batches import Batch, batch_loss
from ti_core.training.report import ENDED
from ti_core.training.run import RunState


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user folder of the test's own, and the runs in it, stored every other step."""
    monkeypatch.setattr(attempt, "SAVE_EVERY", 2)
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield tmp_path / FOLDER
    folder_paths.set_user_directory(before)


def stored(loaded: Loaded, steps: int = 4, **more: Any) -> Learned:
    """A run that is kept on disk."""
    told = {name: more.pop(name) for name in ("on_step", "should_stop", "tell") if name in more}
    models = Models(more.pop("model", loaded.model), loaded.clip, loaded.vae)
    chosen = settings(steps, resume="continue", **more)
    return learn(models, concept(), word(loaded.clip), chosen, observer(**told))


def cancelled_at(step: int) -> Any:
    """A listener in which the host's Cancel takes effect."""

    def listen(state: RunState) -> None:
        if state.step == step:
            raise comfy.model_management.InterruptProcessingException()

    return listen


def same(one: Learned, other: Learned) -> bool:
    return one.embedding.vectors["clip_l"].equal(other.embedding.vectors["clip_l"])


def test_a_cancelled_run_goes_on_and_ends_with_the_same_bits(loaded: Loaded, folder: Path):
    whole = run(loaded, 4)
    image = sampled(loaded.model, loaded.clip)
    before = state(loaded)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        stored(loaded, on_step=cancelled_at(3))
    assert differences(before, state(loaded)) == []
    assert sampled(loaded.model, loaded.clip).equal(image)
    (own,) = folder.iterdir()
    assert [path.stem for path in checkpoints(own)] == ["step-000000002", "step-000000003"]
    steps: list[int] = []
    again = stored(loaded, on_step=lambda now: steps.append(now.step))
    assert steps == [3, 4]
    assert same(again, whole)
    assert again.losses == whole.losses
    assert "Of these, 3 steps came from an earlier run." in again.report
    assert not again.embedding.vectors["clip_l"].is_inference()


def test_a_finished_run_is_not_trained_again_and_more_steps_go_on(loaded: Loaded):
    first = stored(loaded, 2)
    steps: list[int] = []
    listen = cast(Any, lambda now: steps.append(now.step))
    again = stored(loaded, 2, on_step=listen)
    assert steps == []
    assert same(again, first)
    assert "nothing was trained now" in again.report
    assert again.embedding.provenance == first.embedding.provenance
    longer = stored(loaded, 3, on_step=listen)
    assert steps == [2, 3]
    assert same(longer, run(loaded, 3))


def test_fewer_steps_are_trained_anew_beside_the_longer_run_and_the_report_says_so(loaded: Loaded):
    longer = stored(loaded, 4)
    fewer = stored(loaded, 3)
    assert len(fewer.losses) == 3
    assert same(fewer, run(loaded, 3))
    assert "A longer run of 4 steps is stored" in fewer.report
    assert "For 3 steps, training continues from step 2 of it." in fewer.report
    steps: list[int] = []
    assert same(stored(loaded, 4, on_step=lambda now: steps.append(now.step)), longer)
    assert steps == []
    assert "continues from the beginning" in stored(loaded, 1).report


def test_stop_and_keep_gives_what_was_learned_until_other_steps_are_asked_for(loaded: Loaded):
    seen: list[int] = []
    stopped = stored(
        loaded, on_step=lambda now: seen.append(now.step), should_stop=lambda: seen[-1] == 2
    )
    assert "Stopped by the user at step 2" in stopped.report
    assert stopped.embedding.provenance["steps"] == 2
    assert len(stopped.losses) == 2
    again = stored(loaded)
    assert same(again, stopped)
    assert "Stopped by the user at step 2" in again.report
    assert same(stored(loaded, 5), run(loaded, 5))


def key(loaded: Loaded, **changes: Any) -> str:
    """The key of a run on some models."""
    model, clip = changes.pop("model", loaded.model), changes.pop("clip", loaded.clip)
    made = changes.pop("word", word(loaded.clip))
    chosen = settings(changes.pop("steps", 4), **changes)
    return run_key(model, clip, loaded.vae, concept(), made, chosen)


def test_the_key_is_the_same_after_use_and_in_a_newly_loaded_model(checkpoint_file: Path):
    loaded = load_checkpoint(checkpoint_file, torch.float32)
    first = key(loaded)
    shifted = ModelSamplingDiscrete().patch(patched(loaded.model, 1.0), "v_prediction", False)[0]
    sampled(shifted, loaded.clip)  # The shared module now carries the patches of this clone.
    assert key(loaded) == first
    lora = key(loaded, model=patched(loaded.model, 1.0))
    comfy.model_management.unload_all_models()
    assert key(loaded) == first
    again = load_checkpoint(checkpoint_file, torch.float32)
    assert key(again) == first
    assert key(again, model=patched(again.model, 1.0)) == lora
    assert key(loaded, steps=9) == first


def test_the_key_changes_with_all_that_the_result_depends_on(loaded: Loaded):
    skipped = loaded.clip.clone()
    skipped.clip_layer(-2)
    wrapped = loaded.model.clone()
    wrapped.set_model_unet_function_wrapper(cast(Any, lambda apply, given: None))
    discrete = ModelSamplingDiscrete()
    found = [
        key(loaded),
        key(loaded, seed=8),
        key(loaded, batch_size=1),
        key(loaded, rate="0.04"),
        key(loaded, hold_out=True),
        key(loaded, word=word(loaded.clip, 3)),
        key(loaded, clip=skipped),
        key(loaded, clip=apply_embedding(loaded.clip, word(loaded.clip), 1.0)),
        key(loaded, model=patched(loaded.model, 1.0)),
        key(loaded, model=patched(loaded.model, 0.5)),
        key(loaded, model=wrapped),
        key(loaded, model=discrete.patch(loaded.model, "v_prediction", False)[0]),
        key(loaded, model=discrete.patch(loaded.model, "eps", True)[0]),
    ]
    assert len(set(found)) == len(found)


def test_a_disk_that_fills_up_is_told_at_once_and_is_one_line_of_the_report(
    loaded: Loaded, folder: Path
):
    told: list[tuple[int, str]] = []
    step = 0

    def listen(now: RunState) -> None:
        nonlocal step
        step = now.step

    with largest_file(1000):
        full = stored(
            loaded, 7, on_step=listen, seed=22, tell=lambda text: told.append((step, text))
        )
    start, middle = (entry for entry in told if "stored" in entry[1] or "written" in entry[1])
    assert (start[0], middle[0]) == (0, 2)
    assert start[1].startswith("The run cannot be stored in")
    assert middle[1].startswith("The checkpoint of step 2 could not be written to")
    (line,) = (line for line in full.report.splitlines() if "written" in line)
    assert "4 checkpoints could not be written to" in line
    assert "steps 2, 4, 6, 7. None is stored." in line
    assert "Stored in" not in full.report


def test_a_run_that_is_removed_while_it_trains_is_stored_again(loaded: Loaded, folder: Path):
    told: list[str] = []

    def remove(now: RunState) -> None:
        if now.step == 3:
            shutil.rmtree(folder)

    found = stored(loaded, 4, on_step=remove, seed=23, tell=told.append)
    (said,) = (text for text in told if "was removed during training" in text)
    assert said in found.report and "Stored in" in found.report
    steps: list[int] = []
    again = stored(loaded, 4, on_step=lambda now: steps.append(now.step), seed=23)
    assert steps == [] and same(again, found)


def test_a_run_that_is_stopped_before_its_first_step_says_so_and_stores_nothing(
    loaded: Loaded, folder: Path
):
    found = stored(loaded, 4, should_stop=lambda: True, seed=24)
    assert found.losses == []
    assert "no step was completed" in found.report and "nothing is saved" in found.report
    (own,) = folder.iterdir()
    assert checkpoints(own) == []


def narrow(loaded: Loaded, rows: int, from_call: int = 0) -> Any:
    """The model on a device on which so many rows fit into a call, and no more; from a call of the
    training on.
    """
    model, calls = loaded.model.clone(), []
    apply = model.model.apply_model

    def narrowed(noisy: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(torch.is_grad_enabled())
        if sum(calls) > from_call and len(noisy) > rows:
            raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory")
        return apply(noisy, *args, **kwargs)

    # No wrapper, behind which images are denoised one at a time anyway.
    model.add_object_patch("apply_model", narrowed)
    return model


@pytest.mark.slow
def test_a_full_memory_is_answered_with_the_next_remedy_and_the_run_goes_on(loaded: Loaded):
    plain = run(loaded, 4, batch_size=4)
    rescued = stored(loaded, batch_size=4, model=narrow(loaded, 1, 4))
    said = rescued.report[rescued.report.index("There was not enough memory") :].splitlines()
    assert [line.split(" on, ")[1] for line in said[:3]] == [
        "gradient checkpointing is on.",
        "the micro-batch is 2.",
        "the micro-batch is 1.",
    ]
    assert rescued.losses == pytest.approx(plain.losses, rel=1e-3)
    torch.testing.assert_close(
        rescued.embedding.vectors["clip_l"], plain.embedding.vectors["clip_l"], rtol=1e-3, atol=1e-5
    )


def test_a_memory_that_is_too_small_for_the_largest_is_known_before_the_first_step(loaded: Loaded):
    seen: list[int] = []
    stored(
        loaded,
        1,
        model=narrow(loaded, 1),
        on_step=lambda now: seen.append(now.step),
    )
    assert seen == [0, 1]  # No step was tried in vain.


def test_a_memory_that_no_remedy_helps_stops_with_the_best_and_the_reason(loaded: Loaded):
    model = narrow(loaded, 0, 4)  # Two calls to measure a step, and two steps.
    kept = stored(loaded, batch_size=1, model=model)
    assert kept.embedding.provenance["steps"] == 2
    assert ENDED["memory"].format(step=2) in kept.report
    with pytest.raises(RuntimeError, match="not enough memory"):
        stored(loaded, batch_size=1, seed=9, model=narrow(loaded, 0))


def test_remedies_come_in_order_and_end():
    lent, texts = BorrowSettings(4), []
    while (remedy := next_remedy(lent)) is not None:
        lent, text = remedy
        texts.append(text)
    assert texts == [
        "gradient checkpointing is on",
        "the micro-batch is 2",
        "the micro-batch is 1",
        "activations are kept in main memory",
        *["more of the weights stay in main memory"] * 2,
    ]


def test_offloading_changes_no_gradient(loaded: Loaded):
    made, found = word(loaded.clip), []
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for offload in (False, True):
        lent = BorrowSettings(2, checkpointing="on", offload=offload)
        with borrowed(loaded.model, loaded.clip, made, (4, 8, 8), lent) as frozen:
            batch = Batch(noise.clone(), noise.clone(), torch.tensor([100, 700]), ("my-cat", "a"))
            rows = made.vectors["clip_l"].clone().requires_grad_()
            with frozen.differentiable():
                batch_loss(frozen, batch, {"clip_l": rows}).sum().backward()
            found.append(rows.grad)
    assert found[0].equal(found[1])
