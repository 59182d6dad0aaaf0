"""The page that the browser tests look at."""

from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page


@dataclass
class View:
    """The page in one renderer, with what it complained about."""

    page: Page
    vue_nodes: bool
    complaints: list[str] = field(default_factory=list)


def listen(view: View) -> None:
    """Note the page's exceptions, and errors and warnings of its console with where they arose."""
    view.page.on("pageerror", lambda error: view.complaints.append(str(error)))
    view.page.on(
        "console",
        lambda message: (
            view.complaints.append(f"{message.text} ({message.location['url']})")
            if message.type in ("error", "warning")
            else None
        ),
    )


def wait_for_message(page: Page, text: str) -> None:
    """Wait until the page says something; since frontend 1.58 it says it twice, the second time to
    screen readers.
    """
    page.get_by_text(text).first.wait_for()


def drop(view: View, node: str, *paths: Path) -> None:
    """Drop files and folders of this machine onto a node, as a mouse does; behind the templates
    that a new ComfyUI opens with.
    """
    view.page.keyboard.press("Escape")
    x, y = view.page.evaluate(
        """id => {
            const { left, top } = app.canvas.canvas.getBoundingClientRect()
            const [x, y] = app.graph.getNodeById(id).pos
            const [right, below] = app.canvas.ds.convertOffsetToCanvas([x + 80, y + 12])
            return [left + right, top + below]
        }""",
        node,
    )
    session = view.page.context.new_cdp_session(view.page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
        event = {"type": kind, "x": x, "y": y, "data": data}
        session.send("Input.dispatchDragEvent", event)
    session.detach()
