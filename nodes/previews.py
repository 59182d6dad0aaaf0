"""TrainingPreviews: pictures of the word while it is learned."""

from typing import Any

from comfy_api.latest import io

from ..ti_core.host.page.previews import SAMPLERS, SCHEDULERS
from ..ti_core.training.preview_pictures import PreviewSettings
from .sockets import CATEGORY, PreviewsSocket


def side(name: str, what: str) -> Any:
    """A length in pixels."""
    return io.Int.Input(
        name,
        default=512,
        min=64,
        max=4096,
        step=8,
        tooltip=f"{what} of the pictures in pixels: 512 for SD 1.x, 1024 for SDXL, SD3 and Flux. "
        f"Smaller pictures are faster.",
    )


class TrainingPreviews(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingPreviews",
            display_name="Training Previews",
            category=CATEGORY,
            description="Draws the word at regular steps during training: on the training node, "
            "and as a batch of pictures at the end. It does not change what is learned.",
            search_aliases=["textual inversion", "preview", "sample", "validation prompt"],
            inputs=[
                io.Int.Input(
                    "every",
                    default=50,
                    min=1,
                    max=100000,
                    tooltip="Steps between two pictures; the first is drawn before training. Each "
                    "takes as long as any picture of that size. 25 to 100 are usual.",
                ),
                io.String.Input(
                    "prompt",
                    default="a photo of {}",
                    multiline=True,
                    tooltip="What to draw; {} or [name] is the new word. A prompt that is not "
                    "among the captions ({} in the rain) shows early whether the word still works "
                    "with other words.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    tooltip="Negative prompt; may stay empty.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    tooltip="Sampling steps. 12 to 25 are usual.",
                ),
                io.Float.Input(
                    "cfg",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How closely the picture follows the prompt, as in KSampler: 5 to 8 "
                    "for SD and SDXL, 1 for Flux.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=SAMPLERS,
                    default="euler",
                    tooltip="As in KSampler.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=SCHEDULERS,
                    default="normal",
                    tooltip="As in KSampler.",
                ),
                side("width", "Width"),
                side("height", "Height"),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Decides the noise. It is the same for all pictures, so that only the "
                    "word differs.",
                ),
            ],
            outputs=[
                PreviewsSocket.Output(
                    display_name="previews",
                    tooltip="For the previews input of Train Textual Inversion.",
                )
            ],
        )

    @classmethod
    def execute(cls, **chosen: Any) -> io.NodeOutput:
        return io.NodeOutput(PreviewSettings(**chosen))
