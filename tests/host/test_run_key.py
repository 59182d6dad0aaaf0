"""What a run is known by: what a patch does, and not only what it is called."""

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_extras.nodes_freelunch import FreeU_V2
from small import Loaded, concept, settings, word
from torch import nn

from ti_core.concept.concept import Concept, CropOrigin
from ti_core.host.described import plain
from ti_core.host.learn import Models, learn
from ti_core.host.run_key import run_key
from ti_core.store.digest import digest_of
from ti_core.training.objective import Objective


def key(loaded: Loaded, model: Any) -> str:
    """The key of a run on a patched model."""
    made = word(loaded.clip)
    return run_key(model, loaded.clip, loaded.vae, concept(), made, settings(4))


@pytest.mark.parametrize("b1", [1.1, 2.0])
def test_the_parameters_of_a_core_patch_are_part_of_the_key(loaded: Loaded, b1: float):
    """FreeU, like most patches, is a closure: its name is the same whatever it does."""

    def patched(strength: float) -> Any:
        return FreeU_V2().execute(loaded.model, strength, 1.4, 0.9, 0.2)[0]

    assert key(loaded, patched(b1)) == key(loaded, patched(b1))
    assert key(loaded, patched(b1)) != key(loaded, patched(b1 + 0.01))
    assert key(loaded, patched(b1)) != key(loaded, loaded.model)


def test_what_is_asked_and_how_images_were_cut_is_part_of_the_key(loaded: Loaded):
    def of(shown: Concept, objective: Objective) -> str:
        chosen = settings(4, objective=objective)
        return run_key(*loaded, shown, word(loaded.clip), chosen)

    plain = concept()
    images = tuple(replace(one, crop_origins=(CropOrigin(900, 64),)) for one in plain.images)
    assert of(plain, Objective()) == of(concept(), Objective())
    others = [of(replace(plain, images=images), Objective())]
    others += [of(plain, one) for one in (Objective("uniform"), Objective(guidance=3.5))]
    assert len({of(plain, Objective()), *others}) == 4


class Scaling:
    """A patch as a method of an object."""

    def __init__(self, factor: float):
        self.factor = factor
        self.owner: Any = None

    def patch(self, h: Any, options: Any) -> Any:
        return h * self.factor

    def __call__(self, h: Any, options: Any) -> Any:
        return h * self.factor


def closure(factor: float) -> Callable[..., Any]:
    return lambda h, options: h * factor


def default(factor: float) -> Callable[..., Any]:
    def patch(h: Any, options: Any, by: float = factor) -> Any:
        return h * by

    return patch


def scaled(h: Any, options: Any, factor: float) -> Any:
    return h * factor


@dataclass(frozen=True)
class Settings:
    factor: float


class Slotted:
    """An object without a dict."""

    __slots__ = ("_factor",)

    def __init__(self, factor: float):
        self._factor = factor


class Network:
    """A patch with a network of its own."""

    def __init__(self, factor: float):
        self.network = nn.Sequential(nn.Dropout(factor / 4))

    def __call__(self, h: Any, options: Any) -> Any:
        return self.network(h)


def large(factor: float) -> torch.Tensor:
    """A mask that differs in one place."""
    mask = torch.zeros(100, 100)
    mask[17, 23] = factor
    return mask


KINDS: dict[str, Callable[[float], Any]] = {
    "closure": closure,
    "default": default,
    "partial": lambda factor: functools.partial(scaled, factor=factor),
    "bound method": lambda factor: Scaling(factor).patch,
    "callable object": Scaling,
    "tensor in a closure": lambda factor: closure(torch.full((3,), factor)),  # type: ignore[arg-type]
    "closure in a closure": lambda factor: closure(closure(factor)),  # type: ignore[arg-type]
    "mask": lambda factor: closure(large(factor)),  # type: ignore[arg-type]
    "array": lambda factor: closure(large(factor).numpy()),  # type: ignore[arg-type]
    "dataclass": lambda factor: closure(Settings(factor)),  # type: ignore[arg-type]
    "slots": lambda factor: closure(Slotted(factor)),  # type: ignore[arg-type]
    "set": lambda factor: closure({"other", factor}),  # type: ignore[arg-type]
    "module": Network,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_is_described_by_what_it_was_made_with(kind: str):
    one, same, other = (digest_of(plain(KINDS[kind](factor))) for factor in (1.0, 1.0, 0.5))
    assert one == same
    assert one != other


def test_functions_of_one_name_that_do_different_things_differ():
    def made(adding: bool) -> Callable[..., Any]:
        if adding:
            return lambda h, options: h + 1
        return lambda h, options: h - 1

    assert digest_of(plain(made(True))) != digest_of(plain(made(False)))
    sine, cosine = (lambda h: h.sin()), (lambda h: h.cos())
    assert digest_of(plain(sine)) != digest_of(plain(cosine))


def remembering() -> list[Callable[..., Any]]:
    """Two functions of which one writes what the other reads, as ToMe does."""
    last: Any = None

    def first(h: Any) -> Any:
        nonlocal last
        last = h
        return h

    return [first, lambda h: h + last]


def test_what_a_patch_remembers_is_no_part_of_what_it_is():
    used = remembering()
    used[0](torch.ones(3))
    assert digest_of(plain(used)) == digest_of(plain(remembering()))


def test_a_patch_of_which_nothing_can_be_said_makes_the_run_unresumable(loaded: Loaded):
    places = iter(())

    def patch(h: Any, options: Any) -> Any:
        return h + len(list(places))

    model = loaded.model.clone()
    model.set_model_attn2_output_patch(patch)
    chosen = settings(1, resume="continue")
    given = Models(model, loaded.clip, loaded.vae)
    report = learn(given, concept(1), word(loaded.clip), chosen).report
    name = "test_a_patch_of_which_nothing_can_be_said_makes_the_run_unresumable"
    assert f"cannot be resumed, because the patch {name} holds a tuple_iterator" in report


def test_what_acts_on_guidance_alone_takes_up_the_run(loaded: Loaded):
    model = loaded.model.clone()
    model.set_model_sampler_post_cfg_function(lambda given: iter(()))
    assert key(loaded, model) == key(loaded, loaded.model)


def test_what_refers_to_itself_is_described_all_the_same():
    def patch(h: Any) -> Any:
        return patch(h)

    held: dict[str, Any] = {"patch": patch}
    held["again"] = Scaling(1.0)
    held["again"].owner = held["again"]
    assert digest_of(plain(held)) == digest_of(plain(held))


def test_a_description_is_the_same_in_another_process():
    script = (
        "from comfy.cli_args import args; args.cpu = True; "
        "from test_run_key import KINDS; from ti_core.host.described import plain; "
        "from ti_core.store.digest import digest_of; "
        "print(digest_of(*(plain(make(2.0)) for make in KINDS.values())))"
    )
    folders = ":".join(path for path in sys.path if path)
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": folders, "PATH": ""},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    expected = digest_of(*(plain(make(2.0)) for make in KINDS.values()))
    assert found.stdout.strip().splitlines()[-1:] == [expected], found.stderr[-2000:]
