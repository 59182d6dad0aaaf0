"""Other trainers' scripts: what they saved on their way, and what is said when they fail."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from peers.scripts import DIFFUSERS, KOHYA, ImageRecipe, Saved, Script, Task

NAMES = [
    (DIFFUSERS, ["learned_embeds-steps-50", "learned_embeds-steps-100", "learned_embeds"]),
    (KOHYA, ["toyword-step00000050", "toyword-step00000100", "toyword"]),
]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "tokenizer").mkdir()
    return Task(tmp_path, tmp_path, "star", 0)


@pytest.mark.parametrize(("script", "names"), NAMES)
def test_the_seconds_are_those_between_the_files_that_it_saved(
    script: Script, names: list[str], task: Task, tmp_path: Path
):
    files = [tmp_path / f"{name}.safetensors" for name in names]
    for file, time in zip(files, (1000, 1100, 1190), strict=True):
        file.touch()
        os.utime(file, (time, time))
    assert script.train(tmp_path, task, ImageRecipe(120, 0.1), tmp_path) == [
        Saved(50, 100, files[0]),
        Saved(100, 200, files[1]),
        Saved(120, 240, files[2]),
    ]


def test_a_script_that_fails_says_why_and_with_which_python(task: Task, tmp_path: Path):
    left = tmp_path / "out" / "toyword-step00000050.safetensors"
    left.parent.mkdir()
    left.touch()
    with pytest.raises(
        RuntimeError, match=r"kohya failed; \S+ needs(.|\n)*train_textual_inversion"
    ):
        KOHYA.train(tmp_path, task, ImageRecipe(100, 0.1), tmp_path / "out")
    assert not left.exists()


def test_fewer_steps_than_a_curve_has_points_are_refused(task: Task, tmp_path: Path):
    with pytest.raises(ValueError, match="23 steps are too few"):
        DIFFUSERS.train(tmp_path, task, ImageRecipe(23, 0.1), tmp_path)


def test_the_sentences_that_are_to_be_read_reach_the_script(task: Task, tmp_path: Path):
    launcher, told = tmp_path / "launch.py", tmp_path / "told"
    launcher.write_text(
        "import sys\nfrom pathlib import Path\nfrom peers.scripts import given_templates\n"
        "Path(sys.argv[2]).write_text(repr(given_templates()))\n"
    )
    script = Script("any", launcher, "word", ImageRecipe(24, 0.1), lambda *_: [str(told)], batch=1)
    for templates in ((), ("a photo of {}", "{}")):
        script.run(
            tmp_path, replace(task, templates=templates), ImageRecipe(24, 0.1), tmp_path / "out"
        )
        assert told.read_text() == repr(list(templates))
