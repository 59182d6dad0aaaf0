"""Prompts that never say the word are told on Apply Embedding, once in a queue."""

import time

from graphs import Prompt, graph, node, run
from headless import Server


def prompts(*texts: str) -> Prompt:
    """Prompts encoded behind Apply Embedding, without training and sampling."""
    nodes = graph()
    made: Prompt = {name: nodes[name] for name in ("load", "word", "apply")}
    made["apply"]["inputs"]["embedding"] = ["word", 0]
    for number, text in enumerate(texts):
        made[f"text {number}"] = node("CLIPTextEncode", clip=["apply", 0], text=text)
        made[f"shown {number}"] = node("PreviewAny", source=[f"text {number}", 0])
    return made


def log_when(server: Server, text: str, start: int) -> str:
    """What the server has logged since, as soon as a text stands there."""
    deadline = time.monotonic() + 30
    while text not in (log := server.log.read_bytes()[start:].decode()):
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
    return log


def test_only_a_word_that_no_prompt_says_is_told_with_what_was_mistyped(server: Server):
    start = server.log.stat().st_size
    run(server, prompts("a photo of my star on a beach", "blurry", ""))
    told = "Write 'my-star' instead of 'my star' in 'a photo of my star on a beach'"
    log_when(server, told, start)
    run(server, prompts("a photo of my-star on a beach", "blurry", ""))
    # The negative one alone is encoded, and the other is known to say the word.
    run(server, prompts("a photo of my-star on a beach", "blurry, dark", ""))
    run(server, prompts("(embedding:my-star:1.2)", "dark", ""))
    run(server, prompts(""))
    run(server, graph(train__steps=1, train__seed=77))  # Captions are no prompts.
    run(server, prompts("a dog", "dark"))
    log = log_when(server, "Write it into the prompt: a photo of my-star.", start)
    assert log.count("No prompt contains 'my-star', so it has no effect.") == 2


def cached(server: Server, prompt: Prompt) -> list[str]:
    """Run a prompt; the nodes whose results the host still had."""
    entry = server.wait(server.queue(prompt))
    return dict(entry["status"]["messages"])["execution_cached"]["nodes"]


def test_it_is_told_again_where_the_host_has_all_results(server: Server):
    start = server.log.stat().st_size
    run(server, prompts("a photo of my star at sea"))
    assert {"apply", "text 0"} <= set(cached(server, prompts("a photo of my star at sea")))
    run(server, prompts("a dog at sea"))
    log = log_when(server, "Write it into the prompt: a photo of my-star.", start)
    assert log.count("Write 'my-star' instead of 'my star'") == 2
