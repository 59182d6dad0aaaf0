"""Prompts that never say the word of Apply Embedding to CLIP, and words that take the place of
another: told on its node at the end of each queue.
"""

import asyncio
import logging
from typing import Any
from weakref import WeakSet

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
        self.word, self.node_id, self.source = word, node_id, source
        self.replaced = replaced(word, source, clip)
        self.prompts: dict[str, dict[str, str]] = {}  # of each node: texts with their last queues
        self.watched = ""  # the last queue at whose end there is a look at them
        if (here := get_executing_context()) is not None:
            made = origin(node_id, node_id)
            if not here.list_index:
                _known.pop(made, None)
            _known.setdefault(made, WeakSet()).add(self)
            if self.replaced:
                self.watch(here.prompt_id)

    def __call__(self, text: str) -> None:
        """Note a text that is encoded now."""
        if (here := get_executing_context()) is not None:
            texts = self.prompts.setdefault(here.node_id, {})
            texts.pop(text, None)
            texts[text] = here.prompt_id
            self.watch(here.prompt_id)

    def watch(self, queue: str) -> None:
        """Look at the prompts when a queue has ended; without a server nobody asks."""
        server = getattr(PromptServer, "instance", None)
        if server is not None and self.watched != queue:
            self.watched, prompt = queue, get_progress_state().dynprompt
            told = tell_at_the_end(server, queue, prompt, self)
            asyncio.run_coroutine_threadsafe(told, server.loop)

    def complaint(self, prompt: DynamicPrompt) -> str:
        """What to tell of a word that took the place of another, and where no node of a prompt says
        it; empty if all is well.
        """
        nodes = [node for node in list(self.prompts) if node in prompt.all_node_ids()]
        given = [text for node in nodes for text in self.given(node, prompt) if text.strip()]
        said = not given or any(contains_word(text, self.word) for text in given)
        return "\n".join(filter(None, (self.replaced, "" if said else complaint(self.word, given))))

    def given(self, node_id: str, prompt: DynamicPrompt) -> list[str]:
        """What a node encodes in a prompt: the texts that are typed into it, else the last ones.
        What the host still has from an earlier queue is not encoded again.
        """
        texts = dict(self.prompts[node_id])
        inputs, latest = list(prompt.get_node(node_id)["inputs"].values()), list(texts.values())[-1]
        typed = [text for text in texts if text in inputs]
        return typed or [text for text, queue in texts.items() if queue == latest]


_known: dict[str, WeakSet[PromptLog]] = {}  # by the origins of nodes; some hundred bytes each


def watch_again() -> None:
    """Look at what was heard with the CLIPs of this node, which the host may still have, so that
    neither the node nor a prompt is run again.
    """
    if (here := get_executing_context()) is not None:
        for prompt_log in list(_known.get(origin(here.node_id, here.node_id), ())):
            prompt_log.watch(here.prompt_id)


async def tell_at_the_end(
    server: Any, queue: str, prompt: DynamicPrompt, prompt_log: PromptLog
) -> None:
    """Wait until a queue has ended, and tell of the word if none of its prompts says it; of one
    that was cancelled or failed nothing is known.
    """
    while any(item[1] == queue for item in server.prompt_queue.get_current_queue_volatile()[0]):
        await asyncio.sleep(PAUSE)
    entry = server.prompt_queue.get_history(prompt_id=queue).get(queue, {})
    if (entry.get("status") or {}).get("status_str") == "success":
        if text := prompt_log.complaint(prompt):
            log.warning("Apply Embedding to CLIP: %s", text)
        notice = {"node": prompt_log.node_id, "text": encodable(text)}
        server.send_sync(NOTICE, notice, server.client_id)


def complaint(word: str, texts: list[str]) -> str:
    """That no prompt says the word, and where it may have been meant."""
    told = f"No prompt contains '{word}', so it has no effect."
    for text in texts:
        if miss := near_miss(text, word) or other_spelling(text, word):
            return f"{told} Write '{word}' instead of '{shown(miss)}' in '{shown(text)}'."
    return f"{told} Write it into the prompt: a photo of {word}."


def applied_from(embedding: Embedding, strength: float) -> str:
    """Where an applied word comes from, in words."""
    made = quoted(embedding.source) if embedding.source else "a word without a file"
    return f"{made} at strength {strength:g}"


def replaced(word: str, source: str, clip: Any) -> str:
    """What to tell of a word that takes the place of one that was applied to a CLIP before; else
    empty.
    """
    logs = getattr(getattr(clip, "tokenizer", None), "listeners", ())
    same = [one for one in logs if isinstance(one, PromptLog) and fold(one.word) == fold(word)]
    if not same:
        return ""
    twice, before = f"'{word}' is applied twice to this CLIP", same[-1].source
    if before == source:
        return f"{twice}, both times {source}. Remove one of the nodes."
    return (
        f"{twice}: {source} replaces {before}. Give one of them another trigger word in Load "
        f"Embedding, or remove one of the nodes."
    )
