"""A fault of the page, the store or a preview, and Cancel, at any call of a run.

Each run has one of them, at one of its calls. All calls take an hour; by default a few are tried,
spread over the run, and with TI_EVERY_CALL=1 in the environment every one.
"""

import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

import folder_paths
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]
from small import Loaded, concept, word
from test_learn import differences, state
from torch import Tensor
from trainers import pack_module

from ti_core.host.page.preview_images import PreviewSettings

REPO = Path(__file__).parents[2]
HOST = Path(str(folder_paths.__file__)).parent
OWN = (f"{REPO / 'ti_core'}{os.sep}", f"{REPO / 'nodes'}{os.sep}")
PARTS = {
    "page": f"{REPO / 'ti_core' / 'host' / 'page'}{os.sep}",
    "previews": str(REPO / "ti_core" / "host" / "page" / "previews.py"),
    "store": f"{REPO / 'ti_core' / 'store'}{os.sep}",
}
# Made before the training: a wrong prompt is refused there, and a record only holds values.
BEFORE = ("Monitor.__init__", "Previews.__init__", "RunStore.__init__")
RESUMED = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR  # Not a call: it goes on.
TRIED = None if os.environ.get("TI_EVERY_CALL") else 8
ERRORS: list[Callable[[], Exception]] = [
    lambda: OSError(5, "Input/output error (a fault)"),
    lambda: RuntimeError("a fault"),
    lambda: torch.OutOfMemoryError("a fault: tried to allocate 20.00 GiB"),
]

Chosen = Callable[[FrameType], bool]
train = pack_module("nodes.train")


class Calls:
    """Counts the calls of some functions, and raises an error at one of them."""

    def __init__(self, chosen: Chosen, at: int = 0, error: BaseException | None = None):
        self.chosen, self.at, self.error = chosen, at, error
        self.count = 0
        self.raised_in = ""

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        if event != "call" or frame.f_code.co_flags & RESUMED or not self.chosen(frame):
            return
        if in_a_destructor(frame):
            return
        self.count += 1
        if self.error is not None and self.count == self.at:
            self.raised_in = f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"
            sys.settrace(None)
            raise self.error

    def __enter__(self) -> "Calls":
        self.before = sys.gettrace()
        gc.collect()
        gc.disable()  # It would call something at other places each time.
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)
        gc.enable()


def in_a_destructor(frame: FrameType | None) -> bool:
    """Whether a call is made where Python drops every error."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def part(name: str) -> Chosen:
    """The functions of a part of the pack."""
    return lambda frame: (
        frame.f_code.co_filename.startswith(PARTS[name])
        and not frame.f_code.co_qualname.startswith(BEFORE)
    )


def of_the_host(frame: FrameType) -> bool:
    """What the pack calls of the host, and where the host itself looks for a Cancel."""
    if frame.f_code.co_name == "throw_exception_if_processing_interrupted":
        return True
    caller = frame.f_back
    return (
        frame.f_code.co_filename.startswith(f"{HOST}{os.sep}")
        and not frame.f_code.co_filename.startswith(str(REPO))
        and caller is not None
        and caller.f_code.co_filename.startswith(OWN)
    )


INPUTS = ("model", "clip", "vae", "concept", "embedding", "steps", "method", "batch_size", "seed")


class Given(NamedTuple):
    """What the node gives."""

    vectors: dict[str, Tensor]
    losses: list[float]
    report: str
    notes: list[str]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store that is written at every step, in folders of its own for each run, and a page."""
    monkeypatch.setattr(pack_module("ti_core.host.attempt"), "SAVE_EVERY", 1)
    monkeypatch.setattr(pack_module("ti_core.host.page.known_runs"), "INTERVAL", 0.0)
    # Nothing depends on the time: the same calls in each run.
    monkeypatch.setattr(pack_module("ti_core.host.page.monitor"), "WORDS_SHARE", 1e9)
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path / "temp"))
    page = SimpleNamespace(send_sync=lambda event, data: None)
    monkeypatch.setattr(PromptServer, "instance", page, raising=False)
    before = folder_paths.get_user_directory()
    yield
    folder_paths.set_user_directory(before)


@pytest.fixture
def run(loaded: Loaded, tmp_path: Path) -> Callable[..., Given]:
    """The node, on small models, with a store of its own, or the one of before."""
    numbers = itertools.count()
    hidden = SimpleNamespace(unique_id="1", extra_pnginfo=None)
    node = type("Train", (train.TrainTextualInversion,), {"hidden": hidden})
    made, images = word(loaded.clip), concept(2)
    method = {"method": "spherical", "learning_rate": "0.05", **spherical()}
    previews = PreviewSettings(every=1, steps=1, width=64, height=64)

    def once(again: bool = False) -> Given:
        if not again:
            folder_paths.set_user_directory(str(tmp_path / f"user {next(numbers)}"))
        inputs = dict(zip(INPUTS, (*loaded, images, made, 2, method, 1, 7), strict=True))
        found = node.execute(**inputs, previews=previews, schedule="constant")
        learned, _, report, _ = found.args
        notes = [text for shown in found.ui["ti_monitor"] for text in shown["notes"]]
        return Given(learned.vectors, found.ui["ti_loss"], report, notes)

    once()
    return once


def spherical() -> dict[str, Any]:
    """The other inputs of the method, as the node has them."""
    return {one.id: one.default for one in train.SPHERICAL_INPUTS if one.id != "learning_rate"}


def spread(count: int) -> list[int]:
    """The calls that are tried, of so many."""
    tried = count if TRIED is None else min(TRIED, count)
    return sorted({1 + place * (count - 1) // max(1, tried - 1) for place in range(tried)})


def same(one: Given, other: Given) -> bool:
    """Whether two runs gave the same bits."""
    return one.losses == other.losses and all(
        rows.equal(other.vectors[key]) for key, rows in one.vectors.items()
    )


@pytest.mark.parametrize("name", PARTS)
def test_a_fault_at_any_call_of_the_page_the_store_or_a_preview_is_told_and_changes_no_bit(
    name: str, run: Callable[..., Given], loaded: Loaded, caplog: pytest.LogCaptureFixture
):
    with Calls(part(name)) as calls:
        whole = run()
    before = state(loaded)
    assert calls.count > 20
    for place, at in enumerate(spread(calls.count)):
        caplog.clear()
        error = ERRORS[place % len(ERRORS)]()
        with Calls(part(name), at, error) as broken:
            found = run()
        assert broken.raised_in, (at, calls.count, broken.count)
        where = (at, type(error).__name__, broken.raised_in)
        assert same(found, whole), where
        assert differences(before, state(loaded)) == [], where
        told = "\n".join([found.report, *found.notes, caplog.text])
        assert str(error) in told or (error.args[-1] in told), where


def test_cancel_at_any_call_of_the_host_surfaces_and_leaves_no_trace_and_the_run_goes_on(
    run: Callable[..., Given], loaded: Loaded
):
    with Calls(of_the_host) as calls:
        whole = run()
    before = state(loaded)
    assert calls.count > 100
    for at in spread(calls.count):
        cancel = InterruptProcessingException()
        caught: list[BaseException] = []
        try:
            with Calls(of_the_host, at, cancel) as broken:
                run()
        except BaseException as error:
            caught.append(error)
        where = (at, broken.raised_in, caught)
        assert len(caught) == 1 and caught[0] is cancel, where
        assert differences(before, state(loaded)) == [], where
        assert same(run(again=True), whole), where
