"""What the user reads on a node."""

from dataclasses import replace

import pytest
from sample_embeddings import embedding

from ti_core.host.page.progress import LINES, Progress, progress_line, shortened
from ti_core.training.run import RunState
from ti_core.training.stopping import Validation
from ti_core.word.inspection import inspection_report


def test_the_line_says_step_loss_validation_speed_and_what_is_left():
    state = RunState({}, {}, {}, 1.0)
    state.losses = [0.1] * 120
    assert progress_line(state, 400, 0.12345, 0.52) == (
        "step 120/400, loss 0.1235, 0.52 s/step, 2:26 left"
    )
    state.initialiser_loss, state.validations = 0.2, [Validation(120, 0.15)]
    assert "loss 0.1235, validation 75.0 %, 0.52 s/step" in progress_line(state, 400, 0.12345, 0.52)


def test_progress_is_counted_from_where_the_run_goes_on():
    shown: list[int] = []
    progress = Progress(400, None)
    progress.bar.update_absolute = shown.append  # type: ignore[method-assign, assignment]
    state = RunState({}, {}, {}, 1.0)
    for step in (50, 51, 52):
        state.losses = [0.1] * step
        progress(state)
    assert shown == [50, 51, 52]
    assert progress.first == 50


def test_the_line_is_told_from_what_was_said_before_where_lines_run_together(
    monkeypatch: pytest.MonkeyPatch,
):
    shown: list[str] = []
    monkeypatch.setattr("ti_core.host.page.progress.say", lambda text, node_id: shown.append(text))
    progress = Progress(400, None)
    progress.tell("A step takes 1.00 s.")
    state = RunState({}, {}, {}, 1.0)
    for step in (0, 1):
        state.losses = [0.1] * step
        progress(state)
    assert " ".join(shown[-1].split()).endswith(" left. A step takes 1.00 s.")


def test_a_long_text_keeps_its_summary_and_its_findings():
    text = "\n".join(["summary", *(f"picture {n}" for n in range(50)), "finding"])
    lines = shortened(text).splitlines()
    assert len(lines) == LINES
    assert (lines[0], lines[-1]) == ("summary", "finding")
    assert lines[1] == "... 45 more lines in the output"
    assert shortened("a\nb") == "a\nb"


def test_what_is_wrong_with_a_file_is_read_on_the_node_whatever_else_there_is_to_say():
    """The node shows the first line of a long report and its last ones."""
    told = ("The file has changed since it was written.", "Left out of the recipe: steps.")
    facts = {f"fact{number}": number for number in range(20)}
    made = replace(embedding(clip_l=768, clip_g=1280), notes=told, provenance=facts)
    made.vectors["clip_l"].zero_()
    on_the_node = shortened(inspection_report(made, {})).splitlines()
    assert len(on_the_node) == LINES
    assert all(note in on_the_node for note in told)
    assert any("vectors are zero" in line for line in on_the_node)
