"""Not too many messages: calls that come too soon are put off, and made one."""

import threading
import time
from collections.abc import Callable


class Throttle:
    """Makes a call at once, or as soon as `interval` seconds have passed since the one before; of
    several that wait, one is made. Safe to use from several threads.
    """

    def __init__(self, call: Callable[[], None], interval: float):
        self.make = call
        self.interval = interval
        self.last = -interval
        self.waiting: threading.Timer | None = None
        self.lock = threading.Lock()

    def __call__(self) -> None:
        with self.lock:
            if self.waiting:
                return
            wait = self.last + self.interval - time.monotonic()
            if wait > 0:
                self.waiting = threading.Timer(wait, self.now)
                self.waiting.daemon = True
                self.waiting.start()
                return
            self.last = time.monotonic()
        self.make()

    def now(self) -> None:
        """Make the call that waits."""
        with self.lock:
            self.waiting, self.last = None, time.monotonic()
        self.make()
