"""The papers say what is: links lead somewhere, commands and paths exist, names are right."""

import ast
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from peers import scripts

HELP = Path("web/docs")
REPO = Path(__file__).resolve().parents[2]
MOST_WORDS = 1200  # of the README, counted as `wc -w` does: all that stands between blanks
LANGUAGES = ("sh", "text", "python")
PROGRAMS = ("cd", "git", "pip", "ruff", "pyright")  # whose options are not ours to check
FOREIGN = ("textual_inversion.py", "train_textual_inversion.py", "app.js", "api.js")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
HOMES = r"/(?:home|Users|root|work|tmp|mnt|opt|srv)/\S*|[A-Z]:\\Users\S*"
MACHINE = re.compile(rf"(?<![\w./])(?:{HOMES})")
NODE_ROW = re.compile(r"^\| \*\*(.+?)\*\* \|", re.MULTILINE)
MESSAGE_ROW = re.compile(r"^\| `(.+?)` \|", re.MULTILINE)
VALUE = "\0"  # stands for what an f-string puts in


class Paper(NamedTuple):
    """A page of the repository: its place, and what it says."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        return FENCED.sub("", self.text)

    @property
    def commands(self) -> list[str]:
        """Lines of its shell blocks, and code spans that call Python."""
        blocks = [body for language, body in FENCED.findall(self.text) if language == "sh"]
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        spans = [span for span in SPAN.findall(self.prose) if span.startswith("python ")]
        return [line for line in (*lines, *spans) if line.strip()]


@cache
def tracked() -> frozenset[str]:
    """Every file of the repository, without those that are about to be removed."""
    listed = subprocess.check_output(("git", "ls-files"), cwd=REPO, text=True).splitlines()
    return frozenset(name for name in listed if (REPO / name).is_file())


@cache
def read(name: str) -> str:
    """A text file of the repository."""
    return (REPO / name).read_text(encoding="utf-8")


def sources(*folders: str) -> list[str]:
    """The Python files below some folders."""
    return sorted(name for name in tracked() if name.endswith(".py") and name.startswith(folders))


PAPERS = [Paper(Path(name), read(name)) for name in sorted(tracked()) if name.endswith(".md")]
README = read("README.md")


# What can be wrong with a page


def dead_links(paper: Paper) -> list[str]:
    """Links and images that lead to no file, or to no heading of it."""
    targets = LINK.findall(SPAN.sub("", paper.prose))
    return [target for target in targets if "://" not in target and not leads(paper, target)]


def leads(paper: Paper, target: str) -> bool:
    """Whether a relative link leads to a file of the repository, and to a heading if it names
    one.
    """
    name, _, heading = target.partition("#")
    if not name:
        return heading in headings(paper.text)
    file = (REPO / links_from(paper.path) / name).resolve()
    if not file.is_relative_to(REPO) or file.relative_to(REPO).as_posix() not in tracked():
        return False
    return not heading or heading in headings(file.read_text(encoding="utf-8"))


def links_from(page: Path) -> Path:
    """The folder that relative links of a page begin at: for help pages that of them all, as the
    host's page takes it (frontend getNodeHelpBaseUrl).
    """
    return HELP if page.is_relative_to(HELP) else page.parent


def headings(text: str) -> set[str]:
    """The names under which the headings of a page are linked to, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in plain}


def missing_paths(paper: Paper) -> list[str]:
    """Files and folders of ours that a code span names and that are not there."""
    return [span for span in SPAN.findall(paper.prose) if is_ours(span) and not exists(span)]


def is_ours(span: str) -> bool:
    """Whether a span names a place of this repository: it begins with one of its folders, or is
    the name of a source file.
    """
    if re.search(r"[<>*{}()\s:]|\.\.\.", span) or span in FOREIGN:
        return False
    folders = {name.split("/")[0] for name in tracked() if "/" in name}
    return span.split("/")[0] in folders if "/" in span else span.endswith((".py", ".md", ".js"))


def exists(span: str) -> bool:
    """Whether a place is there; a bare name is that of any file."""
    if "/" not in span:
        return any(Path(name).name == span for name in tracked())
    return any(name == span or name.startswith(f"{span.rstrip('/')}/") for name in tracked())


def wrong_commands(paper: Paper) -> list[str]:
    """Commands that cannot be run as they are written, with the reason."""
    found = ((line, reason(shlex.split(line))) for line in paper.commands)
    return [f"{line}: {why}" for line, why in found if why]


def reason(words: list[str]) -> str:
    """Why a command cannot be run, as far as reading it tells; nothing if it can."""
    program, *rest = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if program != "python":
        return "" if program in PROGRAMS else f"{program} is no command that we know"
    script = rest[0] if rest[0] != "-m" else f"{rest[1].replace('.', '/')}.py"
    if script not in tracked():
        return f"there is no {script}"
    end = rest.index("--") if "--" in rest else len(rest)
    given = [word for word in rest[1:end] if word.startswith("-")]
    if unknown := [word for word in given if word not in options(script)]:
        return f"{script} has no {', '.join(unknown)}"
    chosen = rest[rest.index("-k", end) + 1] if "-k" in rest[end:] else "test_"
    return "" if is_tested(chosen) else f"no test is called {chosen}"


@cache
def options(script: str) -> frozenset[str]:
    """The options that a script declares."""
    calls = [node for node in ast.walk(ast.parse(read(script))) if isinstance(node, ast.Call)]
    declared = [call for call in calls if ast.unparse(call.func).endswith(".add_argument")]
    return frozenset(name for call in declared for one in call.args for name in option_names(one))


def option_names(argument: ast.expr) -> list[str]:
    """What an argument of `add_argument` calls the option; one that is put together is made of the
    names of other trainers' scripts (benchmarks/learning.py).
    """
    if isinstance(argument, ast.JoinedStr):
        return [f"--{script.name}" for script in scripts.ALL]
    value = argument.value if isinstance(argument, ast.Constant) else ""
    return [value] if isinstance(value, str) and value.startswith("-") else []


def is_tested(part: str) -> bool:
    """Whether the name of a test, or of its file, has this part, as pytest's -k looks for it."""
    files = [name for name in sources("tests/") if Path(name).name.startswith("test_")]
    return any(part in name for name in files) or any(part in name for name in named_tests())


@cache
def named_tests() -> frozenset[str]:
    """The names of all tests."""
    return frozenset(
        found
        for name in sources("tests/")
        for found in re.findall(r"^(?:async )?def (test_\w+)", read(name), re.MULTILINE)
    )


def machine_paths(paper: Paper) -> list[str]:
    """Absolute paths that can only be there on somebody's machine."""
    return MACHINE.findall(paper.text)


def unmarked_blocks(paper: Paper) -> list[str]:
    """Fenced blocks that do not say what they are: a shell's, and so checked, or text. The help of
    a node shows examples of captions.
    """
    if paper.path.parts[0] == "web":
        return []
    return [body for language, body in FENCED.findall(paper.text) if language not in LANGUAGES]


# What the code says


def texts(*folders: str) -> Iterator[str]:
    """Every text in the code of some folders, with a mark where a value is put in."""
    for name in sources(*folders):
        for node in ast.walk(ast.parse(read(name))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    one.value if isinstance(one, ast.Constant) else VALUE for one in node.values
                ]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def in_order(parts: list[str], text: str) -> bool:
    """Whether a text has all parts, one behind the other."""
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def display_names() -> Iterator[str]:
    """What the nodes are called on the page."""
    for name in sources("nodes/"):
        for node in ast.walk(ast.parse(read(name))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "io.Schema":
                given = {one.arg: one.value for one in node.keywords}
                yield ast.literal_eval(given["display_name"])


# The tests


def faults(finder: Callable[[Paper], list[str]]) -> dict[str, list[str]]:
    """What a finder finds, by page."""
    return {str(paper.path): found for paper in PAPERS if (found := finder(paper))}


def test_every_link_leads_somewhere() -> None:
    assert faults(dead_links) == {}


def test_every_path_that_is_named_exists() -> None:
    assert faults(missing_paths) == {}


def test_every_command_can_be_run_as_it_is_written() -> None:
    assert faults(wrong_commands) == {}


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    assert faults(machine_paths) == {}


def test_every_block_says_what_it_is() -> None:
    assert faults(unmarked_blocks) == {}


FALSE = Paper(
    Path("docs/false.md"),
    """# False

[a](gone.md) [b](#false) [c](#true) ![d](gone.png) [e](speed.md#speed) [f](speed.md#no)
`ti_core/gone.py`, `gone.py`, `ti_core/draws.py`, `python scripts/gone.py`, /home/me/cat,
`python scripts/demo.py --window`, `python scripts/test.py unit -- -k nothing_of_the_kind`

```sh
rm -r docs
COMFYUI_PATH=... python benchmarks/learning.py --quick \\
    --kohya DIR --diffuser DIR
```

```
what?
```
""",
)


def test_what_is_wrong_is_found() -> None:
    assert dead_links(FALSE) == ["gone.md", "#true", "gone.png", "speed.md#no"]
    assert missing_paths(FALSE) == ["ti_core/gone.py", "gone.py"]
    assert [line.rpartition(": ")[2] for line in wrong_commands(FALSE)] == [
        "rm is no command that we know",
        "benchmarks/learning.py has no --diffuser",
        "there is no scripts/gone.py",
        "scripts/demo.py has no --window",
        "no test is called nothing_of_the_kind",
    ]
    assert machine_paths(FALSE) == ["/home/me/cat,"]
    assert unmarked_blocks(FALSE) == ["what?\n"]


QUOTED = {
    "docs/memory.md": ("activations",),
    "docs/noise-levels.md": (
        *("noise-levels", "anytime-flowworld", "noise-levels/flowworld-uniform"),
    ),
    "docs/learning.md": (
        *("anytime-toyworld", "anytime-flowworld", "anytime-otherworld"),
        *("anytime-toyworld-kohya-0.001", "anytime-toyworld-diffusers-0.0005"),
        *("noise-toyworld", "flowworld/turbo"),
    ),
}


def table_rows(text: str) -> set[tuple[str, ...]]:
    """The rows of the tables on a page, as their cells."""
    lines = (line for line in text.replace("\\*", "*").splitlines() if line.startswith("| "))
    return {tuple(cell.strip() for cell in line.strip("| ").split("|")) for line in lines}


def test_figures_that_pages_quote_are_those_that_their_commands_wrote() -> None:
    """A row is one of the results if it is named and as wide as one of those."""
    for page, names in QUOTED.items():
        written = set().union(*(table_rows(read(f"benchmarks/results/{n}.md")) for n in names))
        kinds = {(row[0], len(row)) for row in written}
        quoted = {row for row in table_rows(read(page)) if (row[0], len(row)) in kinds}
        assert len(quoted) > 5
        assert quoted <= written, (page, quoted - written)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_the_readme_leads_to_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall(README)}
    pages = {str(paper.path) for paper in PAPERS if str(paper.path.parent) in (".", "docs")}
    assert pages - linked == {"README.md"}


def test_the_readmes_table_has_every_node_and_no_other() -> None:
    assert set(NODE_ROW.findall(README)) == set(display_names())


def test_every_test_that_a_page_names_exists() -> None:
    named = {span for paper in PAPERS for span in SPAN.findall(paper.text)}
    named = {span for span in named if re.fullmatch(r"test_\w+", span)}
    assert named
    assert named - named_tests() == set()


def test_every_message_that_is_explained_is_one_that_the_code_says() -> None:
    said = list(texts("nodes/", "ti_core/"))
    quoted = [row.split("...") for row in MESSAGE_ROW.findall(read("docs/messages.md"))]
    assert quoted
    for parts in quoted:
        found = [text for text in said if in_order([part.strip() for part in parts], text)]
        assert found, "...".join(parts)


def test_the_examples_of_style_stand_in_the_code() -> None:
    code = [" ".join(read(name).split()) for name in sources("nodes/", "ti_core/")]
    blocks = FENCED.findall(read("CONTRIBUTING.md"))
    examples = [" ".join(body.split()) for language, body in blocks if language == "python"]
    assert examples
    for example in examples:
        assert any(example in text for text in code), example
