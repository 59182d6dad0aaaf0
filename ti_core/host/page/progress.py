"""What the user sees while it trains: the host's progress bar, and a line of text on the node."""

import time

import comfy.model_management
import comfy.utils
from server import PromptServer

from ...quoted import encodable
from ...training.preflight import clock
from ...training.run import RunState

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
        self.first: int | None = None
        self.loss: float | None = None
        self.told: list[str] = []

    def tell(self, text: str) -> None:
        """Show a line that stays for the length of the run."""
        self.told.append(text)
        say("\n".join(self.told), self.node_id)

    def __call__(self, state: RunState) -> None:
        """Show a step; the first call tells where the run starts."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(state.step)
        now = time.perf_counter()
        if self.first is None:
            self.first, self.started = state.step, now
        done = state.step - self.first
        if done == 0:
            return
        before = state.losses[-1] if self.loss is None else self.loss
        self.loss = SMOOTHING * before + (1 - SMOOTHING) * state.losses[-1]
        if done == 1 or now - self.shown >= TEXT_INTERVAL or state.step == self.steps:
            self.shown = now
            line = progress_line(state, self.steps, self.loss, (now - self.started) / done)
            # Nodes 2.0 shows its lines as one.
            say("\n".join([f"{line}.", *self.told]), self.node_id)


def say(text: str, node_id: str | None) -> None:
    """Write text on a node; without a server (a script, a test) nobody is there to read it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(encodable(shortened(text)), node_id, server.client_id)


def shortened(text: str) -> str:
    """A text that fits on a node; of a long one its summary, and the findings at its end."""
    lines = text.splitlines()
    if len(lines) <= LINES:
        return text
    left_out = f"... {len(lines) - LINES + 1} more lines in the output"
    return "\n".join([lines[0], left_out, *lines[2 - LINES :]])


def progress_line(state: RunState, steps: int, loss: float, seconds_per_step: float) -> str:
    """`step 120/400, loss 0.1234, validation 93.1 %, 0.52 s/step, 2:26 left`: the validation loss
    beside that of the initialiser, and the time to the last step, if the run needs it.
    """
    left = clock((steps - state.step) * seconds_per_step)
    parts = [f"step {state.step}/{steps}", f"loss {loss:.4f}"]
    if state.validations and state.initialiser_loss:
        share = 100 * state.validations[-1].loss / state.initialiser_loss
        parts.append(f"validation {share:.1f} %")
    parts += [f"{seconds_per_step:.2f} s/step", f"{left} left"]
    return ", ".join(parts)
