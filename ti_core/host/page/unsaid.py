"""Prompts that never say the word of Apply Embedding to CLIP: told on its node at the end of each
queue.
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

from ...concept.placeholder import near_miss, says
from ...quoted import encodable, shown

log = logging.getLogger(__name__)

NOTICE = "textual_inversion.notice"
PAUSE = 0.3  # seconds between two looks whether a queue has ended


class Heard:
    """The prompts that were encoded with the CLIP of an Apply Embedding, by the node that did it;
    they stay with that CLIP, which the host keeps as long as the node is not run again.
    """

    def __init__(self, word: str, node_id: str):
        self.word = word
        self.node_id = node_id
        self.prompts: dict[str, dict[str, str]] = {}  # of each node: texts with their last queues
        if get_executing_context() is not None:
            _known[origin(node_id)] = self

    def __call__(self, text: str) -> None:
        """Note a text that is encoded now."""
        here = get_executing_context()
        if here is not None:
            texts = self.prompts.setdefault(here.node_id, {})
            texts.pop(text, None)
            texts[text] = here.prompt_id
            watch(here.prompt_id, self)

    def complaint(self, prompt: DynamicPrompt) -> str:
        """What to tell where no node of a prompt says the word; empty if one does."""
        nodes = [node for node in list(self.prompts) if node in prompt.all_node_ids()]
        given = [text for node in nodes for text in self.given(node, prompt) if text.strip()]
        if not given or any(says(text, self.word) for text in given):
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
    lines = [f"No prompt says '{word}', so it has no effect."]
    for text in texts:
        if miss := near_miss(text, word):
            return f"{lines[0]} Write '{word}' instead of '{shown(miss)}' in '{shown(text)}'."
    return f"{lines[0]} Write it into the prompt: a photo of {word}."


_known: WeakValueDictionary[str, Heard] = WeakValueDictionary()  # by their origins
_waiting: dict[str, set[Heard]] = {}
_lock = threading.Lock()


def origin(node_id: str) -> str:
    """A node of the running prompt with all that it comes from, as text."""
    prompt, found, ahead = get_progress_state().dynprompt, {}, [node_id]
    every = list(prompt.all_node_ids())
    while ahead:
        node = prompt.get_node(name := ahead.pop())
        found[name] = f"{node['class_type']} {node['inputs']}"
        sources = [one[0] for one in node["inputs"].values() if isinstance(one, list) and one]
        ahead += [source for source in sources if source in every and source not in found]
    return str(sorted(found.items()))


def watch_again() -> None:
    """Look at what was heard with the CLIP of this node, which the host may still have, so that
    neither the node nor a prompt is run again.
    """
    here = get_executing_context()
    heard = None if here is None else _known.get(origin(here.node_id))
    if here is not None and heard is not None:
        watch(here.prompt_id, heard)


def watch(queue: str, heard: Heard) -> None:
    """Look at what was heard when the queue has ended; without a server nobody asks."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    with _lock:
        first = queue not in _waiting
        _waiting.setdefault(queue, set()).add(heard)
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
    for heard in found:
        text = heard.complaint(prompt)
        if text:
            log.warning("Apply Embedding to CLIP: %s", text)
        told = {"node": heard.node_id, "text": encodable(text)}
        server.send_sync(NOTICE, told, server.client_id)
