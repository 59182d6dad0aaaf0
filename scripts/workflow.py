"""From a workflow as the ComfyUI page saves it to a prompt as the ComfyUI server takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]
Spec = list[Any]  # an input in a node's schema: its type and, mostly, a dict of options

NOTES = ("Note", "MarkdownNote")
MUTED, BYPASSED = 2, 4  # LiteGraph's node modes NEVER and BYPASS
SEEDS = ("seed", "noise_seed")
CONTROLS = ("fixed", "increment", "decrement", "randomize")
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO)


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Convert a saved workflow (nodes and links) to the API format, without a browser."""
    if workflow.get("definitions", {}).get("subgraphs"):
        raise ValueError("The workflow holds subgraphs; unpack them in ComfyUI and save it again.")
    graph = Graph(workflow)
    return {
        str(node["id"]): api_node(node, graph, object_info)
        for node in graph.nodes.values()
        if is_real(node)
    }


def api_node(node: Node, graph: Graph, object_info: dict[str, Any]) -> dict[str, Any]:
    """One node of the API format."""
    schema = object_info.get(node["type"])
    if schema is None:
        raise ValueError(f"This ComfyUI has no node '{node['type']}' (node {node['id']}).")
    title = node.get("title") or schema["display_name"] or node["type"]
    return {
        "class_type": node["type"],
        "inputs": widget_values(node, schema) | graph.linked_inputs(node),
        "_meta": {"title": title},
    }


def is_real(node: Node) -> bool:
    """Whether the server is to run this node."""
    virtual = (*NOTES, "Reroute", "PrimitiveNode")
    return node["type"] not in virtual and node.get("mode") not in (MUTED, BYPASSED)


# Links


class Graph:
    """The nodes and links of a workflow by id."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        self.nodes: dict[Any, Node] = {node["id"]: node for node in workflow["nodes"]}
        self.links: dict[Any, list[Any]] = {link[0]: link for link in workflow["links"]}

    def linked_inputs(self, node: Node) -> dict[str, Any]:
        """The inputs of a node that come over a link from a node that runs."""
        sources = {
            socket["name"]: self.source(socket["link"])
            for socket in node.get("inputs", [])
            if socket.get("link") is not None
        }
        return {name: source for name, source in sources.items() if source is not None}

    def source(self, link_id: Any) -> Any:
        """`[node id, slot]` (or a primitive's value) behind a link, past reroutes and bypasses."""
        _, node_id, slot, _, _, kind = self.links[link_id]
        node = self.nodes[node_id]
        if is_real(node):
            return [str(node_id), slot]
        if node["type"] == "PrimitiveNode":
            return node["widgets_values"][0]
        if node.get("mode") == MUTED:
            return None
        return self.source_through(node, slot, kind)

    def source_through(self, node: Node, slot: int, kind: str) -> Any:
        """What a reroute or a bypassed node passes on: its input of the output's place and type."""
        inputs = node.get("inputs", [])
        for socket in (*inputs[slot : slot + 1], *inputs):
            fits = node["type"] == "Reroute" or socket["type"] == kind
            if fits and socket.get("link") is not None:
                return self.source(socket["link"])
        return None


# Widgets


def widget_values(node: Node, schema: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by input name, as the page sends them."""
    sockets = node.get("inputs", [])
    saved = {socket["widget"]["name"] for socket in sockets if "widget" in socket}
    values = list(node.get("widgets_values") or [])
    named = named_values(schema["input"], values, saved)
    return {
        name: {"__value__": value} if isinstance(value, list) else value  # a bare list is a link
        for name, value in named
        if value is not None
    }


def named_values(
    groups: dict[str, Any], values: list[Any], saved: set[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Name the saved values, using them up: the schema has their order, the sockets do not."""
    for name, spec in fields(groups):
        name = prefix + name
        if not values or not (name in saved or is_widget(spec)):
            continue
        value = values.pop(0)
        yield name, value
        yield from named_values(chosen_inputs(spec, value), values, saved, f"{name}.")
        if may_have_control(name, spec) and values and values[0] in CONTROLS:
            values.pop(0)


def fields(groups: dict[str, Any]) -> Iterator[tuple[str, Spec]]:
    """Names and specs of a schema, the required ones first."""
    yield from groups.get("required", {}).items()
    yield from groups.get("optional", {}).items()


def options(spec: Spec) -> dict[str, Any]:
    """The options of an input."""
    return spec[1] if len(spec) > 1 else {}


def chosen_inputs(spec: Spec, value: Any) -> dict[str, Any]:
    """The schema of what a DynamicCombo's chosen option adds; empty for other inputs."""
    choices = options(spec).get("options", []) if spec[0] == DYNAMIC_COMBO else []
    return next((choice["inputs"] for choice in choices if choice["key"] == value), {})


def is_widget(spec: Spec) -> bool:
    """Whether an input is a widget; the page saves the sockets of linked widgets only."""
    kind = spec[0]
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options(spec).get("forceInput")


def may_have_control(name: str, spec: Spec) -> bool:
    """Whether the page may have put a `control_after_generate` widget after this one."""
    by_name = spec[0] == "INT" and name in SEEDS
    return by_name or bool(options(spec).get("control_after_generate"))
