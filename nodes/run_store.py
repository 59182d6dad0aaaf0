"""TrainingRunStore: where runs are kept, so that nothing of them is lost."""

from typing import Any

from comfy_api.latest import io

from ..ti_core.store.run_store import StoreSettings
from .sockets import CATEGORY, RunStoreSocket


class TrainingRunStore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingRunStore",
            display_name="Training Run Store",
            category=CATEGORY,
            description="Where training runs are kept, and how often they are stored. Without this "
            "node they are kept in the user folder.",
            search_aliases=["textual inversion", "resume", "checkpoint", "save training"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=["user", "output"],
                    default="user",
                    tooltip="ComfyUI's folder in which textual_inversion_runs lies.",
                ),
                io.Int.Input(
                    "save_every",
                    default=25,
                    min=1,
                    max=100000,
                    tooltip="Steps from one checkpoint to the next: what a crash of the computer "
                    "can cost. A checkpoint has some kilobytes. 10 to 100.",
                ),
                io.Int.Input(
                    "keep_last",
                    default=3,
                    min=1,
                    max=1000,
                    tooltip="Checkpoints of each run that are kept; the last one is enough, "
                    "unless it gets damaged. 2 to 5.",
                ),
                io.Int.Input(
                    "megabytes",
                    default=1024,
                    min=1,
                    max=1048576,
                    advanced=True,
                    tooltip="Most that all runs together may take; the oldest ones go first.",
                ),
                io.Combo.Input(
                    "on_problem",
                    options=["go on", "stop"],
                    default="go on",
                    advanced=True,
                    tooltip="When a run cannot be read or written at the start: 'go on' trains "
                    "from an older checkpoint, from the beginning or without storing, and says so "
                    "in the report; 'stop' is an error. A problem later on never ends a run.",
                ),
            ],
            outputs=[
                RunStoreSocket.Output(
                    display_name="store",
                    tooltip="For the store input of Train Textual Inversion.",
                )
            ],
        )

    @classmethod
    def execute(cls, on_problem: str, **chosen: Any) -> io.NodeOutput:
        return io.NodeOutput(StoreSettings(**chosen, strict=on_problem == "stop"))
