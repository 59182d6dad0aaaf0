"""Whether a prompt says the word, also where nothing of it is encoded again."""

from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext

from ti_core.host.page.unsaid import Heard


def prompt(**values: object) -> DynamicPrompt:
    nodes = {"apply": {"class_type": "ApplyEmbeddingToCLIP", "inputs": {}}}
    return DynamicPrompt({**nodes, "text": {"class_type": "CLIPTextEncode", "inputs": values}})


def heard(*texts: str) -> Heard:
    """What a node has encoded, each text in a queue of its own."""
    reset_progress_state("0", prompt())
    with CurrentNodeContext("0", "apply"):
        found = Heard("my-star", "apply")
    for queue, text in enumerate(texts):
        reset_progress_state(str(queue), prompt(text=text))
        with CurrentNodeContext(str(queue), "text"):
            found(text)
    return found


def test_the_text_that_is_typed_now_counts():
    found = heard("a my-star", "a dog")
    assert "No prompt says 'my-star'" in found.complaint(prompt(text="a dog"))
    assert found.complaint(prompt(text="a my-star")) == ""


def test_of_a_linked_text_the_last_one_counts():
    assert heard("a dog", "a my-star").complaint(prompt(text=["other", 0])) == ""
    assert heard("a my-star", "a dog").complaint(prompt(text=["other", 0]))


def test_without_a_text_nothing_is_told():
    assert heard("a dog", "").complaint(prompt(text="")) == ""
    assert heard("a dog").complaint(DynamicPrompt({})) == ""
