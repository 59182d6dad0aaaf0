"""Runs a Python program that ends with its owner: `owned.py PROGRAM ARGUMENTS`.

The owner holds the other end of the standard input. The system closes that end whenever the owner
ends, killed or not, on every system; then this process ends, with those that it has started.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Run the program as if it had been started by itself."""
    threading.Thread(target=end_with_owner, daemon=True).start()
    program = Path(sys.argv[1]).resolve()
    sys.argv = [str(program), *sys.argv[2:]]
    sys.path[0] = str(program.parent)
    runpy.run_path(str(program), run_name="__main__")


def end_with_owner() -> None:
    """Wait for the end of the standard input, which nobody writes to, and end at once."""
    while os.read(0, 1024):
        pass
    if os.name != "nt" and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
