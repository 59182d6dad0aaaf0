"""TrainingPreviews: images generated with the word during training."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..ti_core.host.page.preview_images import USUAL_SCHEDULER, PreviewSettings
from ..ti_core.host.page.previews import SAMPLERS, SCHEDULERS
from ..ti_core.host.page.queued_prompt import this_node
from .checked import CheckedNode, checked
from .sockets import CATEGORY, PreviewsSocket
from .typed_words import words_of_users


def side(name: str, what: str) -> Any:
    """A length in pixels, 0 for that of the training images."""
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=4096,
        step=8,
        advanced=True,
        tooltip=f"{what} of the previews in pixels. 0 = as trained: that of the first training "
        f"image. Smaller previews are faster.",
    )


class TrainingPreviews(CheckedNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingPreviews",
            display_name="Training Previews",
            category=CATEGORY,
            description="Generates images with the word during training. They are shown on the "
            "training node, and returned as a batch at the end. Training is not affected.",
            search_aliases=["textual inversion", "preview", "sample", "validation prompt"],
            inputs=[
                io.Int.Input(
                    "every",
                    default=50,
                    min=1,
                    max=100000,
                    tooltip="Steps between previews; the first is generated before training. Each "
                    "takes as long as any image of that size. 25 to 100 is usual.",
                ),
                io.String.Input(
                    "prompt",
                    default="a photo of {}",
                    multiline=True,
                    tooltip="Prompt of the previews; {} or [name] is the trigger word. A prompt "
                    "that no caption contains ({} in the rain) shows early whether the word still "
                    "combines with other words.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    advanced=True,
                    tooltip="Negative prompt; may stay empty.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    advanced=True,
                    tooltip="Sampling steps. 12 to 25 is usual.",
                ),
                io.Float.Input(
                    "cfg",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Guidance scale, as in KSampler. 0 = the usual one of the model: 7 for "
                    "SD and SDXL, 4.5 for flow models, 1 for models with built-in guidance (Flux). "
                    "Set 1 for turbo and schnell models.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=SAMPLERS,
                    default="euler",
                    advanced=True,
                    tooltip="As in KSampler.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=[USUAL_SCHEDULER, *SCHEDULERS],
                    default=USUAL_SCHEDULER,
                    advanced=True,
                    tooltip="As in KSampler. 'auto' = simple for flow models, otherwise normal.",
                ),
                side("width", "Width"),
                side("height", "Height"),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    advanced=True,
                    tooltip="Seed of the noise, which is the same for all previews, so that only "
                    "the word differs.",
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
    def check_together(cls, given: Mapping[str, Any]) -> None:
        if given.get("prompt") is not None:
            drawn = PreviewSettings(prompt=given["prompt"])
            for word in words_of_users(this_node(), "previews"):
                drawn.text(word)

    @classmethod
    @checked
    def execute(cls, **chosen: Any) -> io.NodeOutput:
        return io.NodeOutput(PreviewSettings(**chosen))
