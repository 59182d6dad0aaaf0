"""Reads every file of a folder and prints, as JSON lines, what came of it: run by
test_formats_hostile.py in a process of its own, whose memory is watched.
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path

from ti_core.word.embedding import Embedding
from ti_core.word.formats import FORMATS, Export, read_embedding
from ti_core.word.inspection import inspection_image, inspection_report

MEGABYTE = 1 << 20
FEW = 75


def memory() -> float:
    """The most memory that this process has held so far, in MiB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / MEGABYTE if sys.platform == "darwin" else held / 1024


def outcome(path: Path, word: str = "") -> tuple[str, Embedding | None]:
    """The report of a file that can be read, or the error."""
    try:
        found = read_embedding(path, word)
        return f"read {inspection_report(found, {})}", found
    except ValueError as error:
        return str(error), None


def first_word(message: str) -> str:
    """The first of the words that an error offers."""
    found = re.search(r"several words: ([^,.]+)", message)
    return found[1] if found else ""


def written(found: Embedding) -> str:
    """Write it in every format, which no text in it may prevent."""
    for name, kind in FORMATS.items() if found.count <= FEW else ():
        files = kind.write(found, Export()) if kind.readers(found) else {}
        if not all(files.values()):
            return f"{name} writes nothing"
    return "written"


def measured(path: Path) -> dict[str, object]:
    """What reading a file came to, with its CPU time, and the memory that it took beyond its size;
    and the memory that its image took.
    """
    before, started = memory(), time.process_time()
    result, found = outcome(path)
    if word := first_word(result):
        again, found = outcome(path, word)
        result = f"{result} {again}"
    grown = memory() - before - path.stat().st_size / MEGABYTE
    line = {"name": path.name, "result": result, "grown": grown, "drawn": 0.0, "written": ""}
    if found is not None:
        before = memory()
        inspection_image(found, {})
        line["drawn"] = memory() - before
    line["seconds"] = time.process_time() - started
    return line if found is None else {**line, "written": written(found)}


def main(folder: Path) -> None:
    """Each file is read by a copy of this process, so that none finds memory that another left.
    A copy's own count begins with what it has touched: the good files, once more.
    """
    warm_up = sorted((folder / "good").iterdir())
    for path in warm_up:
        outcome(path)
    for path in sorted(folder.glob("*.*")):
        if not os.fork():
            for good in warm_up:
                outcome(good)
            print(json.dumps(measured(path)), flush=True)
            os._exit(0)
        _, status = os.wait()
        if status:
            raise SystemExit(f"Reading {path.name} ended the process with {status}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
