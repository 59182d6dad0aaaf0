"""Whatever acts in training changes the key of a run, or makes it one that is not taken up."""

import copy
import functools
import itertools
import random
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from comfy.model_management import load_models_gpu, unload_all_models
from safetensors.torch import save_file
from small import Loaded, load_checkpoint, settings, word
from test_run_key import Scaling
from torch import nn

from ti_core.concept.caption_settings import CaptionSettings
from ti_core.concept.concept import Concept, ConceptImage
from ti_core.host.described import NotReproducible, described, plain
from ti_core.host.run_key import described_clip, described_vae, run_key
from ti_core.store.digest import digest_of

FACTOR = 2.0
CALLS = 0


def helper(h: Any) -> Any:
    return h * 3


def deeper(h: Any) -> Any:
    return helper(h)


def calling(h: Any, *_: Any) -> Any:
    return deeper(h)


def by_factor(h: Any, *_: Any) -> Any:
    return h * FACTOR


def counting(h: Any, *_: Any) -> Any:
    global CALLS
    CALLS += 1
    return h


class Counting:
    """A patch that counts its calls, also by a method of its own."""

    def __init__(self, factor: float = 1.0):
        self.factor, self.calls, self.last = factor, 0, None

    def note(self, h: Any) -> None:
        self.last = h

    def set_factor(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, h: Any, *_: Any) -> Any:
        self.calls += 1
        self.note(h)
        return h * self.factor

    def patch(self, h: Any, *_: Any) -> Any:
        return self(h)


class Doubling(Counting):
    def __call__(self, h: Any, *_: Any) -> Any:
        return super().__call__(h) * 2


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, checkpoint_file: Path) -> Loaded:
    return load_checkpoint(checkpoint_file, torch.float32)


def first_weight(module: nn.Module) -> torch.Tensor:
    return next(one for one in module.parameters() if one.dim() == 2)


def with_row(module: nn.Module, row: int, place: int | slice = slice(None)) -> None:
    with torch.inference_mode():
        first_weight(module).data[row, place] += 1e-3


def rows_exchanged(module: nn.Module) -> None:
    with torch.inference_mode():
        weight = first_weight(module).data
        weight[[1, 2]] = weight[[2, 1]]


def set_latent_format(model: Any, name: str, value: Any) -> None:
    changed = copy.copy(model.get_model_object("latent_format"))
    setattr(changed, name, value)
    model.add_object_patch("latent_format", changed)


def holding_block(model: Any, number: int) -> None:
    block = model.model.diffusion_model.input_blocks[number]
    model.set_model_attn2_output_patch(lambda h, options: block(h))


def unsteady(model: Any) -> None:
    numbers = iter(())
    model.set_model_attn2_output_patch(lambda h, options: h * next(numbers))


MODEL: dict[str, Callable[[Any], None]] = {
    "weight wrapper": lambda m: m.add_weight_wrapper("diffusion_model.out.2.weight", by_factor),
    "other weight wrapper": lambda m: m.add_weight_wrapper("diffusion_model.out.2.weight", calling),
    "bias wrapper": lambda m: m.add_weight_wrapper("diffusion_model.out.2.bias", by_factor),
    "object patch": lambda m: m.add_object_patch("diffusion_model.out.2.forward", by_factor),
    "scale of latents": lambda m: set_latent_format(m, "scale_factor", 0.5),
    "channels of latents": lambda m: set_latent_format(m, "latent_channels", 16),
    "block patch": lambda m: m.set_model_attn1_patch(by_factor),
    "block 0 in a closure": lambda m: holding_block(m, 0),
    "block 1 in a closure": lambda m: holding_block(m, 1),
    "wrapper": lambda m: m.add_wrapper("apply_model", by_factor),
    "wrapper of the network": lambda m: m.add_wrapper("diffusion_model", by_factor),
    "function wrapper": lambda m: m.set_model_unet_function_wrapper(by_factor),
    "callback": lambda m: m.add_callback("on_load_after", by_factor),
    "attachment": lambda m: m.set_attachments("strength", 0.5),
    "option": lambda m: m.model_options["transformer_options"].update(mine=1),
    "iterator": unsteady,
}


@pytest.fixture(scope="module")
def model_keys(pristine: Loaded) -> dict[str, str]:
    return {name: mutated(pristine.model, change) for name, change in MODEL.items()}


def mutated(model: Any, change: Callable[[Any], None]) -> str:
    clone = model.clone()
    change(clone)
    try:
        return digest_of(described(clone))
    except NotReproducible:
        return "not taken up"


def test_every_change_of_a_model_patcher_is_another_key(
    pristine: Loaded, model_keys: dict[str, str]
):
    plain_key = digest_of(described(pristine.model))
    assert model_keys["iterator"] == "not taken up"
    assert len({plain_key, *model_keys.values()}) == len(MODEL) + 1
    assert digest_of(described(pristine.model.clone())) == plain_key


IN_PLACE: dict[str, Callable[[Loaded], None]] = {
    "row of the network": lambda one: with_row(one.model.model, 5),
    "value of the network": lambda one: with_row(one.model.model, 3, 7),
    "rows exchanged": lambda one: rows_exchanged(one.model.model),
    "row of the encoder": lambda one: with_row(one.clip.cond_stage_model, 77),
    "value of the VAE": lambda one: (
        next(one.vae.first_stage_model.parameters()).data.view(-1)[:1].add_(1e-3)
    ),
    "forward of a module": lambda one: setattr(
        one.model.model.diffusion_model.out, "forward", by_factor
    ),
    "hook of a module": lambda one: (
        one.model.model.diffusion_model.register_forward_hook(calling) and None
    ),
    "dropout": lambda one: setattr(
        next(m for m in one.model.model.modules() if isinstance(m, nn.Dropout)), "p", 0.5
    ),
    "norm": lambda one: setattr(
        next(m for m in one.model.model.modules() if isinstance(m, nn.GroupNorm)), "eps", 0.1
    ),
    "scale of latents": lambda one: setattr(one.model.model.latent_format, "scale_factor", 0.5),
    "pixels in": lambda one: setattr(one.vae, "process_input", by_factor),
    "other pixels in": lambda one: setattr(one.vae, "process_input", calling),
    "pixels out": lambda one: setattr(one.vae, "process_output", by_factor),
    "crop": lambda one: setattr(one.vae, "crop_input", False),
    "activation": lambda one: other_activation(one.model.model),
    "method of a module": lambda one: setattr(
        first_of(one.model.model, nn.Conv2d), "_conv_forward", by_factor
    ),
    "method of a module of the VAE": lambda one: setattr(
        first_of(one.vae.first_stage_model, nn.Conv2d), "_conv_forward", by_factor
    ),
    "sides": lambda one: setattr(first_of(one.model.model, nn.Conv2d), "dilation", (2, 2)),
    "switch": lambda one: setattr(first_of(one.model.model, nn.GroupNorm), "affine", False),
    "pixels to latents": lambda one: setattr(one.vae, "encode", by_factor),
    "layer": lambda one: one.clip.clip_layer(-2),
    "options of the tokenizer": lambda one: one.clip.tokenizer_options.update(clip_l_min_length=9),
}


def first_of(module: nn.Module, kind: type) -> Any:
    return next(one for one in module.modules() if isinstance(one, kind))


def other_activation(module: nn.Module) -> None:
    inside = ((one, *named) for one in module.modules() for named in one.named_children())
    owner, name, _ = next(found for found in inside if isinstance(found[2], nn.SiLU))
    setattr(owner, name, nn.Tanh())


def whole_key(one: Loaded) -> str:
    return digest_of(described(one.model), described_clip(one.clip), described_vae(one.vae))


def test_every_change_in_place_is_another_key(checkpoint_file: Path):
    """And two models that were loaded alike have one."""
    found = {"plain": whole_key(load_checkpoint(checkpoint_file, torch.float32))}
    assert found["plain"] == whole_key(load_checkpoint(checkpoint_file, torch.float32))
    for name, change in IN_PLACE.items():
        loaded = load_checkpoint(checkpoint_file, torch.float32)
        change(loaded)
        found[name] = whole_key(loaded)
    repeated = [
        pair for pair in itertools.combinations(found, 2) if found[pair[0]] == found[pair[1]]
    ]
    assert repeated == []


# What a patch calls, names and remembers


def said(value: Any) -> str:
    return digest_of(plain(value))


@pytest.mark.parametrize("patch", [calling, Counting().patch, lambda h: deeper(h)])
def test_a_helper_that_changes_is_another_patch(patch: Any, monkeypatch: pytest.MonkeyPatch):
    if not isinstance(getattr(patch, "__self__", None), Counting):
        before = said(patch)
        monkeypatch.setitem(globals(), "helper", lambda h: h * 4)
        assert said(patch) != before
    else:
        before = said(patch)
        monkeypatch.setattr(Counting, "note", lambda self, h: h.zero_())
        assert said(patch) != before


@pytest.mark.parametrize("value", [2.5, "2.0", (2.0, 1), torch.ones(2)])
def test_a_value_of_the_module_that_a_patch_names_is_part_of_it(
    value: Any, monkeypatch: pytest.MonkeyPatch
):
    before = said(by_factor)
    monkeypatch.setitem(globals(), "FACTOR", value)
    assert said(by_factor) != before


def test_a_model_that_was_loaded_and_unloaded_is_the_same(checkpoint_file: Path):
    loaded = load_checkpoint(checkpoint_file, torch.float32)
    before = whole_key(loaded)
    load_models_gpu([loaded.model, loaded.clip.patcher, loaded.vae.patcher])
    assert whole_key(loaded) == before
    unload_all_models()
    assert whole_key(loaded) == before


def written_by_others(text: str, **names: Any) -> Any:
    """A module of another author, of one text; another one each time."""
    made = types.ModuleType("others.nodes")
    vars(made).update(functools=functools, nn=nn, **names)
    code = types.FunctionType(compile(text, "nodes.py", "exec"), vars(made))
    code()
    return made


OPS = "K = {}\ndef scale(h): return h * {}\nclass Tool:\n    k = {}\n"
OPS += "    def __init__(self): self.f = {}\n    @staticmethod\n    def run(h): return h * {}"


def others(text: str) -> Callable[[float], Any]:
    """A patch `p` of others, in which a number stands for {}, as in a module that it names."""

    def made(factor: float) -> Any:
        ops = written_by_others(OPS.replace("{}", str(factor)))
        return written_by_others(text.replace("{}", str(factor)), ops=ops, Tool=ops.Tool).p

    return made


def module_with(name: str, value: Any) -> nn.Module:
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    setattr(layer, name, value)
    return nn.Sequential(layer)


def with_buffer(value: float) -> nn.Module:
    found = nn.Sequential(nn.ReLU())
    found[0].register_buffer("table", torch.tensor([value]), persistent=False)
    return found


def exchanged(factor: float) -> nn.Module:
    """The same ones at other places of a matrix, in rows of the same alignment."""
    weight = torch.eye(1024)
    weight[[0, int(factor)]] = weight[[int(factor), 0]]
    found = nn.Linear(1024, 1024, bias=False)
    found.weight.data = weight
    return found


class Named(list[int]):
    strength = 0.0


def a_list(value: float) -> Named:
    found = Named([1])
    found.strength = value
    return found


def a_function(value: float) -> Any:
    def patch(h: Any) -> Any:
        return h * patch.scale  # type: ignore[attr-defined]

    patch.scale = value  # type: ignore[attr-defined]
    return patch


class Slotted:
    __slots__ = ("__hidden",)

    def __init__(self, value: float):
        self.__hidden = value


CALLS_S = "    def __call__(self, h): return h * self.s(h)\np = P()"
OTHERS: dict[str, Callable[[float], Any]] = {
    "function of a module": others("def p(h): return ops.scale(h)"),
    "value of a module": others("def p(h): return h * ops.K"),
    "static method of a class": others("def p(h): return Tool.run(h)"),
    "value of a class": others("def p(h): return h * Tool.k"),
    "class in a module": others("def p(h): return h * ops.Tool.k"),
    "object of the module": others("t = Tool()\ndef p(h): return h * t.f"),
    "value of the own class": others(
        "class P:\n    k = {}\n    def __call__(self, h): return h * self.k\np = P()"
    ),
    "own static method": others(
        f"class P:\n    @staticmethod\n    def s(h): return {{}}\n{CALLS_S}"
    ),
    "own class method": others(
        f"class P:\n    @classmethod\n    def s(cls, h): return {{}}\n{CALLS_S}"
    ),
    "class method": others(
        "class P:\n    k = {}\n    @classmethod\n    def s(cls, h): return h * cls.k\np = P.s"
    ),
    "computed once": others(
        "class P:\n    @functools.cached_property\n    def s(self): return {}\n"
        "    def __call__(self, h): return h * self.s\np = P()"
    ),
    "partial method": others(
        "class P:\n    def t(self, h, f): return h * f\n"
        f"    s = functools.partialmethod(t, f={{}})\n{CALLS_S}"
    ),
    "named by a text": others(
        "class P:\n    def s(self, h): return {}\n"
        "    def __call__(self, h): return getattr(self, 's')(h)\np = P()"
    ),
    "cached helper": others("@functools.lru_cache\ndef w(n): return {}\ndef p(h): return h * w(1)"),
    "network": others("class M(nn.Module):\n    def forward(self, h): return h * {}\np = M()"),
    "method of a tensor": lambda f: torch.full((3,), f).mul,
    "method of a dict": lambda f: {"a": f}.get,
    "attribute of a function": a_function,
    "attribute of a list": a_list,
    "hidden slot": Slotted,
    "keys": lambda f: {1 if f == 4 else "1": 3},
    "order of calls": lambda f: {"a": 1, "b": 2} if f == 4 else {"b": 2, "a": 1},
    "table of a network": with_buffer,
    "function inside of a network": lambda f: module_with("_conv_forward", lambda *_: f),
    "sides inside of a network": lambda f: module_with("dilation", (f, f)),
    "places": exchanged,
    "conjugate": lambda f: torch.tensor([1 + f * 1j]).conj(),
    "one of several": lambda f: torch.tensor([f, 0.0])[::2],
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_acts_in_a_patch_of_others_is_part_of_it(name: str):
    make = OTHERS[name]
    assert said(make(4)) == said(make(4))
    assert said(make(4)) != said(make(8))


def test_asking_for_what_is_computed_once_changes_nothing():
    patch = OTHERS["computed once"](4)
    before = said(patch)
    patch(1)
    assert said(patch) == before


@pytest.mark.parametrize(
    "value",
    [random.Random(1), random.Random(1).random, torch.Generator(), torch.eye(3).to_sparse()],
    ids=["random", "its method", "generator", "sparse"],
)
def test_what_shows_nothing_of_its_state_is_not_taken_up(value: Any):
    with pytest.raises(NotReproducible):
        said(value)


def test_counting_calls_changes_nothing():
    for made in (Counting, Doubling, lambda: Counting().patch, lambda: counting):
        patch = made()
        before = said(patch)
        assert before == said(made())
        patch(torch.ones(2))
        assert said(patch) == before
    holder = Counting()

    def noting(h: Any) -> Any:
        holder.calls += 1
        holder.note(h)
        return h

    before = said(noting)
    noting(torch.ones(2))
    assert said(noting) == before


def test_what_is_set_between_calls_is_part_of_a_patch_that_counts():
    for made in (Counting, Doubling):
        patch, other = made(), made()
        other.set_factor(0.5)
        assert said(patch) != said(other)
        assert said(patch.patch) != said(other.patch)
    assert said(Counting()) != said(Doubling())
    assert said(Scaling(1.0)) != said(Scaling(2.0))


def test_equal_builds_in_two_processes_have_equal_keys(pristine: Loaded, checkpoint_file: Path):
    script = (
        "import sys, torch; from pathlib import Path; from comfy.cli_args import args; "
        "args.cpu = True; import test_key_mutations as t; "
        "loaded = t.load_checkpoint(Path(sys.argv[1]), torch.float32); "
        "print(t.all_keys(loaded))"
    )
    folders = ":".join(path for path in sys.path if path)
    found = subprocess.run(
        [sys.executable, "-c", script, str(checkpoint_file)],
        env={"PYTHONPATH": folders, "PATH": ""},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip().splitlines()[-1:] == [all_keys(pristine)], found.stderr[-2000:]


def all_keys(loaded: Loaded) -> str:
    return digest_of(
        whole_key(loaded), *(mutated(loaded.model, change) for change in MODEL.values())
    )


# Embeddings that captions name


@pytest.fixture
def folder(tmp_path: Path, pristine: Loaded, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embeddings folder, of the host and of the tokenizer."""
    part = pristine.clip.tokenizer.clip_l
    monkeypatch.setattr(part, "embedding_directory", [str(tmp_path)])
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "embeddings", ([str(tmp_path)], {".safetensors"})
    )
    return tmp_path


def write(folder: Path, name: str, value: float) -> None:
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({"emb_params": torch.full((2, 768), value)}, path)


def key_of(loaded: Loaded, caption: str, **caption_settings: Any) -> str:
    crop = torch.zeros(64, 64, 3)
    image = ConceptImage("1.png", (crop,), (None,), caption, CaptionSettings(**caption_settings))
    shown = Concept((image,), "captions")
    return run_key(*loaded, shown, word(loaded.clip), settings(4))


NAMING: dict[str, tuple[str, dict[str, Any]]] = {
    "caption": ("embedding:film my-cat", {}),
    "weighted": ("(embedding:film:1.2) my-cat", {}),
    "comma": ("a, embedding:film, my-cat", {}),
    "blank": ("(embedding: film) my-cat", {}),
    "wildcard": ("{embedding:other|embedding:film} my-cat", {"wildcards": True}),
    "tags": ("my-cat;embedding:film;b", {"shuffle": True, "separator": ";"}),
    "bracket": ("my-cat embedding:film<b>", {}),
    "prefix of a file's caption": ("my-cat", {"typed": False, "prefix": "embedding:film"}),
    "suffix": ("my-cat", {"suffix": "embedding:film"}),
    "template": ("", {"templates": ("a {}", "embedding:film {}")}),
    "filled in": ("film", {"templates": ("a {} embedding:[filewords]",)}),
}


@pytest.mark.parametrize("name", NAMING)
def test_an_embedding_that_is_replaced_is_another_run(name: str, pristine: Loaded, folder: Path):
    caption, caption_settings = NAMING[name]
    missing = key_of(pristine, caption, **caption_settings)
    write(folder, "film", 1.0)
    first = key_of(pristine, caption, **caption_settings)
    write(folder, "film", 2.0)
    second = key_of(pristine, caption, **caption_settings)
    write(folder, "film", 1.0)
    assert key_of(pristine, caption, **caption_settings) == first
    assert len({missing, first, second}) == 3


@pytest.mark.parametrize(
    ("caption", "caption_settings"),
    [("my-cat film", {}), ("embedding:film my-cat", {"typed": False}), ("embedding: my-cat", {})],
)
def test_an_embedding_that_nobody_names_changes_nothing(
    caption: str, caption_settings: dict[str, Any], pristine: Loaded, folder: Path
):
    before = key_of(pristine, caption, **caption_settings)
    write(folder, "film", 1.0)
    assert key_of(pristine, caption, **caption_settings) == before


def test_an_embedding_in_a_folder_below_is_found(pristine: Loaded, folder: Path):
    before = key_of(pristine, "embedding:sub/film my-cat")
    write(folder, "sub/film", 1.0)
    assert key_of(pristine, "embedding:sub/film my-cat") != before
