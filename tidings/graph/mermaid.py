"""A picture as Mermaid, for Markdown on GitHub and GitLab."""

from __future__ import annotations

from tidings.graph.model import Graph, Kind, Node

_SHAPES = {
    Kind.TOPIC: ("[(", ")]"),
    Kind.STEP: ("[", "]"),
    Kind.KEYED: ("[[", "]]"),
    Kind.BRANCH: ("{", "}"),
    Kind.PROVIDER: ("([", "])"),
}


def mermaid(graph: Graph) -> str:
    """The picture as text."""
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TB"]
    for number, part in enumerate(graph.parts()):
        lines.append(f'  subgraph p{number}["{_quoted(part)}"]')
        lines += [f"    {_node(n, names[n.id])}" for n in graph.nodes if n.part == part]
        lines.append("  end")
    lines += [f"  {_node(node, names[node.id])}" for node in graph.nodes if not node.part]
    for edge in graph.edges:
        label = f'|"{_quoted(edge.label)}"|' if edge.label else ""
        lines.append(f"  {names[edge.source]} -->{label} {names[edge.target]}")
    return "\n".join(lines) + "\n"


def _node(node: Node, name: str) -> str:
    opening, closing = _SHAPES[node.kind]
    text = _quoted(node.label)
    if node.detail:
        text += f"<br/><small>{_quoted(node.detail)}</small>"
    return f'{name}{opening}"{text}"{closing}'


def _quoted(text: str) -> str:
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return text
