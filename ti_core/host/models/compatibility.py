"""What differs between versions of the host, in one place, each with its version and line.

Whoever raises OLDEST looks here for what can go. Imports nothing of the host before its version is
known to be new enough.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OLDEST = (0, 19, 0)
KITCHEN = "comfy_kitchen"
# What changed among the names that the pack uses, between the versions that tests/contracts/ holds
# a record of, and how that is answered. A change that stands here has been looked at.
CHANGED = {
    "comfy.ldm.modules.attention.wrap_attn": (
        "0.33 packs tensors into an AttentionTensorContainer and unpacks them for an override that "
        "does not ask for it; `attention_with_backward` does not."
    ),
    "comfy.sd1_clip.SDTokenizer._try_get_embedding": (
        "0.28 returns the name, too; `embedding_result` gives what is expected."
    ),
    "comfy.sd1_clip.SDTokenizer.tokenize_with_weights": (
        "0.28 leaves the blank or line break before `embedding:` in the text; CLIP and T5 do not "
        "see it."
    ),
}


def numbered(version: str) -> tuple[int, ...]:
    """The numbers of a version, to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def host_version() -> str:
    """The host's own number (comfyui_version.py at its root, since January 2025)."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return "0.3"
    return __version__


def too_old(version: str) -> str | None:
    """What to tell the user of a host that lacks what the nodes are made of; None if it has all.

    The last that is missing: `Schema(has_intermediate_output=...)` before 0.19
    (comfy_api/latest/_io.py).
    """
    if numbered(version) >= OLDEST:
        return None
    return (
        f"Textual Inversion needs ComfyUI {'.'.join(map(str, OLDEST))} or newer, and this is "
        f"{version}: none of its nodes are loaded. Update ComfyUI (in ComfyUI-Manager: Update "
        f"ComfyUI; with git: git pull and pip install -r requirements.txt in its folder) and start "
        f"it again."
    )


def interrupt_behind(error: BaseException | None) -> BaseException | None:
    """The host's Cancel, or another request to end, that an error is, or on whose way out it was
    raised; None of other errors.

    Before 0.19.4 InterruptProcessingException is an Exception like others
    (comfy/model_management.py), so whoever catches these asks first.
    """
    from comfy.model_management import InterruptProcessingException

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        requested = not isinstance(error, Exception | GeneratorExit)
        if requested or isinstance(error, InterruptProcessingException):
            return error
        seen.add(id(error))
        error = error.__context__
    return None


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is for nobody to catch: somebody has asked for the end."""
    return interrupt_behind(error) is not None


@contextmanager
def interrupts_unmasked() -> Iterator[None]:
    """Let the host's Cancel leave the block as itself, whatever was raised on its way out."""
    try:
        yield
    except Exception as error:
        interrupt = interrupt_behind(error)
        if interrupt is None or interrupt is error:
            raise
        raise interrupt from None


def even_if_interrupted(call: Callable[..., object], *values: object) -> None:
    """Make a call that tidies up; where the host's Cancel falls into it, once more before that goes
    on.
    """
    try:
        call(*values)
    except BaseException as error:
        if is_interrupt(error):
            call(*values)
        raise


def is_within_directory(root: str, path: str) -> bool:
    """Whether a path, its links followed, lies inside `root`; `folder_paths.is_within_directory`
    of 0.28 and newer (folder_paths.py:307).
    """
    try:
        return Path(path).resolve().is_relative_to(Path(root).resolve())
    except (ValueError, OSError, RuntimeError):  # a zero byte, or a link that leads to itself
        return False


def embedding_result(rows: Any, name: str, leftover: str) -> tuple[Any, ...]:
    """What `SDTokenizer._try_get_embedding` returns: rows, name and leftover text since 0.28
    (sd1_clip.py:543), rows and leftover before.
    """
    return (rows, name, leftover) if numbered(host_version()) >= (0, 28) else (rows, leftover)


def plain_kernel(namespace: str, name: str) -> Callable[..., Any] | None:
    """The same computation in plain torch, which has a backward, for a kernel that has none.

    Rotary embeddings of language models (0.34 to 0.36, text_encoders/llama.py apply_rope), of
    Cosmos-Predict 2 and Anima (0.30, ldm/cosmos/predict2.py:187) and of Ernie (0.30,
    ldm/ernie/model.py:125) are computed by kernels of comfy_kitchen, also while `in_training` asks
    for others.
    """
    if namespace != KITCHEN:
        return None
    from comfy_kitchen.backends import eager

    return getattr(eager, name, None)


def end_prefetches() -> None:
    """Let go of the blocks that the host has fetched ahead (comfy/model_prefetch.py, since 0.20),
    as it does at the end of a node.
    """
    try:
        from comfy.model_prefetch import cleanup_prefetch_queues
    except ImportError:
        return
    cleanup_prefetch_queues()
