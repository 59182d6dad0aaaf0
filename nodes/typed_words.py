"""The words typed on the nodes of a prompt, for the nodes that are linked to them."""

from collections.abc import Iterator

from ..ti_core.host.page.queued_prompt import Sent, source, users

# By which input the word of a node's embedding is named, and which hands another's on.
NAMED_BY = {
    "CreateEmbedding": "placeholder",
    "LoadTextualInversion": "placeholder",
    "BlendTextualInversions": "placeholder",
}
HANDED_ON_BY = {"TrainTextualInversion": "embedding"}


def typed_word(node: Sent | None, name: str = "embedding") -> str:
    """The word that arrives at an input of a node; empty if nobody typed one."""
    passed = set()
    while node and node.name not in passed:
        passed.add(node.name)
        node = source(node, name)
        name = HANDED_ON_BY.get(node.kind, "") if node else ""
        if node and node.kind in NAMED_BY:
            word = node.inputs.get(NAMED_BY[node.kind])
            return word.strip() if isinstance(word, str) else ""
    return ""


def words_of_users(node: Sent | None, name: str) -> Iterator[str]:
    """The words of the training nodes to which a node is linked by an input of this name."""
    for user in users(node, name):
        if word := typed_word(user):
            yield word
