"""Custom nodes of the tests' ComfyUI: models with which a step takes a tenth of a second, and what
they hear and draw, in digests.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

TESTS = Path(__file__).resolve().parents[2]
sys.path += [str(TESTS / "host"), str(TESTS.parent / "scripts")]  # behind all that is the host's

from small_models import small_sd1  # noqa: E402


class SmallModels:
    """A loader without a file."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def load(self) -> tuple[Any, ...]:
        return tuple(small_sd1())


class SmallFamily(SmallModels):
    """A family's small models."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": ("STRING", {})}}

    def load(self, family: str) -> tuple[Any, ...]:
        from small_families import made_model, made_text, made_vae

        listen_to_training()
        return made_model(family), made_text(family), made_vae(family)


class SmallCheckpoint(SmallFamily):
    """A family's small models out of one file, by the function of CheckpointLoaderSimple, with few
    layers in the text encoders.
    """

    def load(self, family: str) -> tuple[Any, ...]:
        import folder_paths
        from comfy.sd import load_checkpoint_guess_config
        from small_families import WIDTH, narrow

        listen_to_training()
        path = folder_paths.get_full_path_or_raise("checkpoints", f"{family}.safetensors")
        folders = folder_paths.get_folder_paths("embeddings")
        options = narrow(WIDTH)
        return load_checkpoint_guess_config(
            path, embedding_directory=folders, te_model_options=options
        )[:3]


class WriteSmallFamily(SmallFamily):
    """A family's small models as files, by the functions of the host's own nodes that save; in one
    file, in fp16, where the host finds all of them there.
    """

    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def load(self, family: str) -> tuple[Any, ...]:
        import folder_paths
        from comfy.sd import save_checkpoint
        from comfy.utils import save_torch_file
        from small_families import ALL_FAMILIES, WHOLE_FILES, made_model, made_text, made_vae, marks

        if family in WHOLE_FILES:
            (folder,) = folder_paths.get_folder_paths("checkpoints")[:1]
            model, clip = made_model(family), made_text(family)
            model.model.diffusion_model.half()
            clip.cond_stage_model.half()
            path = str(Path(folder, f"{family}.safetensors"))
            save_checkpoint(path, model, clip, made_vae(family), extra_keys=marks(family))
            return ()
        told = {"config": json.dumps(ALL_FAMILIES[family].told)}
        paths = []
        for kind in ("diffusion_models", "vae"):
            folder = Path(folder_paths.get_folder_paths(kind)[0])
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(str(folder / f"{family}.safetensors"))
        save_checkpoint(paths[0], made_model(family), metadata=told)
        save_torch_file(made_vae(family).get_sd(), paths[1], metadata=told)
        return ()


class Digest:
    """Tell a conditioning, what training made of the same text last, and an image's latents in
    digests, and whether the latents are finite.
    """

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "tell"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        given = {"conditioning": ("CONDITIONING",), "latent": ("LATENT",), "text": ("STRING", {})}
        return {"required": given}

    def tell(self, conditioning: Any, latent: dict[str, Tensor], text: str) -> dict[str, Any]:
        ((cross_attn, more),) = conditioning
        samples = latent["samples"]
        told = {
            "conditioning": digest({"cross_attn": cross_attn, **more}),
            "trained": heard.get(text),
            "latent": digest({"samples": samples}),
            "finite": bool(samples.isfinite().all()),
        }
        return {"ui": {"told": [told]}}


class Anything(str):
    """A type of output that fits every input."""

    def __ne__(self, other: object) -> bool:
        return False


class Given:
    """Any value, over a wire."""

    RETURN_TYPES = (Anything("*"),)
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"json_text": ("STRING", {})}}

    def give(self, json_text: str) -> tuple[Any]:
        return (json.loads(json_text),)


heard: dict[str, str] = {}


def digest(named: dict[str, Any]) -> str:
    """Of all bits of the tensors among some named values."""
    found = hashlib.sha256()
    for name, value in sorted(named.items()):
        if isinstance(value, Tensor):
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def listen_to_training() -> None:
    """Keep the digests of what training makes of its texts, the last of each."""
    name = next(name for name in sys.modules if name.endswith("ti_core.host.models.host_model"))
    model: Any = sys.modules[name].HostModel
    encode = getattr(model.encode, "listened_to", model.encode)

    def listening(self: Any, captions: Any, vectors: Any) -> Any:
        made = encode(self, captions, vectors)
        heard.update(zip(captions, map(digest, made), strict=True))
        return made

    listening.listened_to = encode  # type: ignore[attr-defined]
    model.encode = listening
    heard.clear()


NODES = (SmallModels, SmallFamily, SmallCheckpoint, WriteSmallFamily, Digest, Given)
NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in NODES}
