"""Prompts that never say the word of Apply Embedding to CLIP, and words that take the place of
another: told on its node at the end of each queue.
"""

import asyncio
import logging
import threading
from typing import Any
from weakref import WeakValueDictionary

from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...concept.placeholder import contains_word, fold, near_miss, other_spelling
from ...quoted import encodable, quoted, shown
from ...word.embedding import Embedding
from .kept_results import origin

log = logging.getLogger(__name__)

NOTICE = "textual_inversion.notice"
PAUSE = 0.3  # seconds between two looks whether a queue has ended


class PromptLog:
    """The prompts that were encoded with the CLIP of an Apply Embedding, by the node that did it;
    they stay with that CLIP, which the host keeps as long as the node is not run again.
    """

    def __init__(self, word: str, node_id: str, source: str = "", clip: Any = None):
        self.word = word
        self.node_id = node_id
        self.source = source
        self.replaced = replaced(word, source, earlier(clip))
        self.prompts: dict[str, dict[str, str]] = {}  # of each node: texts with their last queues
        if (here := get_executing_context()) is not None:
            know(origin(node_id, node_id), here.list_index or 0, self)
            if self.replaced:
                watch(here.prompt_id, self)

    def __call__(self, text: str) -> None:
        """Note a text that is encoded now."""
        here = get_executing_context()
        if here is not None:
            texts = self.prompts.setdefault(here.node_id, {})
            texts.pop(text, None)
            texts[text] = here.prompt_id
            watch(here.prompt_id, self)

    def complaint(self, prompt: DynamicPrompt) -> str:
        """What to tell of a word that took the place of another, and where no node of a prompt says
        it; empty if all is well.
        """
        return "\n".join(text for text in (self.replaced, self.unsaid(prompt)) if text)

    def unsaid(self, prompt: DynamicPrompt) -> str:
        """What to tell where no node of a prompt says the word; empty if one does."""
        nodes = [node for node in list(self.prompts) if node in prompt.all_node_ids()]
        given = [text for node in nodes for text in self.given(node, prompt) if text.strip()]
        if not given or any(contains_word(text, self.word) for text in given):
            return ""
        return complaint(self.word, given)

    def given(self, node_id: str, prompt: DynamicPrompt) -> list[str]:
        """What a node encodes in a prompt: the texts that are typed into it, else the last ones.
        What the host still has from an earlier queue is not encoded again.
        """
        texts = dict(self.prompts[node_id])
        inputs = list(prompt.get_node(node_id)["inputs"].values())
        latest = next(reversed(texts.values()))
        typed = [text for text in texts if text in inputs]
        return typed or [text for text, queue in texts.items() if queue == latest]


def complaint(word: str, texts: list[str]) -> str:
    """That no prompt says the word, and where it may have been meant."""
    lines = [f"No prompt contains '{word}', so it has no effect."]
    for text in texts:
        if miss := near_miss(text, word) or other_spelling(text, word):
            return f"{lines[0]} Write '{word}' instead of '{shown(miss)}' in '{shown(text)}'."
    return f"{lines[0]} Write it into the prompt: a photo of {word}."


def applied_from(embedding: Embedding, strength: float) -> str:
    """Where an applied word comes from, in words."""
    made = quoted(embedding.source) if embedding.source else "a word without a file"
    return f"{made} at strength {strength:g}"


def earlier(clip: Any) -> list[PromptLog]:
    """The words that were applied to a CLIP, the last one last."""
    prompt_log = getattr(getattr(clip, "tokenizer", None), "listeners", ())
    return [one for one in prompt_log if isinstance(one, PromptLog)]


def replaced(word: str, source: str, others: list[PromptLog]) -> str:
    """What to tell of a word that takes the place of one that was applied before; else empty."""
    same = [one for one in others if fold(one.word) == fold(word)]
    if not same:
        return ""
    remedy = "Give one of them another trigger word in Load Embedding, or remove one of the nodes."
    if same[-1].source == source:
        return (
            f"'{word}' is applied twice to this CLIP, both times {source}. Remove one of the nodes."
        )
    return f"'{word}' is applied twice to this CLIP: {source} replaces {same[-1].source}. {remedy}"


_known: WeakValueDictionary[tuple[str, int], PromptLog] = WeakValueDictionary()
_waiting: dict[str, set[PromptLog]] = {}
_lock = threading.Lock()


def know(made: str, number: int, prompt_log: PromptLog) -> None:
    """Keep what a node has made, by its origin and its number in a list, in the place of what it
    made before.
    """
    if number == 0:
        for key in [key for key in _known if key[0] == made]:
            del _known[key]
    _known[made, number] = prompt_log


def watch_again() -> None:
    """Look at what was heard with the CLIPs of this node, which the host may still have, so that
    neither the node nor a prompt is run again.
    """
    here = get_executing_context()
    made = "" if here is None else origin(here.node_id, here.node_id)
    for (known, _), prompt_log in list(_known.items()):
        if here is not None and known == made:
            watch(here.prompt_id, prompt_log)


def watch(queue: str, prompt_log: PromptLog) -> None:
    """Look at what was heard when the queue has ended; without a server nobody asks."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    with _lock:
        first = queue not in _waiting
        _waiting.setdefault(queue, set()).add(prompt_log)
    if first:
        prompt = get_progress_state().dynprompt
        asyncio.run_coroutine_threadsafe(tell_at_the_end(server, queue, prompt), server.loop)


async def tell_at_the_end(server: Any, queue: str, prompt: DynamicPrompt) -> None:
    """Wait until a queue has ended, and tell of the words that none of its prompts says; of one
    that was cancelled or failed nothing is known.
    """
    while any(item[1] == queue for item in server.prompt_queue.get_current_queue_volatile()[0]):
        await asyncio.sleep(PAUSE)
    with _lock:
        found = _waiting.pop(queue, set())
    entry = server.prompt_queue.get_history(prompt_id=queue).get(queue, {})
    if (entry.get("status") or {}).get("status_str") != "success":
        return
    for prompt_log in found:
        text = prompt_log.complaint(prompt)
        if text:
            log.warning("Apply Embedding to CLIP: %s", text)
        notice = {"node": prompt_log.node_id, "text": encodable(text)}
        server.send_sync(NOTICE, notice, server.client_id)
