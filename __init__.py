"""Textual inversion inside the ComfyUI graph: registration only."""

import logging

from .ti_core.host.models.compatibility import host_version, too_old

if complaint := too_old(host_version()):
    logging.getLogger(__name__).error(complaint)
    NODE_CLASS_MAPPINGS = {}  # ComfyUI calls a pack without nodes a failed import.
else:
    from .nodes import comfy_entrypoint as comfy_entrypoint

    WEB_DIRECTORY = "./web"
