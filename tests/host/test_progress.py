"""What the user reads on a node."""

from ti_core.host.progress import LINES, progress_line, shortened


def test_the_line_says_step_loss_speed_and_what_is_left():
    line = progress_line(120, 400, 0.12345, 0.52)
    assert line == "step 120/400, loss 0.1235, 0.52 s/step, 2:26 left"


def test_a_long_text_keeps_its_summary_and_its_findings():
    text = "\n".join(["summary", *(f"picture {n}" for n in range(50)), "finding"])
    lines = shortened(text).splitlines()
    assert len(lines) == LINES
    assert (lines[0], lines[-1]) == ("summary", "finding")
    assert lines[1] == "... 45 lines more in the output"
    assert shortened("a\nb") == "a\nb"
