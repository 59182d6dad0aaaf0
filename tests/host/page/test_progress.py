"""What the user reads on a node."""

from dataclasses import replace

from sample_embeddings import embedding

from ti_core.host.page.progress import LINES, shortened
from ti_core.word.inspection import inspection_report


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
