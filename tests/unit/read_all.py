"""Reads every file of a folder and prints, as JSON lines, what came of it: run by
test_formats_hostile.py in a process of its own, whose memory is watched.
"""

import json
import resource
import sys
import time
from pathlib import Path

from ti_core.word.formats import read_embedding

MEGABYTE = 1 << 20


def peak() -> float:
    """The most memory that this process has held so far, in MiB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / MEGABYTE if sys.platform == "darwin" else held / 1024


def main(folder: Path) -> None:
    for warm_up in sorted((folder / "good").iterdir()):
        read_embedding(warm_up)
    before = peak()
    for path in sorted(folder.glob("*.*")):
        started = time.process_time()
        try:
            read_embedding(path)
            result = "read"
        except ValueError as error:
            result = str(error)
        seconds = time.process_time() - started
        line = {"name": path.name, "result": result, "seconds": seconds}
        print(json.dumps({**line, "grown": peak() - before}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
