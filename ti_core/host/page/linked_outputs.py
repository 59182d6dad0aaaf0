"""Which outputs of a node the graph uses, so that none is made that nobody looks at."""

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context


def is_linked(output: int) -> bool:
    """Whether an output of the node that the host is at is linked in the prompt; so it counts where
    the host does not tell.
    """
    here, shown = get_executing_context(), get_progress_state()
    if here is None or here.prompt_id != shown.prompt_id:
        return True
    prompt = shown.dynprompt
    nodes = (prompt.get_node(node_id) for node_id in prompt.all_node_ids())
    return any(
        isinstance(value, list) and value[:2] == [here.node_id, output]
        for node in nodes
        for value in node.get("inputs", {}).values()
    )
