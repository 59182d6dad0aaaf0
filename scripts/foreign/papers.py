"""The table of formats and tools in the papers, made from the one in the code: `python -m
foreign.papers` writes it, and names where what was found says otherwise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ti_core.word.formats.other_tools import (
    COMFYUI,
    KINDS,
    OTHERS,
    READ,
    TOOLS,
    Row,
    in_words,
    row_for,
    tools_for,
)

REPO = Path(__file__).resolve().parents[2]
RESULTS = REPO / "benchmarks" / "results" / "other-readers.json"
FORMATS, HELP = REPO / "docs" / "formats.md", REPO / "web" / "docs" / "SaveEmbedding" / "en.md"


def formats_table() -> str:
    """The whole table, for docs/formats.md."""
    lines = [
        f"| Format | {' | '.join(TOOLS)} |",
        "|---" * (len(TOOLS) + 1) + "|",
        f"| run | {' | '.join(', '.join(versions) for versions in TOOLS.values())} |",
        *(table_row(row) for row in READ),
    ]
    return "\n".join([*lines, ""])


def table_row(row: Row) -> str:
    """A row of the table."""
    tools = tools_for(row.format, KINDS[row.kinds[-1]]) or {}
    cells = [
        (tools[tool].replace("token=", "`token=`") or "yes") if tool in tools else ""
        for tool in TOOLS
    ]
    kinds = ", ".join(row.kinds).replace(OTHERS, f"{OTHERS} and other language models")
    return f"| *{row.format}*, {kinds} | {' | '.join(cells)} |"


def help_table() -> str:
    """What reads each format for SD 1.x, SD 2.x and SDXL, for the help page of Save Embedding."""
    lines = ["| Read by | for SD 1.x and 2.x | for SDXL |", "|---|---|---|"]
    for name in dict.fromkeys(row.format for row in READ):
        cells = [in_words(row_for(name, kind) or {}) for kind in ("SD 1.x", "SDXL")]
        lines.append(f"| *{name}* | {' | '.join(cells).replace('token=', '`token=`')} |")
    return "\n".join([*lines, ""])


PAPERS = {FORMATS: formats_table, HELP: help_table}


def with_table(text: str, table: str) -> str:
    """A page with this table in place of the one that has its head."""
    head = table.partition("\n")[0]
    parts = text.split("\n\n")
    if not any(part.startswith(head) for part in parts):
        raise ValueError(f"The page has no table with the head '{head}'.")
    return "\n\n".join(table.strip() if part.startswith(head) else part for part in parts)


def otherwise(found: dict[str, dict]) -> list[str]:
    """Where the table in the code does not say what the tools' own code did."""
    said = []
    for label, tool in found.items():
        name = label.split(" ")[0]
        for format, kinds in tool["reads"].items():
            for kind, outcome in kinds.items():
                expected = cell(name, format, kind)
                if (outcome if outcome.startswith("=") else "") != expected:
                    said.append(f"{label}, {format}, {kind}: '{outcome}', not '{expected}'")
    return said


def cell(tool: str, format: str, kind: str) -> str:
    """What is to be found for a tool by the table: `=` and how it is asked, or nothing."""
    tools = row_for(format, kind) or {}
    return f"= {tools[tool]}".strip() if tool in tools else ""


def versions(found: dict[str, dict]) -> dict[str, tuple[str, ...]]:
    """The versions and commits that were run, as the table in the code names them."""
    named: dict[str, tuple[str, ...]] = {}
    for label, tool in found.items():
        name, _, version = label.partition(" ")
        one = " ".join(filter(None, [version, tool["commit"][:7] if name != COMFYUI else ""]))
        named[name] = (*named.get(name, ()), one)
    return named


def main() -> int:
    """Write the pages, and name what is otherwise."""
    for path, table in PAPERS.items():
        path.write_text(with_table(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    complaints = otherwise(found)
    if versions(found) != TOOLS:
        complaints.append(f"What was run: {versions(found)}, not {TOOLS}")
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
