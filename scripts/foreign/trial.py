"""Files of every format, and what a tool makes of them: `python -m foreign.trial FOLDER` writes
them, `python -m foreign.trial FOLDER ROOM LOADER CHECKOUT` reads them and prints what came of each
as JSON. Both are run by scripts/other_readers.py.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from foreign.case import Case, Load, NoPlace, Refused
from torch import Tensor

COUNT = 2  # vectors of the word
WORD = "my-cat"
TRUTH = "vectors.pt"
LONGEST = 120  # of a tool's words


class Trial(NamedTuple):
    """A case with its format, the kind of its model, and the vectors that it holds."""

    format: str
    kind: str
    case: Case
    vectors: dict[str, Tensor]


def write_all(folder: Path) -> None:
    """Write the files, each word in a folder of its own, beside its vectors. Only here is the pack
    imported: the tools have modules of the same names.
    """
    from ti_core.word.embedding import Embedding
    from ti_core.word.families import ENCODERS
    from ti_core.word.formats import FORMATS, Export, write_files
    from ti_core.word.formats.other_tools import KINDS

    for seed, (kind, keys) in enumerate(KINDS.items()):
        generator = torch.Generator().manual_seed(seed)
        vectors = {
            key: 0.02 * torch.randn(COUNT, ENCODERS[key].width, generator=generator) for key in keys
        }
        start = {key: rows * 2 for key, rows in vectors.items()}
        made = Embedding(WORD, "cat", vectors, start, {"steps": 400})
        for name, format in FORMATS.items():
            if format.readers(made):
                place = folder / name / kind
                (place / "files").mkdir(parents=True)
                write_files(place / "files" / WORD, format.write(made, Export()))
                torch.save(vectors, place / TRUTH)


def trials(folder: Path) -> Iterator[Trial]:
    """The files that were written."""
    for truth in sorted(folder.glob(f"*/*/{TRUTH}")):
        vectors = torch.load(truth, weights_only=True)
        widths = {key: rows.shape[-1] for key, rows in vectors.items()}
        case = Case(sorted((truth.parent / "files").iterdir()), widths, WORD)
        yield Trial(truth.parent.parent.name, truth.parent.name, case, vectors)


def outcome(load: Load, trial: Trial) -> str:
    """`=`, and how the tool was asked, if it has every vector; else what is missing, or why."""
    try:
        with torch.no_grad():
            found = load(trial.case)
    except NoPlace:
        return "-"
    except Refused as error:
        return in_a_line(str(error), trial.case.folder)
    except Exception as error:
        return in_a_line(f"{type(error).__name__}: {error}", trial.case.folder)
    same = [
        key
        for key, rows in trial.vectors.items()
        if key in found.vectors and rows.equal(found.vectors[key].detach().cpu())
    ]
    if len(same) == len(trial.vectors):
        return " ".join(filter(None, ("=", found.asked)))
    if same:
        return f"{', '.join(same)} only"
    return "other vectors" if found.vectors else "no vectors"


def in_a_line(words: str, folder: str) -> str:
    """A tool's words for a table: the same at each run, so without folder and addresses."""
    same = re.sub(r"0x[0-9a-f]+", "0x...", words.replace(f"{folder}/", "").replace("|", "/"))
    line = " ".join(same.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def main() -> None:
    """Write, or read."""
    folder, *tool = sys.argv[1:]
    if not tool:
        return write_all(Path(folder))
    every = list(trials(Path(folder)))  # Before torch.load may be another.
    room, loader, checkout = tool
    load = getattr(importlib.import_module(f"foreign.{room}"), loader)(Path(checkout))
    found: dict[str, dict[str, str]] = {}
    for trial in every:
        found.setdefault(trial.format, {})[trial.kind] = outcome(load, trial)
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
