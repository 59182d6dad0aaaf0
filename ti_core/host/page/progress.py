"""What the user reads on a node while it works."""

from server import PromptServer

from ...quoted import encodable

LINES = 8


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
