"""What the user sees while it trains: the host's progress bar, and a line of text on the node."""

import time

import comfy.model_management
import comfy.utils
from server import PromptServer

from ..training import StepReport

TEXT_INTERVAL = 0.5
SMOOTHING = 0.95
LINES = 8


class Progress:
    """Shows each step, and lets the host's Cancel end the run."""

    def __init__(self, steps: int, node_id: str | None):
        self.steps = steps
        self.node_id = node_id
        self.bar = comfy.utils.ProgressBar(steps, node_id=node_id)
        self.started = self.shown = time.perf_counter()
        self.loss: float | None = None

    def __call__(self, report: StepReport) -> None:
        """Show a step."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(report.step)
        before = report.loss if self.loss is None else self.loss
        self.loss = SMOOTHING * before + (1 - SMOOTHING) * report.loss
        now = time.perf_counter()
        if now - self.shown >= TEXT_INTERVAL or report.step == self.steps:
            self.shown = now
            seconds = (now - self.started) / report.step
            say(progress_line(report.step, self.steps, self.loss, seconds), self.node_id)


def say(text: str, node_id: str | None) -> None:
    """Write text on a node; without a server (a script, a test) nobody is there to read it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(shortened(text), node_id, server.client_id)


def shortened(text: str) -> str:
    """A text that fits on a node; of a long one its summary, and the findings at its end."""
    lines = text.splitlines()
    if len(lines) <= LINES:
        return text
    left_out = f"... {len(lines) - LINES + 1} lines more in the output"
    return "\n".join([lines[0], left_out, *lines[2 - LINES :]])


def progress_line(step: int, steps: int, loss: float, seconds_per_step: float) -> str:
    """`step 120/400, loss 0.1234, 0.52 s/step, 2:26 left`."""
    minutes, seconds = divmod(round((steps - step) * seconds_per_step), 60)
    left = f"{minutes}:{seconds:02d} left"
    return f"step {step}/{steps}, loss {loss:.4f}, {seconds_per_step:.2f} s/step, {left}"
