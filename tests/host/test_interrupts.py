"""The host's Cancel reaches the host, whatever catches errors or raises others on its way."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from small import Loaded, concept
from test_learn import differences, run, sampled, state

from ti_core.host.models import borrow
from ti_core.host.models.compatibility import even_if_interrupted, interrupts_unmasked, is_interrupt
from ti_core.host.models.patches import differentiable_patch

REPO = Path(__file__).parents[2]
BROAD = {"Exception", "BaseException"}
# These read the bytes of a file, and call nothing of the host.
BYTES_ONLY = {
    "ti_core/host/images/image_files.py",
    "ti_core/host/images/thumbnails.py",
    "ti_core/host/images/folder_summary.py",
    "ti_core/word/formats/reading.py",
}


class OldInterrupt(Exception):
    """InterruptProcessingException as it was in ComfyUI 0.19.0 to 0.19.3."""


@pytest.fixture(params=["this host's", "an ordinary exception"])
def interrupt(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BaseException]:
    """What the host raises when the user cancels."""
    if request.param != "this host's":
        monkeypatch.setattr(comfy.model_management, "InterruptProcessingException", OldInterrupt)
    yield comfy.model_management.InterruptProcessingException()


def broad_handlers() -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Every handler of the pack that catches all errors, with its file."""
    for path in [*REPO.glob("ti_core/**/*.py"), *REPO.glob("nodes/*.py"), REPO / "__init__.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = (
                    {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
                    if (node.type)
                    else BROAD
                )
                if caught & BROAD:
                    yield path.relative_to(REPO).as_posix(), node


def lets_interrupts_through(handler: ast.ExceptHandler) -> bool:
    """Whether a handler asks for an interrupt, or raises what it has caught in any case."""
    called = [one.func for one in ast.walk(handler) if isinstance(one, ast.Call)]
    names = {one.id for one in called if isinstance(one, ast.Name)}
    last = handler.body[-1]
    again = isinstance(last, ast.Raise) and last.exc is None
    return again or bool(names & {"is_interrupt", "interrupt_behind"})


def test_every_handler_of_all_errors_lets_an_interrupt_through():
    found = list(broad_handlers())
    assert len(found) > 5
    swallowing = [
        f"{name}:{handler.lineno}"
        for name, handler in found
        if name not in BYTES_ONLY and not lets_interrupts_through(handler)
    ]
    assert swallowing == []


def test_nothing_suppresses_all_errors():
    suppressed = [
        f"{path}:{node.lineno}"
        for path in [*REPO.glob("ti_core/**/*.py"), *REPO.glob("nodes/*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "suppress"
        and BROAD & {getattr(one, "id", "") for one in node.args}
    ]
    assert suppressed == []


def test_an_interrupt_is_known_behind_what_was_raised_on_its_way_out(interrupt: BaseException):
    try:
        try:
            try:
                raise interrupt
            finally:
                raise torch.OutOfMemoryError("no memory to tidy up")
        except torch.OutOfMemoryError as error:
            raise RuntimeError("nor to say so") from error
    except RuntimeError as error:
        masked = error
    assert is_interrupt(interrupt) and is_interrupt(masked)
    assert not is_interrupt(RuntimeError("another"))
    with pytest.raises(type(interrupt)) as caught, interrupts_unmasked():
        raise masked
    assert caught.value is interrupt


def test_what_tidies_up_is_done_although_cancel_falls_into_it(interrupt: BaseException):
    done: list[str] = []

    def tidy(name: str) -> None:
        done.append(name)
        if len(done) == 1:
            raise interrupt

    with pytest.raises(type(interrupt)):
        even_if_interrupted(tidy, "all")
    assert done == ["all", "all"]


def test_a_patch_that_is_cancelled_is_not_blamed(interrupt: BaseException):
    def patch(*values: Any) -> None:
        raise interrupt

    with pytest.raises(type(interrupt)), torch.inference_mode(False), torch.enable_grad():
        differentiable_patch(patch, False)(torch.zeros(1))


@contextmanager
def failing(place: Any, name: str, error: BaseException, times: int) -> Iterator[None]:
    """A function of the host that fails some times, and then works."""
    own, left = getattr(place, name), [error] * times

    def call(*values: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return own(*values, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, call)
        yield


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("give_back", torch.OutOfMemoryError("no memory")),
        ("give_back", RuntimeError("the host is in a bad way")),
        ("unpin_all", torch.OutOfMemoryError("no memory")),
        ("end_prefetches", torch.OutOfMemoryError("no memory")),
    ],
)
def test_cancel_is_cancel_although_the_models_cannot_be_given_back(
    loaded: Loaded, name: str, error: Exception, interrupt: BaseException
):
    steps: list[int] = []

    def cancel(now: Any) -> None:
        steps.append(now.step)
        if now.step == 1:
            raise interrupt

    with failing(borrow, name, error, 1), pytest.raises(type(interrupt)) as caught:
        run(loaded, 3, on_step=cancel)
    assert caught.value is interrupt
    assert steps == [0, 1]  # The training did not go on with a remedy.


def test_a_memory_too_full_to_give_the_models_back_ends_nothing(loaded: Loaded):
    image = sampled(loaded.model, loaded.clip)
    whole = run(loaded, 2)
    loaded.vae.encode(concept().crops[0][None])
    before = state(loaded)
    error = torch.OutOfMemoryError("no memory")
    loads: list[int] = []

    def once(own: Any = comfy.model_management.load_models_gpu) -> Any:
        def load(models: Any, *values: Any, **named: Any) -> Any:
            loads.append(len(models))
            if models == [loaded.model, loaded.clip.patcher]:
                raise error
            return own(models, *values, **named)

        return load

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comfy.model_management, "load_models_gpu", once())
        found = run(loaded, 2)
    assert found.embedding.vectors["clip_l"].equal(whole.embedding.vectors["clip_l"])
    assert "not enough memory" not in found.report
    assert sampled(loaded.model, loaded.clip).equal(image)
    loaded.vae.encode(concept().crops[0][None])  # All are loaded again.
    assert differences(before, state(loaded)) == []
