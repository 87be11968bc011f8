"""A picture as SVG, drawn by ourselves: no tool has to be installed to see a flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from tidings.graph.layout import lay_out
from tidings.graph.model import Graph, Kind, Node

HIGH = 44.0  # pixels of a node
FILLS = {
    Kind.TOPIC: ("#eef1f5", "#8593a8"),
    Kind.STEP: ("#e8f2fd", "#4a86c5"),
    Kind.KEYED: ("#fdf1de", "#d08a1d"),
    Kind.BRANCH: ("#f3ebfb", "#8a5cc2"),
    Kind.PROVIDER: ("#e6f6ec", "#3d9a63"),
}
_STYLE = """
text{font:13px system-ui,sans-serif;text-anchor:middle;fill:#1c2430}
.detail,.part,.edge{font-size:11px;fill:#5b6675}
.part{text-anchor:start;font-weight:600}
.edge{paint-order:stroke;stroke:#fff;stroke-width:4px}
path{fill:none;stroke:#8593a8;stroke-width:1.4}
"""


def svg(graph: Graph) -> str:
    """The picture as the text of an SVG file."""
    widths = {node.id: _width(node) for node in graph.nodes}
    layout = lay_out(graph, widths)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width:.0f} '
        f'{layout.height:.0f}" width="{layout.width:.0f}" height="{layout.height:.0f}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" '
        'style="fill:#8593a8;stroke:none"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for edge in graph.edges:
        route = layout.routes[edge]
        lines.append(f'<path d="{_curve(route)}" marker-end="url(#tip)"/>')
    for edge in graph.edges:
        if edge.label:
            (x0, y0), (x1, y1) = layout.routes[edge][:2]
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            label = _text(edge.label)
            lines.append(f'<text class="edge" x="{x:.1f}" y="{y + 4:.1f}">{label}</text>')
    named: set[str] = set()
    for node in graph.nodes:
        x, y = layout.places[node.id]
        lines += _node(node, x, y, widths[node.id])
        if node.part and node.part not in named:  # above the first step of each part
            named.add(node.part)
            left, top = x - widths[node.id] / 2, y - HIGH / 2 - 6
            lines.append(f'<text class="part" x="{left:.1f}" y="{top}">{_text(node.part)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _node(node: Node, x: float, y: float, width: float) -> Iterator[str]:
    fill, line = FILLS[node.kind]
    left, top = x - width / 2, y - HIGH / 2
    round_ = HIGH / 2 if node.kind is Kind.PROVIDER else 6
    name = f"{node.part}: {node.label}" if node.part else node.label
    yield f"<g><title>{_text(name)}</title>"
    if node.kind is Kind.BRANCH:
        corners = f"{left:.1f},{y} {x:.1f},{top} {x + width / 2:.1f},{y} {x:.1f},{y + HIGH / 2}"
        yield f'<polygon points="{corners}" fill="{fill}" stroke="{line}"/>'
    else:
        yield (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{HIGH}" '
            f'rx="{round_}" fill="{fill}" stroke="{line}"/>'
        )
    if node.kind is Kind.KEYED:  # it keeps something: a second line inside
        yield (
            f'<rect x="{left + 3:.1f}" y="{top + 3:.1f}" width="{width - 6:.1f}" '
            f'height="{HIGH - 6}" rx="4" fill="none" stroke="{line}" stroke-width=".7"/>'
        )
    yield f'<text x="{x:.1f}" y="{y + (-2 if node.detail else 4):.1f}">{_text(node.label)}</text>'
    if node.detail:
        yield f'<text class="detail" x="{x:.1f}" y="{y + 14:.1f}">{_text(node.detail)}</text>'
    yield "</g>"


def _curve(route: Sequence[tuple[float, float]]) -> str:
    """A smooth line from the lower edge of the first node to the upper edge of the last."""
    points = [(x, y) for x, y in route]
    points[0] = (points[0][0], points[0][1] + HIGH / 2)
    points[-1] = (points[-1][0], points[-1][1] - HIGH / 2 - 1)
    drawn = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        drawn += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return drawn


def _width(node: Node) -> float:
    """Room for its text, guessed: a letter of the font has 7.4 pixels on average."""
    text = max(len(node.label) * 7.4, len(node.detail) * 6.2) + 24
    return text * 1.6 if node.kind is Kind.BRANCH else max(text, 72.0)


def _text(text: str) -> str:
    return escape(text)
