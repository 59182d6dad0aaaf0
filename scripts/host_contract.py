"""Record what the pack takes from a ComfyUI: `python scripts/host_contract.py FOLDER`.

Runs with a Python that runs that ComfyUI, and prints the record as JSON; `tests/contracts/` keeps
one for each version that stands for the others.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
OURS = ("ti_core", "nodes")
HOST = ("comfy", "comfy_api", "folder_paths", "server")
# What is called on objects that the graph hands in, which no import shows.
METHODS = {
    "comfy.clip_model.CLIPLayer": ("forward",),
    "comfy.conds.CONDRegular": ("can_concat", "process_cond"),
    "comfy.latent_formats.LatentFormat": ("process_in",),
    "comfy.model_base.BaseModel": (
        "apply_model",
        "extra_conds",
        "get_dtype",
        "get_dtype_inference",
        "memory_required",
    ),
    "comfy.model_management.LoadedModel": ("model_loaded_memory",),
    "comfy.model_patcher.ModelPatcher": (
        "add_object_patch",
        "cleanup",
        "clone",
        "get_free_memory",
        "get_model_object",
        "is_dynamic",
        "loaded_size",
        "model_size",
        "pre_run",
        "set_model_compute_dtype",
    ),
    "comfy.sd.CLIP": ("clone", "encode_from_tokens", "load_model", "tokenize"),
    "comfy.sd.VAE": ("decode", "encode"),
    "comfy.sd1_clip.SDTokenizer": ("_try_get_embedding", "tokenize_with_weights"),
}
# What the pack does in the host's stead, so that a change of the original is one to be looked at.
MIRRORED = (
    "comfy.clip_model.CLIPLayer.forward",
    "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer.forward",
    "comfy.ldm.modules.attention.wrap_attn",
    "comfy.sampler_helpers.prepare_model_patcher",
    "comfy.samplers._calc_cond_batch",
    "comfy.samplers.cond_cat",
    "comfy.samplers.encode_model_conds",
    "comfy.sd.CLIP.encode_from_tokens",
    "comfy.sd1_clip.SDTokenizer._try_get_embedding",
    "comfy.sd1_clip.SDTokenizer.tokenize_with_weights",
)


def host_names(source: str) -> Iterator[str]:
    """Full dotted names of the host's things that a file of ours uses."""
    tree = ast.parse(source)
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                known[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    ours = {name: whole for name, whole in known.items() if whole.split(".")[0] in HOST}
    yield from (whole for whole in ours.values() if "." in whole)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in ours and rest.replace(".", "").replace("_", "").isalnum():
                yield f"{ours[root]}.{rest}"


def names() -> list[str]:
    """All names that the pack takes from the host."""
    files = [path for folder in OURS for path in sorted((REPO / folder).rglob("*.py"))]
    used = {name for path in files for name in host_names(path.read_text(encoding="utf-8"))}
    methods = {f"{owner}.{one}" for owner, ones in METHODS.items() for one in ones}
    return sorted(used | methods | METHODS.keys() | set(MIRRORED))


def found(name: str) -> tuple[str, Any]:
    """What a dotted name stands for, as far as modules and classes lead, and the name so far;
    LookupError that names what is missing.
    """
    words = name.split(".")
    thing, at = importlib.import_module(words[0]), words[0]
    for word in words[1:]:
        if not (inspect.ismodule(thing) or inspect.isclass(thing)):
            break
        at = f"{at}.{word}"
        try:
            thing = getattr(thing, word)
        except AttributeError:
            try:
                thing = importlib.import_module(at)
            except ImportError:
                raise LookupError(at) from None
    return at, thing


def described(thing: Any) -> str:
    """What is asked of a name: the parameters of what is called, and else its kind."""
    if inspect.ismodule(thing):
        return "module"
    if not callable(thing):
        return "value"
    try:
        given = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return "callable"
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    written = [
        stars.get(one.kind, "") + one.name + ("=" if one.default is not one.empty else "")
        for one in given
    ]
    return f"({', '.join(written)})"


def digest(thing: Any) -> str:
    """A short text that changes with the code of a function, and not with its comments."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def contract() -> dict[str, str]:
    """What the host that can be imported offers for each name; 'missing' where it has none."""
    made: dict[str, str] = {}
    for name in names():
        try:
            at, thing = found(name)
        except LookupError as error:
            made[str(error.args[0])] = "missing"
            continue
        code = f" {digest(thing)}" if name in MIRRORED else ""
        made[at] = described(thing) + code
    return dict(sorted(made.items()))


def main() -> None:
    """Import the host of the given folder and print its record."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "main.py").is_file():
        raise SystemExit("usage: host_contract.py FOLDER, the one that holds ComfyUI's main.py")
    folder = sys.argv[1]
    sys.path[:] = [folder, *(path for path in sys.path if path != str(REPO))]
    sys.argv[1:] = ["--cpu"]
    importlib.import_module("comfy.options").enable_args_parsing()
    print(json.dumps(contract(), indent=1))


if __name__ == "__main__":
    main()
