"""Whether a prompt says the word, also where nothing of it is encoded again."""

import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext

from ti_core.host.page.unused_words import PromptLog, applied_from, complaint
from ti_core.word.embedding import Embedding


def prompt(**values: object) -> DynamicPrompt:
    nodes = {"apply": {"class_type": "ApplyEmbeddingToCLIP", "inputs": {}}}
    return DynamicPrompt({**nodes, "text": {"class_type": "CLIPTextEncode", "inputs": values}})


def heard(*texts: str) -> PromptLog:
    """What a node has encoded, each text in a queue of its own."""
    reset_progress_state("0", prompt())
    with CurrentNodeContext("0", "apply"):
        found = PromptLog("my-star", "apply")
    for queue, text in enumerate(texts):
        reset_progress_state(str(queue), prompt(text=text))
        with CurrentNodeContext(str(queue), "text"):
            found(text)
    return found


def test_the_text_that_is_typed_now_counts():
    found = heard("a my-star", "a dog")
    assert "No prompt contains 'my-star'" in found.complaint(prompt(text="a dog"))
    assert found.complaint(prompt(text="a my-star")) == ""


def test_of_a_linked_text_the_last_one_counts():
    assert heard("a dog", "a my-star").complaint(prompt(text=["other", 0])) == ""
    assert heard("a my-star", "a dog").complaint(prompt(text=["other", 0]))


def test_without_a_text_nothing_is_told():
    assert heard("a dog", "").complaint(prompt(text="")) == ""
    assert heard("a dog").complaint(DynamicPrompt({})) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a <embedding> on a table", "Write 'my-star' instead of '<embedding>'"),
        ("a photo of *", "Write 'my-star' instead of '*'"),
        ("a photo of S*, red", "Write 'my-star' instead of 'S*'"),
        ("a photo of <my star>", "Write 'my-star' instead of 'my star'"),
        ("embedding:sky/my-star", "instead of 'sky/my-star'"),
        ("my\u200b-star at sea", "Write 'my-star' instead of 'my?-star'"),
    ],
)
def test_other_spellings_are_told_and_nothing_is_named_twice(text: str, told: str):
    found = complaint("my-star", [text])
    assert told in found
    assert "'my-star' instead of 'my-star'" not in found


class Tokenizer:
    def __init__(self, *listeners: PromptLog):
        self.listeners = listeners


class Applied:
    """A CLIP to which words were applied."""

    def __init__(self, *listeners: PromptLog):
        self.tokenizer = Tokenizer(*listeners)


def word_of(source: str) -> Embedding:
    rows = {"clip_l": torch.ones(1, 4)}
    return Embedding("my-star", "star", rows, rows, source=source)


def applied(source: str, strength: float, *before: PromptLog, word: str = "my-star") -> PromptLog:
    """A word that is applied to a CLIP after others."""
    reset_progress_state("0", prompt())
    with CurrentNodeContext("0", "apply"):
        return PromptLog(word, "apply", applied_from(word_of(source), strength), Applied(*before))


def test_a_word_that_is_applied_twice_is_told_with_both_files():
    first = applied("a.pt", 1.0)
    other = applied("dog.pt", 1.0, first, word="my-dog")
    assert not first.replaced and not other.replaced
    told = applied("sky/b.safetensors", 0.5, first, other, word="MY-Star").complaint(prompt())
    assert "replaces 'a.pt' at strength 1." in told
    assert "'sky/b.safetensors' at strength 0.5 replaces" in told
    assert "replaces 'a.pt' at strength 1." in applied("a.pt", 0.5, first).complaint(prompt())
    assert "both times 'a.pt' at strength 1." in applied("a.pt", 1.0, first).complaint(prompt())
    assert "a word without a file" in applied("", 1.0, first).complaint(prompt())


def test_the_last_of_three_names_the_one_that_it_replaces():
    first = applied("a.pt", 1.0)
    second = applied("b.pt", 1.0, first)
    assert "replaces 'b.pt' at strength 1." in applied("c.pt", 1.0, first, second).replaced
