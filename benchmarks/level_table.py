"""Which noise levels do families train on, beside what other trainers publish?

    COMFYUI_PATH=... python benchmarks/level_table.py

Ours is what `usual_levels` makes of the host's own schedules, the others' is what their documents
and presets say (as of the commits that are named), in closed form. Writes
benchmarks/results/noise-levels.md, and the image of the help page.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(REPO)]
from comfy.cli_args import args as host_arguments  # noqa: E402

host_arguments.cpu = True

import comfy.supported_models as families  # noqa: E402
import torch  # noqa: E402
from comfy.model_base import ModelType, model_sampling  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from torch import Tensor  # noqa: E402

from ti_core.host.models.usual_levels import usual_levels  # noqa: E402
from ti_core.training.noise_levels import NoiseLevels, quantiles  # noqa: E402

KOHYA, ONE_TRAINER, MUSUBI = "kohya 48d368f", "OneTrainer 23df383", "musubi-tuner 30c658c"
BOUNDS = ((0.0, 0.3), (0.3, 0.8), (0.9, 1.0))  # of sigma, as the columns name them
DRAWN = 20_000  # quantiles
TABLE = REPO / "benchmarks" / "results" / "noise-levels.md"
IMAGE = REPO / "web" / "docs" / "noise-levels.png"


class Rule(NamedTuple):
    """A row: model, whose rule, what it says, and the noise levels at shares `[n]`."""

    model: str
    whose: str
    said: str
    sigmas: Callable[[Tensor], Tensor]


def ours(family: type, side: int, kind: ModelType = ModelType.FLOW) -> Callable[[Tensor], Tensor]:
    """What the host's schedule of a family gives for square images, without any weights."""
    config: Any = family({})
    schedule: Any = model_sampling(config, kind)
    patcher: Any = SimpleNamespace(
        model=SimpleNamespace(model_config=config),
        object_patches={},
        get_model_object=lambda name: schedule,
    )
    levels = usual_levels(patcher, (16, side // 8, side // 8))
    return lambda shares: schedule.sigmas[levels.positions(shares, len(schedule.sigmas))].double()


def logit_normal(shift: float = 1.0) -> Callable[[Tensor], Tensor]:
    """The sigmoid of a normal number, through a shift."""
    return lambda shares: NoiseLevels("logit-normal", math.log(shift)).places(shares)


def uniform(shift: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Every place alike, through a shift."""
    return lambda shares: shift * shares / (1 + (shift - 1) * shares)


def parabola(weight: float) -> Callable[[Tensor], Tensor]:
    """OneTrainer's inverted parabola, max(0, 2 - weight (t - 1/2)^2), by its cumulative sum."""

    def sigmas(shares: Tensor) -> Tensor:
        places = quantiles(DRAWN)
        whole = (2 - weight * (places - 0.5) ** 2).clamp_min(0).cumsum(0)
        return places[torch.searchsorted(whole / whole[-1], shares).clamp_max(DRAWN - 1)]

    return sigmas


FLUX_512 = math.exp(0.5 + (1.15 - 0.5) * (1024 - 256) / (4096 - 256))
RULES = [
    Rule("SD 3", "ours", "logit-normal, shift 3", ours(families.SD3, 1024)),
    Rule("SD 3", "its paper", "logit-normal, shift 3", logit_normal(3.0)),
    Rule("SD 3", KOHYA, "uniform, shift 1", uniform()),
    Rule("SD 3", ONE_TRAINER, "logit-normal", logit_normal()),
    Rule("Flux dev, 1024", "ours", "by size", ours(families.Flux, 1024, ModelType.FLUX)),
    Rule("Flux dev, 1024", KOHYA, "logit-normal, shift 3.1582", logit_normal(3.1582)),
    Rule("Flux dev, 1024", ONE_TRAINER, "logit-normal, by size", logit_normal(math.exp(1.15))),
    Rule("Flux dev, 512", "ours", "by size", ours(families.Flux, 512, ModelType.FLUX)),
    Rule("Flux dev, 512", KOHYA, "logit-normal, flux_shift", logit_normal(FLUX_512)),
    Rule("Flux schnell", "ours", "logit-normal, shift 1", ours(families.FluxSchnell, 1024)),
    Rule("Chroma", "ours", "logit-normal, shift 1", ours(families.Chroma, 1024, ModelType.FLUX)),
    Rule("Chroma", KOHYA, "sigmoid", logit_normal()),
    Rule("Chroma", ONE_TRAINER, "inverted parabola, 7.7", parabola(7.7)),
    Rule("Lumina 2", "ours", "logit-normal, shift 6", ours(families.Lumina2, 1024)),
    Rule("Lumina 2", KOHYA, "logit-normal, shift 6", logit_normal(6.0)),
    Rule("Anima", "ours", "logit-normal, shift 1", ours(families.Anima, 1024)),
    Rule("Anima", KOHYA, "sigmoid", logit_normal()),
    Rule("Anima", ONE_TRAINER, "logit-normal", logit_normal()),
    Rule("Qwen-Image", "ours", "shift 2.2", ours(families.QwenImage, 1024, ModelType.FLUX)),
    Rule("Qwen-Image", MUSUBI, "logit-normal, shift 2.2", logit_normal(2.2)),
    Rule("Qwen-Image", ONE_TRAINER, "logit-normal", logit_normal()),
    Rule("Z-Image", "ours", "logit-normal, shift 2", ours(families.ZImage, 1024)),
    Rule("Z-Image", MUSUBI, "logit-normal, shift 2", logit_normal(2.0)),
    Rule("Z-Image", ONE_TRAINER, "logit-normal", logit_normal()),
    Rule("Wan 2.1", "ours", "logit-normal, shift 3", ours(families.WAN21_T2V, 512)),
    Rule("Wan 2.1", MUSUBI, "logit-normal, shift 3", logit_normal(3.0)),
]


def main() -> None:
    TABLE.write_text(table(RULES))
    chart().save(IMAGE)
    print(TABLE.read_text())


def table(rules: Sequence[Rule]) -> str:
    """How often each rule draws which noise levels."""
    lines = [
        "| Model | Whose | What | sigma below 0.3 | 0.3 to 0.8 | above 0.9 |",
        "|---|---|---|---|---|---|",
    ]
    for rule in rules:
        sigmas = rule.sigmas(quantiles(DRAWN))
        shares = [((sigmas >= low) & (sigmas < high)).double().mean() for low, high in BOUNDS]
        shares[-1] = (sigmas > BOUNDS[-1][0]).double().mean()
        cells = " | ".join(f"{100 * float(share):.0f} %" for share in shares)
        lines.append(f"| {rule.model} | {rule.whose} | {rule.said} | {cells} |")
    return "\n".join(lines) + "\n"


# The image

WIDTH, HEIGHT, EDGE, LARGER = 440, 280, 40, 2
COLORS = ("#888888", "#d1495b", "#00798c", "#edae49", "#30638e")


def chart() -> Image.Image:
    """Densities: of the noise level in flow models, and of the place in the schedule in others."""
    flows = {
        "uniform, as SD 3 samples": uniform(3.0),
        "SD 3": ours(families.SD3, 1024),
        "Flux, 1024 pixels": ours(families.Flux, 1024, ModelType.FLUX),
        "Flux, 512 pixels": ours(families.Flux, 512, ModelType.FLUX),
        "Flux schnell, Chroma": logit_normal(),
    }
    flows = {name: smooth(name, rule) for name, rule in flows.items()}
    places = {
        "auto (uniform)": NoiseLevels().places,
        "logit-normal": NoiseLevels("logit-normal").places,
        "from 0.3 to 0.8": NoiseLevels(start=0.3, end=0.8).places,
    }
    both = [
        panel("Flow models, auto: noise level (sigma)", flows),
        panel("SD, SDXL: place in the schedule", places),
    ]
    whole = Image.new("RGB", (2 * WIDTH * LARGER, HEIGHT * LARGER), "white")
    for number, drawn in enumerate(both):
        whole.paste(drawn, (number * WIDTH * LARGER, 0))
    return whole.resize((2 * WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def smooth(name: str, rule: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A rule without the steps of the host's table: the logit-normal of the same middle."""
    if not name.startswith(("SD 3", "Flux,")):
        return rule
    middle = float(rule(torch.tensor([0.5], dtype=torch.double)))
    return logit_normal(middle / (1 - middle))


def panel(title: str, rules: dict[str, Callable[[Tensor], Tensor]]) -> Image.Image:
    """Densities over 0..1, with their names."""
    scale = LARGER
    drawn = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), "white")
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(12 * scale)
    base, top, left = (HEIGHT - EDGE) * scale, EDGE * scale, EDGE * scale
    across = (WIDTH - 2 * EDGE) * scale
    shares = torch.linspace(0.0005, 0.9995, 2000, dtype=torch.double)
    curves = {name: rule(shares) for name, rule in rules.items()}
    heights = {name: shares.diff() / places.diff() for name, places in curves.items()}
    most = max(float(height.max()) for height in heights.values())
    draw.text((left, 10 * scale), title, "black", font=font)
    draw.line([(left, base), (left + across, base)], "black", scale)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = left + tick * across
        draw.line([(at, base), (at, base + 4 * scale)], "black", scale)
        draw.text((at, base + 6 * scale), f"{tick:g}", "black", font=font, anchor="ma")
    for number, (name, places) in enumerate(curves.items()):
        middles = (places[1:] + places[:-1]) / 2
        points = [
            (left + float(x) * across, base - float(y) / most * (base - top))
            for x, y in zip(middles, heights[name], strict=True)
        ]
        ends = [(points[0][0], base), *points, (points[-1][0], base)]
        draw.line(ends, COLORS[number], 2 * scale)
        row = (top + (2 + 16 * number) * scale) if len(curves) > 3 else top + 16 * number * scale
        draw.text((left + 8 * scale, row), name, COLORS[number], font=font)
    return drawn


if __name__ == "__main__":
    main()
