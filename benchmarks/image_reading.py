"""Does the frozen model know what its images show? Captions by its own loss, against the truth.

    COMFYUI_PATH=... python benchmarks/image_reading.py [--world NAME] [--things N] [--samples N]

For things that the model never saw, five images each: size, position and background are searched
among all that the world has, with the shape as the init word. Counts how many are right, how many
are left out, how many are wrong, and the forward passes of an image; and the same with the right
background taken out of the list, where leaving it out is right. Then color and texture of the thing
itself, among all of the world, from its five images at once, and without the right two. With --out
FOLDER, writes image-reading-WORLD.json there.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO))

# isort: off
from examination import PLACEHOLDER, SHOWN, TEMPLATE, Exam, Models, concept_of  # noqa: E402

# isort: on
import folder_paths  # noqa: E402
import torch  # noqa: E402
from learning import half_of  # noqa: E402

from ti_core.concept.fragments import NOTHING, Fragments  # noqa: E402
from ti_core.host.init_words import described  # noqa: E402
from ti_core.host.models.borrow import BorrowSettings, borrowed  # noqa: E402
from ti_core.host.models.encode import encode_images  # noqa: E402
from ti_core.host.models.text import create_embedding  # noqa: E402
from ti_core.training.image_reader import Reader, ReadingSettings, Shown  # noqa: E402
from ti_core.training.latents import expected, shape_of  # noqa: E402
from toyworld import assembly, gate  # noqa: E402
from toyworld.world import POSITIONS, SIZES, Scene, Thing, World  # noqa: E402
from toyworld.worlds import WORLDS  # noqa: E402

Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--world", choices=WORLDS, default="toyworld")
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    parser.add_argument("--things", type=int, default=4, help="at most so many")
    parser.add_argument("--samples", type=int, default=ReadingSettings().samples)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    world, rows, things = WORLDS[chosen.world], list[Row](), list[Row]()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as user:
        folder_paths.set_user_directory(user)
        models = Models(*gate.loaded(assembly.assembled(chosen.world)))
        for _, thing in half_of(world.held_out, chosen.half, chosen.things):
            rows += read(models, world, thing, ReadingSettings(chosen.samples))
            things.append(named(models, world, thing, ReadingSettings(chosen.samples)))
            print(json.dumps(things[-1]), flush=True)
    summary = {
        "world": chosen.world,
        "samples": chosen.samples,
        **summed(rows),
        "things": {"named right": sum(one["found"] == one["thing"] for one in things)},
    }
    print(json.dumps(summary, indent=2))
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"summary": summary, "images": rows, "things": things}, indent=1)
        (chosen.out / f"image-reading-{chosen.world}.json").write_text(text + "\n")


def fragments_of(world: World, without: str = "") -> Fragments:
    """All that a caption of the world can say besides the subject, but for one background."""
    scene = Scene(world.things[0], next(iter(world.backgrounds)))
    sides = [world.place_words(scene._replace(position=one))[0] for one in POSITIONS]
    grounds = [one for one in world.backgrounds if one != without]
    behind = [world.place_words(scene._replace(background=one))[1] for one in grounds]
    sentence = TEMPLATE.format("[size] {} [position] [background]")
    slots = {"background": tuple(behind), "position": tuple(sides), "size": tuple(SIZES)}
    return Fragments(sentence, slots)


def looks_of(world: World, without: Sequence[str] = ()) -> Fragments:
    """All colors and textures of a world, but for some, in front of a shape."""
    slots = {"color": world.colors, "texture": world.textures}
    kept = {name: tuple(one for one in some if one not in without) for name, some in slots.items()}
    return Fragments("[color] [texture] {}", kept)


def read(models: Models, world: World, thing: Thing, settings: ReadingSettings) -> list[Row]:
    """What is found in five images of a thing, and what is there."""
    exam = Exam(models, world, thing, ())
    scenes = exam.scenes("shown 0", SHOWN)
    concept = concept_of(world, scenes)
    latents = encode_images(models.vae, models.model.model.latent_format, concept.crops)
    word = create_embedding(models.clip, PLACEHOLDER, exam.initializer, 1)
    lent = BorrowSettings(16)
    rows = []
    with borrowed(models.model, models.clip, word, shape_of(latents[0]), lent) as frozen:
        for number, scene in enumerate(scenes):
            began = time.perf_counter()
            clean = expected(latents[number])
            reader = Reader(frozen, PLACEHOLDER, word.vectors, fragments_of(world), settings)
            image = Shown(number, clean, crop_origin=concept.crop_origins[number])
            found = reader.read([image])
            seconds = time.perf_counter() - began
            lacking = Reader(
                *(frozen, PLACEHOLDER, word.vectors),
                *(fragments_of(world, scene.background), settings),
            )
            side, behind = world.place_words(scene)
            truth = {"background": behind, "position": side, "size": scene.size}
            rows.append(
                {
                    "thing": exam.name,
                    "truth": truth,
                    "found": dict(found.fragments),
                    "without": lacking.read([image]).fragments["background"],
                    "caption": found.caption,
                    "gain": round(found.gain, 4),
                    "passes": found.passes,
                    "seconds": round(seconds, 2),
                }
            )
    return rows


def named(models: Models, world: World, thing: Thing, settings: ReadingSettings) -> Row:
    """What a thing is found to look like, and what it is found to look like without the right words
    to choose from.
    """
    exam = Exam(models, world, thing, ())
    images = concept_of(world, exam.scenes("shown 0", SHOWN))
    began = time.perf_counter()
    found = described(models, images, exam.initializer, looks_of(world), settings)
    seconds = time.perf_counter() - began
    lacking = looks_of(world, exam.name.split())
    return {
        "thing": exam.name,
        "found": found.words,
        "without": described(models, images, exam.initializer, lacking, settings).words,
        "passes": found.passes,
        "seconds": round(seconds, 2),
    }


def summed(rows: Sequence[Row]) -> Row:
    """Right, left out and wrong for each slot, and the cost."""
    found: dict[str, object] = {"images": len(rows)}
    for slot in ("background", "position", "size"):
        pairs = [(row["truth"][slot], row["found"][slot]) for row in rows]  # type: ignore[index]
        right = sum(true == said for true, said in pairs)
        nothing = sum(said == NOTHING for _, said in pairs)
        found[slot] = {"right": right, "nothing": nothing, "wrong": len(pairs) - right - nothing}
    found["nothing, with the right background taken out"] = sum(
        row["without"] == NOTHING for row in rows
    )
    found["passes an image"] = sum(row["passes"] for row in rows) / len(rows)  # type: ignore[misc]
    found["seconds an image"] = sum(row["seconds"] for row in rows) / len(rows)  # type: ignore[misc]
    return found


if __name__ == "__main__":
    main()
