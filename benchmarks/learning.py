"""How well, and how fast, is a word learned? Ours against the trainers that people use.

    COMFYUI_PATH=... python benchmarks/learning.py [--world NAME] [--quick] [--diffusers DIR]
        [--kohya DIR]

Words for things of a small world that its model never saw: learned from 5 images, judged on 20
fresh ones and by what they draw. Ours runs with the defaults of its nodes, the scripts of other
trainers with what their documentation says, in the environment that their checkout has in `venv`,
or else in this one; they read toyworld and otherworld only. `--half tune` is the half of the things
to choose defaults on (with `--set`), the other one is to be reported. Runs of the scripts are kept
in .cache/learning/ and not repeated; `--add` takes words over from earlier results, which are not
learned again, so that a table can grow from day to day. Writes learning.json, .md and .png into
benchmarks/results (of another world than toyworld into its folder there); with `--quick`, `--set`
or `--half tune` into .cache/learning/.
"""

import argparse
import hashlib
import platform
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, product
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

import examination  # noqa: E402  (first of all that imports the host)
import torch  # noqa: E402
from examination import PLACEHOLDER, Exam, Judged, Models, Spoken  # noqa: E402
from learning_report import Key, Row, joined, write  # noqa: E402
from peers import scripts  # noqa: E402
from torch import Tensor  # noqa: E402
from trainers import OURS, Optimizer, Point, Subject, converted, our_methods, peer_methods  # noqa: E402

from toyworld import assembly, gate  # noqa: E402
from toyworld.world import Thing, World  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

WORK = REPO / ".cache" / "learning"
KINDS = ("compositions", "nameless")


def main() -> None:
    chosen = arguments()
    with torch.inference_mode():  # As the host runs its nodes.
        models = Models(*gate.loaded(chosen.files))
        methods = dict(our_methods(models, chosen))
        peers = [
            (one, getattr(chosen, one.name)) for one in scripts.ALL if getattr(chosen, one.name)
        ]
        if peers:
            folder = converted(models, chosen.files, WORK / sha(chosen.files))
            for script, checkout in peers:
                methods |= peer_methods(script, checkout, folder, chosen)
        rows = joined(chosen.add, setting(chosen))
        write(rows, chosen.out, setting(chosen))
        for row in examined(models, methods, chosen, {row.key for row in rows}):
            rows.append(row)
            print(row.line(), flush=True)
            write(rows, chosen.out, setting(chosen))
    print((chosen.out / "learning.md").read_text())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 things, 1 seed, fewer prompts")
    parser.add_argument("--world", choices=WORLDS, default="toyworld")
    parser.add_argument("--files", type=Path, help="of its model; assembled if not given")
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=99, help="at most so many of each kind")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", choices=OURS, help="of ours; all by default")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="INPUT=VALUE",
        type=pair,
        help="of our nodes; those of Crop & Buckets with fit. before their names",
    )
    for script in scripts.ALL:
        help = f"of {script.name}'s source, to run its script too"
        parser.add_argument(f"--{script.name}", type=Path, metavar="CHECKOUT", help=help)
    parser.add_argument("--peer-steps", type=int, help="those of its documentation by default")
    parser.add_argument("--peer-things", type=int, default=99, help="at most so many of each kind")
    parser.add_argument("--peer-seeds", type=int, default=1)
    parser.add_argument(
        "--peer-rates",
        type=float,
        nargs="*",
        help="learning rates before the script's own scaling; that of its documentation by default",
    )
    parser.add_argument("--add", nargs="*", type=Path, default=[], help="results of this same code")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.things, chosen.seeds, chosen.kinds = min(3, chosen.things), 1, ["compositions"]
    if chosen.methods is None:
        chosen.methods = ["ours"] if chosen.quick else OURS
    trial = chosen.quick or chosen.set or chosen.half == "tune"
    results = REPO / "benchmarks" / "results"
    own = results if chosen.world == "toyworld" else results / chosen.world
    chosen.out = chosen.out or (WORK if trial else own)
    chosen.files = chosen.files or assembly.assembled(chosen.world)
    return chosen


def pair(text: str) -> tuple[str, str]:
    """`name=value`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form steps=200")
    return name, value


def sha(files: Path) -> str:
    """The beginning of the SHA-256 of a file, or of those in a folder."""
    found = hashlib.sha256()
    for file in sorted(files.iterdir()) if files.is_dir() else [files]:
        found.update(file.read_bytes())
    return found.hexdigest()[:8]


# The examination


def things_of(world: World, kind: str) -> Sequence[Thing]:
    """The compositions that a model never saw, or the looks without a word."""
    return world.held_out if kind == "compositions" else world.nameless


def half_of(things: Sequence[Thing], half: str, most: int) -> Iterator[tuple[int, Thing]]:
    """The half to tune on, or the one to report, numbered."""
    first = 0 if half == "tune" else 1
    return enumerate(things[first::2][:most])


def examined(
    models: Models,
    methods: Mapping[str, Optimizer],
    chosen: argparse.Namespace,
    known: Collection[Key],
) -> Iterator[Row]:
    """Each thing's initializer and true description, then its word by each seed and method; what is
    known already is left out.
    """
    world = WORLDS[chosen.world]
    asked = examination.questions(world, 4 if chosen.quick else 8, not chosen.quick)
    chosen_things = (
        half_of(things_of(world, kind), chosen.half, chosen.things) for kind in chosen.kinds
    )
    for number, thing in chain.from_iterable(chosen_things):
        exam = Exam(models, world, thing, asked)
        for name, words in (("initializer", exam.initializer), ("truth", exam.truth)):
            if words and (exam.name, 0, name) not in known:
                yield row(Subject(exam, 0), name, [], exam.mark(Spoken(words)))
        for seed, (name, method) in product(range(chosen.seeds), methods.items()):
            wanted = number < chosen.peer_things and seed < chosen.peer_seeds
            if (name in OURS or wanted) and (exam.name, seed, name) not in known:
                points = method(Subject(exam, seed))
                judged = exam.mark(Spoken(PLACEHOLDER, points[-1].vectors))
                yield row(Subject(exam, seed), name, points, judged)


def row(subject: Subject, method: str, points: Sequence[Point], judged: Judged) -> Row:
    """What is known of one word; the curve without its last point is measured here."""
    exam = subject.exam
    losses = exam.losses([Spoken(PLACEHOLDER, one.vectors) for one in points[:-1]])
    return Row(
        thing=exam.name,
        seed=subject.seed,
        method=method,
        marks=judged.marks,
        steps=points[-1].step if points else 0,
        seconds=points[-1].seconds if points else 0.0,
        norm=mean_norm(points[-1].vectors) if points else None,
        curve=[
            (one.step, one.seconds, loss)
            for one, loss in zip(points, [*losses, judged.marks.loss], strict=False)
        ],
        shown=examination.as_image(subject.images.crops[0]),
        alone=judged.alone,
        edited=judged.edited,
    )


def mean_norm(vectors: Mapping[str, Tensor]) -> float:
    """How long a word's vectors are."""
    return float(torch.cat([one.norm(dim=-1) for one in vectors.values()]).mean())


def setting(chosen: argparse.Namespace) -> dict[str, object]:
    """What the figures hold for."""
    import comfyui_version

    processor = f"CPU, {torch.get_num_threads()} threads"
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor,
        "system": f"{platform.system()} {platform.machine()}",
        "torch": str(torch.__version__),
        "comfyui": comfyui_version.__version__,
        "half": chosen.half,
        "set": dict(chosen.set),
        "quick": chosen.quick,
        "world": chosen.world,
        "checkpoint": sha(chosen.files),
    }


if __name__ == "__main__":
    main()
