"""A picture as DOT, for Graphviz."""

from __future__ import annotations

from tidings.graph.model import Graph, Kind, Node

_SHAPES = {
    Kind.TOPIC: "cylinder",
    Kind.STEP: "box",
    Kind.KEYED: "box3d",
    Kind.BRANCH: "diamond",
    Kind.PROVIDER: "oval",
}


def dot(graph: Graph) -> str:
    """The picture as text."""
    lines = ["digraph tidings {", '  node [fontname="sans-serif"];']
    for number, part in enumerate(graph.parts()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(part)};"]
        lines += [f"    {_node(node)}" for node in graph.nodes if node.part == part]
        lines.append("  }")
    lines += [f"  {_node(node)}" for node in graph.nodes if not node.part]
    for edge in graph.edges:
        label = f" [label={_quoted(edge.label)}]" if edge.label else ""
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def _node(node: Node) -> str:
    text = f"{node.label}\n{node.detail}" if node.detail else node.label
    return f"{_quoted(node.id)} [label={_quoted(text)}, shape={_SHAPES[node.kind]}];"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
