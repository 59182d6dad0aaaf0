"""Write locales/en/nodeDefs.json from the schemas of the nodes: `python scripts/build_locales.py`.

A maintenance script, for after a text or an input of a node has changed. The other languages are
written by hand; it names what they lack, and makes help pages of them. ComfyUI merges
`locales/<language>/nodeDefs.json` into the texts of its page, and asks for a help page in the
language of the page.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from environment import REPO, prepare
from headless import PACK, Server
from workflow import DYNAMIC_COMBO, fields, options

LOCALES = REPO / "locales"
HELP = REPO / "web" / "docs"
IMAGE = re.compile(r"^!\[.*\]\((.+)\)$", re.MULTILINE)
SYNTAX = "{}|@"  # to the page a part of its own language for messages, in its older versions

# Of the help pages; German has none as long as ComfyUI's page does not offer it.
HEADINGS = {"zh": {"inputs": "输入", "outputs": "输出"}}

Texts = dict[str, Any]


def main() -> None:
    """Write the English file, and name what the others lack."""
    host = prepare()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(host.comfyui, host.python, Path(folder)) as server,
    ):
        texts = all_texts(server.object_info())
    english = json.dumps(spelled_out(texts), ensure_ascii=False, indent=2) + "\n"
    file_of("en").write_text(english, encoding="utf-8")
    for language in translations():
        for complaint in complaints(texts, read(language)):
            print(f"{language}: {complaint}")
    for language in HEADINGS:
        for node, translated in read(language).items():
            page = HELP / node / f"{language}.md"
            page.write_text(help_page(language, node, translated), encoding="utf-8")


def translations() -> list[str]:
    """The languages that are written by hand."""
    return sorted(folder.name for folder in LOCALES.iterdir() if folder.name != "en")


def file_of(language: str, name: str = "nodeDefs") -> Path:
    """Where the texts of a language lie."""
    return LOCALES / language / f"{name}.json"


def read(language: str, name: str = "nodeDefs") -> Texts:
    """The texts of a language."""
    return json.loads(file_of(language, name).read_text(encoding="utf-8"))


def all_texts(object_info: dict[str, Any]) -> Texts:
    """What the page shows of the nodes of this pack, as their schemas say it."""
    return {
        name: node_texts(schema)
        for name, schema in sorted(object_info.items())
        if PACK in schema["python_module"]
    }


def node_texts(schema: dict[str, Any]) -> Texts:
    """The texts of a node, under the keys that the page looks them up by."""
    names, tooltips = schema["output_name"], schema["output_tooltips"]
    return {
        "display_name": schema["display_name"],
        "description": schema["description"],
        "inputs": dict(input_texts(schema["input"])),
        "outputs": {
            str(place): {"name": name, "tooltip": tooltip}
            for place, (name, tooltip) in enumerate(zip(names, tooltips, strict=True))
        },
    }


def input_texts(groups: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Texts]]:
    """The texts of inputs; of those that a choice adds the page takes the name alone."""
    for name, spec in fields(groups):
        yield (
            prefix + name,
            {
                "name": options(spec).get("display_name") or name,
                **({} if prefix else {"tooltip": options(spec)["tooltip"]}),
            },
        )
        if spec[0] == DYNAMIC_COMBO:
            for choice in options(spec)["options"]:
                yield from input_texts(choice["inputs"], f"{name}_")


def flat(texts: Texts, path: str = "") -> dict[str, str]:
    """Texts by their whole keys."""
    found = {}
    for key, value in texts.items():
        whole = f"{path}.{key}" if path else key
        found |= flat(value, whole) if isinstance(value, dict) else {whole: value}
    return found


def spelled_out(texts: Texts) -> Texts:
    """Texts without those that the page would misread; it shows the schema's own for them."""
    return {
        key: spelled_out(value) if isinstance(value, dict) else value
        for key, value in texts.items()
        if isinstance(value, dict) or not misread(value)
    }


def misread(text: str) -> bool:
    """Whether the page would take a part of a text for its own language."""
    return any(sign in text for sign in SYNTAX)


def complaints(texts: Texts, translated: Texts) -> list[str]:
    """What a translation lacks, has too much, or must not say."""
    wanted, found = flat(texts), flat(translated)
    return [
        *(f"{key} is missing: {wanted[key]!r}" for key in wanted if key not in found),
        *(f"{key} is of no node" for key in found if key not in wanted),
        *(f"{key} has one of {SYNTAX}: {text!r}" for key, text in found.items() if misread(text)),
    ]


def help_page(language: str, node: str, texts: Texts) -> str:
    """A help page with the images of the English one, and a line for each input and output that
    has a tooltip.
    """
    name = texts["display_name"]
    lines = [f"# {name}", "", texts["description"]]
    english = (HELP / node / "en.md").read_text(encoding="utf-8")
    for image in IMAGE.findall(english):
        lines += ["", f"![{name}]({image})"]
    for part, title in HEADINGS[language].items():
        rows = [(text["name"], text.get("tooltip")) for text in texts[part].values()]
        table = [f"| {name} | {tip} |" for name, tip in rows if tip]
        lines += ["", f"## {title}", "", f"| {title} | |", "|---|---|", *table]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
