"""The runs that the page knows: those that train, and the last ones."""

import logging
import threading

from server import PromptServer

from ..models.compatibility import is_interrupt
from .monitor import Monitor
from .throttle import Throttle

log = logging.getLogger(__name__)

EVENT = "textual_inversion.monitor"
INTERVAL = 0.25  # seconds between two messages of a run
MOST_OVER = 5  # runs that are over and whose records are kept

_monitors: list[Monitor] = []
_lock = threading.Lock()


def followed(monitor: Monitor) -> Monitor:
    """Let the page know of a run from now on; of those that are over, the last ones stay."""
    with _lock:
        over = [one for one in _monitors if one.over]
        for old in over[: max(0, len(over) - MOST_OVER)]:
            _monitors.remove(old)
            old.forget()
        _monitors.append(monitor)
    monitor.changed = Throttle(lambda: send(monitor), INTERVAL)
    monitor.changed()
    return monitor


def send(monitor: Monitor) -> None:
    """Tell every page; without a server (a script, a test) nobody listens. A message that cannot be
    sent is followed by others.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    try:
        server.send_sync(EVENT, monitor.snapshot())
    except Exception as error:
        if is_interrupt(error):
            raise
        log.warning("The page could not be sent the state of a training: %s", error, exc_info=True)


def known(node_id: str | None = None, run: str | None = None) -> list[Monitor]:
    """The runs on a node, or that of a name, or all, the youngest last."""
    with _lock:
        return [
            one for one in _monitors if node_id in (None, one.node_id) and run in (None, one.run)
        ]
