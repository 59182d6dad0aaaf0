"""Texts for users are in plain English: words that were replaced do not come back."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
# Each with what to write instead. Whole words, in any case.
REPLACED = {
    r"initialisers?": "init word; initializer in code",
    r"colours?|grey|centre|behaviour|optimis\w+|normalis\w+": "American spelling",
    r"anew": "again",
    r"(?:is|are) told": "you see, you are warned, gets",
    r"(?:does not|do not) hear|hears|deaf": "gets no gradient; uses",
    r"takes? part in": "applies during",
    r"explains? [^.]{0,40}(?:more|less)": "validation loss ... % below",
    r"in vain": "has no effect",
    r"says? the word": "contains the word",
    r"wording": "caption settings",
    r"(?:a|the|per|each|every) rounds?(?! trip)": "epoch",
    r"of it alone": "alone",
    r"the placeholder is missing": "the trigger word is missing",
    r"learned alike": "trained the same way",
    r"a thing or a style|one thing or style": "a subject or a style",
}
PATTERN = re.compile(rf"\b(?:{'|'.join(REPLACED)})\b", re.IGNORECASE)
QUOTED = re.compile(r"`[^`]*`")  # names of code on pages
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "web/docs/*/en.md"]


def pages() -> Iterator[tuple[str, str]]:
    """Prose of every page for users, by its place."""
    for pattern in PAGES:
        for path in sorted(REPO.glob(pattern)):
            if path.name != "architecture.md":
                yield path.name, QUOTED.sub("", path.read_text(encoding="utf-8"))


def messages() -> Iterator[tuple[str, str]]:
    """Every text of three words or more in the code that is no docstring."""
    for room in ("ti_core", "nodes"):
        for path in sorted((REPO / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            documents = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    if id(node) not in documents and len(node.value.split()) > 2:
                        yield f"{path.name}:{node.lineno}", node.value


def node_texts() -> Iterator[tuple[str, str]]:
    """What the page shows of the nodes."""
    whole = json.loads((REPO / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))
    for name, node in whole.items():
        yield name, json.dumps(node, ensure_ascii=False)


def page_texts() -> Iterator[tuple[str, str]]:
    """What the monitor and the other parts of the page say."""
    text = (REPO / "web/texts/en.js").read_text(encoding="utf-8")
    yield "en.js", "\n".join(line for line in text.splitlines() if "//" not in line)


@pytest.mark.parametrize("texts", [pages, messages, node_texts, page_texts])
def test_no_word_that_was_replaced_comes_back(texts) -> None:  # noqa: ANN001
    found = [
        f"{place}: {match[0]!r}" for place, text in texts() for match in PATTERN.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize("texts", [pages, messages, node_texts, page_texts])
def test_there_are_texts_to_look_at(texts) -> None:  # noqa: ANN001
    assert sum(len(text) for _, text in texts()) > 1000


def test_the_list_finds_what_it_is_for() -> None:
    for text in (
        "a word that no prompt says is told",
        "The model does not hear clip_l vector 2",
        "my-cat explains 30 % more than 'cat'",
        "The initialiser is empty",
        "each round of five steps",
    ):
        assert PATTERN.search(text), text
