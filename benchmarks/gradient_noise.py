"""Where does the noise of a step come from, and which way of taking gradients bears it best?

    COMFYUI_PATH=... python benchmarks/gradient_noise.py [--world NAME] [--things N]

Gradients of single samples along the sphere, at the initializer of a word and after some steps of
its training. *Merit* of a way to take them is the squared mean along the true gradient beside the
mean square: how much one sample tells. The true gradient is the mean of one half of the samples for
the other half. Prints a table for gradients as they are, bounded at their median length, and by
direction alone; and, by tenths of the schedule, their root mean square and the length of their
mean. Writes noise-WORLD.md into `--out`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

from examination import PLACEHOLDER, Exam, Models  # noqa: E402, I001 (finds the host)
import torch  # noqa: E402
from learning import half_of  # noqa: E402
from torch import Tensor  # noqa: E402
from trainers import Subject, node_inputs, settings  # noqa: E402

from ti_core.host.models.borrow import BorrowSettings, borrowed  # noqa: E402
from ti_core.host.models.encode import encode_images  # noqa: E402
from ti_core.host.models.text import create_embedding  # noqa: E402
from ti_core.training.batches import Batches  # noqa: E402
from ti_core.training.latents import shape_of  # noqa: E402
from ti_core.training.loop import gradient, train  # noqa: E402
from ti_core.training.optimizers import make_optimizer  # noqa: E402
from toyworld import assembly, gate  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

TENTHS = 10
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda found: found,
    "bounded at the median": lambda found: found * (middle(found) / lengths(found)).clamp(max=1.0),
    "direction alone": lambda found: found / lengths(found),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--world", choices=WORLDS, default="toyworld")
    parser.add_argument("--files", type=Path, help="of its model; assembled if not given")
    parser.add_argument("--things", type=int, default=3)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--after", type=int, default=40, help="steps")
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results")
    chosen = parser.parse_args()
    world, merits, levels = WORLDS[chosen.world], [], []
    with torch.inference_mode():  # As the host runs its nodes.
        models = Models(*gate.loaded(chosen.files or assembly.assembled(chosen.world)))
        for _, thing in half_of(world.held_out, "tune", chosen.things):
            exam = Exam(models, world, thing, ())
            for moment, found, places in sampled(exam, chosen.samples, chosen.after):
                name = f"{exam.name}, {moment}"
                merits.append([name, *(merit(found, way(found)) for way in WAYS.values())])
                levels.append([name, *by_tenths(found, places)])
                print(merits[-1], flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = f"{chosen.samples} samples each.\n\n{tables(merits, levels)}"
    (chosen.out / f"noise-{chosen.world}.md").write_text(text)
    print(text)


def sampled(exam: Exam, samples: int, after: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Gradients `[n, dim]` of single samples along the sphere, and their places in the schedule in
    0..1: at the initializer, and after some steps.
    """
    model, clip, vae = exam.models
    images, inputs = Subject(exam, 0).images, node_inputs({"auto_stop": "False"})
    latents = encode_images(vae, model.model.latent_format, images.crops)
    word, chosen = create_embedding(clip, PLACEHOLDER, exam.initializer, 1), settings(inputs, 0)
    with (
        torch.inference_mode(False),
        borrowed(model, clip, word, shape_of(latents[0]), BorrowSettings(1)) as frozen,
    ):
        run = train(frozen, images, latents, word, chosen)
        for moment, step in (("initializer", 0), (f"after {after} steps", after)):
            state = next(state for state in run if state.step == step)
            other = settings(inputs, 1)  # Draws of its own.
            found, places = [], []
            for batch in islice(Batches(frozen, images, latents, PLACEHOLDER, other), samples):
                live = make_optimizer(other.method, state.mean, frozen.vocabulary_norms).vectors
                gradient(frozen, live, [batch], 1.0)
                found.append(along_sphere(live))
                places.append(float(batch.positions[0]) / len(frozen.sigmas))
            yield moment, torch.stack(found), torch.tensor(places)


def along_sphere(live: dict[str, Any]) -> Tensor:
    """The gradient `[dim]` of the only vector of the only encoder, without its part along it."""
    ((rows),) = live.values()
    direction = rows.detach()[0] / rows.detach()[0].norm()
    return rows.grad[0] - (rows.grad[0] @ direction) * direction


def lengths(found: Tensor) -> Tensor:
    return found.norm(dim=-1, keepdim=True)


def middle(found: Tensor) -> Tensor:
    return lengths(found).median()


def merit(found: Tensor, taken: Tensor) -> float:
    """The squared mean of gradients `[n, dim]`, in the way that they are taken, along the true one,
    beside their mean square.
    """
    true = [half.mean(0) / half.mean(0).norm() for half in reversed(found.tensor_split(2))]
    halves = zip(taken.tensor_split(2), true, strict=True)
    along = fmean(float((half @ one).mean()) for half, one in halves)
    return along * abs(along) / float(taken.square().sum(-1).mean())


def by_tenths(found: Tensor, places: Tensor) -> list[str]:
    """Root mean square and length of the mean, relative to the whole root mean square."""
    whole = float(found.square().sum(-1).mean().sqrt())
    cells = []
    for tenth in range(TENTHS):
        some = found[(places * TENTHS).long() == tenth]
        spread = float(some.square().sum(-1).mean().sqrt()) / whole
        cells.append(f"{spread:.2f} ({float(some.mean(0).norm()) / whole:.2f})")
    return cells


def tables(merits: list[list[Any]], levels: list[list[Any]]) -> str:
    """Both tables, in Markdown."""
    lines = [f"| merit | {' | '.join(WAYS)} |", "|---" * (len(WAYS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{one:.4f}' for one in some)} |" for name, *some in merits]
    means = [fmean(row[place + 1] for row in merits) for place in range(len(WAYS))]
    lines += [f"| mean | {' | '.join(f'{one:.4f}' for one in means)} |", ""]
    lines += ["By tenths of the schedule, from the least noise: size (length of the mean).", ""]
    lines += [f"| | {' | '.join(map(str, range(TENTHS)))} |", "|---" * (TENTHS + 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in levels)]) + "\n"


if __name__ == "__main__":
    main()
