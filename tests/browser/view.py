"""The page that the browser tests look at."""

from dataclasses import dataclass, field

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
    page.get_by_text(text).first.wait_for(timeout=10_000)
