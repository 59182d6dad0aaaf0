"""What a concept of many images takes in main memory: images are written to a folder, and
loaded in a fresh process as Load Images as Concept does it.

    python benchmarks/memory_of_images.py --comfyui PATH [--images 2000] [--side 512]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "memory-of-images.md"
DIFFERENT = 8  # images; the others are copies under other names
MEGABYTE = 1_000_000


def write_images(folder: Path, count: int, side: int) -> None:
    """JPEG files of noise that is as large in memory as any image."""
    from PIL import Image

    folder.mkdir()
    for number in range(min(DIFFERENT, count)):
        image = Image.effect_noise((side, side), 40 + number).convert("RGB")
        image.save(folder / f"{number}.jpg")
    for number in range(DIFFERENT, count):
        os.link(folder / f"{number % DIFFERENT}.jpg", folder / f"{number}.jpg")


def peak() -> int:
    """Megabytes that this process has had at most."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MEGABYTE


def load(inputs: Path, side: int, crops: bool) -> dict[str, float]:
    """Load the images in this process, and make the batch of crops if it is asked for."""
    from comfy.cli_args import args

    args.cpu = True
    import folder_paths

    from ti_core.concept.audit import concept_report, crops_batch
    from ti_core.concept.fit import FitSettings
    from ti_core.host.images.concept_requests import Request, load_concept

    folder_paths.set_input_directory(str(inputs))
    before, started = peak(), process_time()
    settings = FitSettings(side, side)
    concept, _ = load_concept(Request("input/many", [], "object", [], settings))
    concept_report(concept)
    batch = crops_batch(concept) if crops else None
    seconds = process_time() - started
    return {
        "before": before,
        "after": peak(),
        "seconds": round(seconds),
        "crops": batch is not None,
    }


def measured(inputs: Path, chosen: argparse.Namespace, crops: bool) -> dict[str, float]:
    """What a fresh process takes to load the images."""
    command = [sys.executable, __file__, "--comfyui", chosen.comfyui, "--load", str(inputs)]
    command += ["--side", str(chosen.side), *(["--crops"] if crops else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(chosen: argparse.Namespace, rows: list[dict[str, float]]) -> str:
    """The result in words."""
    lines = [
        "# Memory of many images",
        "",
        f"`python benchmarks/memory_of_images.py --comfyui PATH --images {chosen.images} "
        f"--side {chosen.side}`: {chosen.images} JPEG files of {chosen.side} x {chosen.side} "
        f"pixels, loaded in a fresh process as **Load Images as Concept** does it. Peak of "
        f"resident memory, in MB; *before* is ComfyUI's modules and torch, on the CPU.",
        "",
        "| `crops` connected | before | at the peak | seconds of CPU |",
        "|---|---|---|---|",
    ]
    for row in rows:
        connected = "yes" if row["crops"] else "no"
        lines.append(f"| {connected} | {row['before']:,} | {row['after']:,} | {row['seconds']} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", default=os.environ.get("COMFYUI_PATH", ""))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--crops", action="store_true", help="also measure with the crops output")
    chosen = parser.parse_args()
    sys.path[:0] = [str(ROOT), chosen.comfyui]
    if chosen.load:
        sys.argv = sys.argv[:1]  # The host reads it too.
        print(json.dumps(load(chosen.load, chosen.side, chosen.crops)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "many", chosen.images, chosen.side)
        rows = [measured(Path(folder), chosen, crops) for crops in sorted({False, chosen.crops})]
    RESULT.write_text(report(chosen, rows), "utf-8")
    print(report(chosen, rows))


if __name__ == "__main__":
    main()
