"""Prompts that never say the word of Apply Embedding to CLIP: told on its node when all nodes of a
queue have run.
"""

import asyncio
import logging
import threading
from typing import Any, NamedTuple

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...concept.placeholder import near_miss, says
from ...quoted import encodable, shown

log = logging.getLogger(__name__)

NOTICE = "textual_inversion.notice"
PAUSE = 0.3  # seconds between two looks whether a queue has ended


class Prompt(NamedTuple):
    """What a node has encoded in a queue: whether the word was in it, and the first text."""

    queue: str
    said: bool
    text: str


class Heard:
    """The prompts that were encoded with the CLIP of an Apply Embedding, by the node that did it;
    they stay with that CLIP, which the host keeps as long as the node is not run again.
    """

    def __init__(self, word: str, node_id: str):
        self.word = word
        self.node_id = node_id
        self.prompts: dict[str, Prompt] = {}

    def __call__(self, text: str) -> None:
        """Note a text that is encoded now; an empty one means nothing."""
        here = get_executing_context()
        if here is None or not text.strip():
            return
        before = self.prompts.get(here.node_id)
        same = before if before and before.queue == here.prompt_id else None
        said = says(text, self.word) or (same is not None and same.said)
        self.prompts[here.node_id] = Prompt(here.prompt_id, said, same.text if same else text)
        watch(here.prompt_id, self)

    def complaint(self, nodes: set[str]) -> str:
        """What to tell where none of these nodes says the word; empty if one does."""
        heard = [prompt for node, prompt in self.prompts.items() if node in nodes]
        if not heard or any(prompt.said for prompt in heard):
            return ""
        return complaint(self.word, [prompt.text for prompt in heard])


def complaint(word: str, texts: list[str]) -> str:
    """That no prompt says the word, and where it may have been meant."""
    lines = [f"No prompt says '{word}', so it has no effect."]
    for text in texts:
        if miss := near_miss(text, word):
            return f"{lines[0]} Write '{word}' instead of '{shown(miss)}' in '{shown(text)}'."
    return f"{lines[0]} Write it into the prompt: a photo of {word}."


_waiting: dict[str, set[Heard]] = {}
_lock = threading.Lock()


def watch(queue: str, heard: Heard) -> None:
    """Look at what was heard when the queue has ended; without a server nobody asks."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    with _lock:
        first = queue not in _waiting
        _waiting.setdefault(queue, set()).add(heard)
    if first:
        nodes = get_progress_state().dynprompt.all_node_ids()
        asyncio.run_coroutine_threadsafe(tell_at_the_end(server, queue, nodes), server.loop)


async def tell_at_the_end(server: Any, queue: str, nodes: set[str]) -> None:
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
    for heard in found:
        text = heard.complaint(nodes)
        if text:
            log.warning("Apply Embedding to CLIP: %s", text)
        told = {"node": heard.node_id, "text": encodable(text)}
        server.send_sync(NOTICE, told, server.client_id)
